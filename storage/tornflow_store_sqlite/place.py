"""The file: settings and connections."""

from __future__ import annotations

import dataclasses
import difflib
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tornflow.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """``storage.sqlite`` of the configuration. All are whole numbers above 0."""

    batch_limit: int = 256  # writes that share one transaction at most
    max_pending_writes: int = 20_000  # writes waiting for the disk; more are refused with StorageUnavailable
    revision_cache: int = 65_536  # scopes whose revision is remembered, about 0.2 kB each
    page_cache_mib: int = 64  # SQLite's page cache of the writing connection
    checkpoint_pages: int = 4_000  # WAL pages of 4 KiB before they are moved into the database file
    journal_limit_mib: int = 64  # the WAL file is cut back to this after a checkpoint
    busy_timeout_ms: int = 5_000  # patience with foreign programs that lock the file

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Raises: ConfigError: an unknown key (the nearest known one is named) or a value that is no such number."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key, value in values.items():
            where = f"storage.sqlite.{key}"
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)
                raise ConfigError(f"{where}: there is no such setting; {hint}", field=where)
            if type(value) is not int or not 1 <= value < 2**31:
                raise ConfigError(f"{where}: must be a whole number from 1, not {value!r}", field=where)
        return cls(**values)


def make_private(path: Path) -> None:
    """Create a missing file for the eyes of its owner only: contexts hold customers' data. SQLite gives ``-wal`` and
    ``-shm`` the same mode. The mode of an existing file is the operator's choice."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def connect(path: Path, settings: SqliteSettings, *, is_writer: bool) -> sqlite3.Connection:
    """Open one connection in autocommit mode; it may be used from any one thread at a time."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=settings.busy_timeout_ms / 1000)
    try:
        if is_writer:
            _set_up_writer(db, settings)
        else:
            db.execute("PRAGMA query_only=ON")
            db.execute("PRAGMA cache_size=-8192")
    except BaseException:
        db.close()
        raise
    return db


def _set_up_writer(db: sqlite3.Connection, settings: SqliteSettings) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")  # NORMAL would be 15-20 % faster and lose the last seconds with the power
    db.execute(f"PRAGMA wal_autocheckpoint={settings.checkpoint_pages}")
    db.execute(f"PRAGMA journal_size_limit={settings.journal_limit_mib << 20}")
    db.execute(f"PRAGMA cache_size=-{settings.page_cache_mib << 10}")
