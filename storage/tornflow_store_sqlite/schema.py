"""The tables, and how a file of an earlier schema becomes one of this."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tornflow.errors import ConfigError

SCHEMA_VERSION = 2
APPLICATION_ID = 0x746F726E  # "torn": tells our files from other programs' databases

# ``id`` is chosen by the writer and never used twice for one scope's life, so what hangs on it (parts, the execution
# row) can not be mistaken for that of an earlier scope with the same name. Partial indexes cost nothing while null.
# ``owners`` is one text, see ``owners.py``.
_OWNERS_INDEX = "CREATE INDEX scope_owners ON scope(owners, execution_id, path) WHERE owners IS NOT NULL;"
_DESCRIPTOR_INDEX = "CREATE INDEX execution_descriptor ON execution(descriptor_md5, submitted_at);"
_SCHEMA = f"""
CREATE TABLE scope(
    id INTEGER PRIMARY KEY, execution_id TEXT NOT NULL, path TEXT NOT NULL, revision INTEGER NOT NULL,
    life TEXT NOT NULL DEFAULT '', head BLOB NOT NULL, owners TEXT, due_at INTEGER, UNIQUE(execution_id, path));
{_OWNERS_INDEX}
CREATE INDEX scope_due ON scope(due_at) WHERE due_at IS NOT NULL;
CREATE TABLE part(scope_id INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(scope_id, name));
CREATE TABLE execution(
    id INTEGER PRIMARY KEY, execution_id TEXT NOT NULL, business TEXT NOT NULL, feature TEXT NOT NULL,
    status TEXT NOT NULL, submitted_at INTEGER NOT NULL, finished_at INTEGER, expires_at INTEGER, code TEXT,
    family TEXT NOT NULL, workflow_name TEXT, parent_id TEXT, idempotency_key TEXT,
    descriptor_md5 TEXT NOT NULL DEFAULT '');
CREATE INDEX execution_time ON execution(submitted_at, execution_id);
CREATE INDEX execution_status ON execution(status, submitted_at, execution_id);
CREATE INDEX execution_business ON execution(business, feature, submitted_at, execution_id);
{_DESCRIPTOR_INDEX}
CREATE INDEX execution_parent ON execution(parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX execution_expiry ON execution(expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX execution_key ON execution(idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE record(kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(kind, key));
CREATE TABLE node(
    node_id TEXT PRIMARY KEY, started_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, address TEXT NOT NULL);
CREATE TABLE probe(id INTEGER PRIMARY KEY, counter INTEGER NOT NULL);
PRAGMA application_id={APPLICATION_ID};
"""
# From the version that is the key to the next one. Rows that existed have the life "".
_MIGRATIONS = {
    1: f"""
ALTER TABLE scope RENAME COLUMN owner TO owners;
ALTER TABLE scope ADD COLUMN life TEXT NOT NULL DEFAULT '';
DROP INDEX scope_owner;
{_OWNERS_INDEX}
ALTER TABLE execution ADD COLUMN descriptor_md5 TEXT NOT NULL DEFAULT '';
{_DESCRIPTOR_INDEX}
""",
}


def create_or_migrate(path: Path, db: sqlite3.Connection) -> None:
    """Bring the file to this schema, in one transaction: after a crash it is what it was, or done.

    Raises:
        ConfigError: the file belongs to another program or to a newer tornflow; it was left as it is.
    """
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    is_empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if is_empty and application in (0, APPLICATION_ID):
        _carry_out(db, _SCHEMA)
    elif application != APPLICATION_ID:
        raise ConfigError(f"storage: {path} is a database of another program; choose another file", field="storage")
    elif version > SCHEMA_VERSION:
        raise ConfigError(
            f"storage: {path} was written by a newer tornflow (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade this server or choose another file",
            field="storage",
        )
    elif version < SCHEMA_VERSION:
        _carry_out(db, "".join(_MIGRATIONS[step] for step in range(version, SCHEMA_VERSION)))


def _carry_out(db: sqlite3.Connection, statements: str) -> None:
    db.executescript(f"BEGIN IMMEDIATE;{statements}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
