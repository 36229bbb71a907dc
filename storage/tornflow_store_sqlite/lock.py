"""One server per file: an exclusive lock on ``<database>.lock``, which the kernel drops with the process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tornflow.errors import ConfigError


def _lock(fd: int) -> None:
    # Imported here: no module of ours may need at its import what a system lacks.
    if sys.platform == "win32":
        import msvcrt

        os.lseek(fd, 1 << 20, os.SEEK_SET)  # behind the process id: what is locked cannot be read there
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileLock:
    """Taken before the database is touched, released after it was let go."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._database = database
        self._fd = -1

    def take(self) -> None:
        """Raises: ConfigError: another server has it, or the folder cannot be written."""
        try:
            self._database.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            message = f"storage: {self._database}: {error.strerror}: {error.filename}"
            raise ConfigError(message, field="storage") from error
        try:
            _lock(fd)
        except OSError as error:
            os.lseek(fd, 0, os.SEEK_SET)
            holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise ConfigError(
                f"storage: {self._database} is in use by another server (process {holder}). Stop that one, give this "
                "one another file with --storage, or use a store that can be shared (mongodb://)",
                field="storage",
            ) from error
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, str(os.getpid()).encode())
        self._fd = fd

    def release(self) -> None:
        # The file stays: removing it would let two servers lock two files of one name.
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
