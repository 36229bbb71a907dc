"""The file: settings, connections, schema, and the lock that keeps a second server out."""

from __future__ import annotations

import dataclasses
import difflib
import fcntl
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tornflow.errors import ConfigError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x746F726E  # "torn": tells our files from other programs' databases

# ``id`` is chosen by the writer and never used twice for one scope's life, so what hangs on it (parts, the execution
# row) can not be mistaken for that of an earlier scope with the same name. Partial indexes cost nothing while null.
_SCHEMA = """
CREATE TABLE scope(
    id INTEGER PRIMARY KEY, execution_id TEXT NOT NULL, path TEXT NOT NULL, revision INTEGER NOT NULL,
    head BLOB NOT NULL, owner TEXT, due_at INTEGER, UNIQUE(execution_id, path));
CREATE INDEX scope_owner ON scope(owner) WHERE owner IS NOT NULL;
CREATE INDEX scope_due ON scope(due_at) WHERE due_at IS NOT NULL;
CREATE TABLE part(scope_id INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(scope_id, name));
CREATE TABLE execution(
    id INTEGER PRIMARY KEY, execution_id TEXT NOT NULL, business TEXT NOT NULL, feature TEXT NOT NULL,
    status TEXT NOT NULL, submitted_at INTEGER NOT NULL, finished_at INTEGER, expires_at INTEGER, code TEXT,
    family TEXT NOT NULL, workflow_name TEXT, parent_id TEXT, idempotency_key TEXT);
CREATE INDEX execution_time ON execution(submitted_at, execution_id);
CREATE INDEX execution_status ON execution(status, submitted_at, execution_id);
CREATE INDEX execution_business ON execution(business, feature, submitted_at, execution_id);
CREATE INDEX execution_parent ON execution(parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX execution_expiry ON execution(expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX execution_key ON execution(idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE record(kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(kind, key));
CREATE TABLE node(
    node_id TEXT PRIMARY KEY, started_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, address TEXT NOT NULL);
CREATE TABLE probe(id INTEGER PRIMARY KEY, counter INTEGER NOT NULL);
"""


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


class FileLock:
    """One server per file: an exclusive ``flock`` on ``<database>.lock``, which the kernel drops with the process."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._database = database
        self._fd = -1

    def take(self) -> None:
        """Raises: ConfigError: another server has it, or the folder cannot be written."""
        try:
            self._database.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            message = f"storage: {self._database}: {error.strerror}: {error.filename}"
            raise ConfigError(message, field="storage") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise ConfigError(
                f"storage: {self._database} is in use by another server (process {holder}). Stop that one, give this "
                "one another file with --storage, or use a store that can be shared (mongodb://)",
                field="storage",
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        # The file stays: removing it would let two servers lock two files of one name.
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


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


def create_or_check(path: Path, db: sqlite3.Connection) -> None:
    """Raises: ConfigError: the file belongs to another program or to a newer tornflow."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    is_empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if is_empty and application in (0, APPLICATION_ID):
        db.executescript(
            f"BEGIN IMMEDIATE;{_SCHEMA};PRAGMA application_id={APPLICATION_ID};"
            f"PRAGMA user_version={SCHEMA_VERSION};COMMIT;"
        )
    elif application != APPLICATION_ID:
        raise ConfigError(f"storage: {path} is a database of another program; choose another file", field="storage")
    elif version > SCHEMA_VERSION:
        raise ConfigError(
            f"storage: {path} was written by a newer tornflow (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade this server or choose another file",
            field="storage",
        )


def _set_up_writer(db: sqlite3.Connection, settings: SqliteSettings) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")  # NORMAL would be 15-20 % faster and lose the last seconds with the power
    db.execute(f"PRAGMA wal_autocheckpoint={settings.checkpoint_pages}")
    db.execute(f"PRAGMA journal_size_limit={settings.journal_limit_mib << 20}")
    db.execute(f"PRAGMA cache_size=-{settings.page_cache_mib << 10}")
