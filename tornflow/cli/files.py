"""Files named on the command line."""

from __future__ import annotations

from pathlib import Path

from tornflow.errors import ConfigError

FILE_LIMIT_BYTES = 64 * 1024 * 1024


def read_flow(name: str) -> str:
    """Return the text of one file.

    Raises:
        ConfigError: it cannot be read, is not UTF-8 or is too large to be meant; the message names it.
    """
    path = Path(name)
    try:
        if path.is_file() and path.stat().st_size > FILE_LIMIT_BYTES:
            raise ConfigError(f"{name}: larger than {FILE_LIMIT_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{name}: not a UTF-8 text") from error
