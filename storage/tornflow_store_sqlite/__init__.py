"""The store of one server: one SQLite file, durable through loss of power, no other process needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tornflow.errors import ConfigError
from tornflow.spi.storage import Storage
from tornflow_store_sqlite.place import SqliteSettings
from tornflow_store_sqlite.store import SqliteStorage

__all__ = ["SqliteSettings", "SqliteStorage", "open_storage"]


def open_storage(url: str, settings: Mapping[str, Any]) -> Storage:
    """Build a store; nothing is touched before ``open()``.

    ``sqlite:///relative.db`` is relative to the working directory, ``sqlite:////absolute.db`` is not; percent
    escapes are decoded. ``settings``: the fields of ``SqliteSettings``.

    Raises:
        ConfigError: the URL or a setting is not understood.
    """
    scheme, _, rest = url.partition(":///")
    path = unquote(rest)
    if scheme != "sqlite" or not path or path.endswith("/") or "?" in path or "\0" in path:
        raise ConfigError(
            f"storage: {url!r} is not understood; write sqlite:///relative.db or sqlite:////absolute/path.db",
            field="storage",
        )
    return SqliteStorage(Path(path), SqliteSettings.parse(settings))
