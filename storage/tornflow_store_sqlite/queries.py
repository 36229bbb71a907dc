"""Every question, as a function of one connection. No state, no threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence, Set
from typing import Any

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import (
    DueScope,
    ExecutionQuery,
    NodeBeat,
    Record,
    StoredRecord,
    StoredScope,
    Summary,
    Target,
    Version,
)
from tornflow_store_sqlite.owners import split

_SLICE = 500  # ids in one question
_SUMMARY = (
    "e.execution_id, e.business, e.feature, e.status, e.submitted_at, e.finished_at, e.expires_at, e.code, e.family,"
    " e.workflow_name, e.parent_id, e.descriptor_md5"
)
# Hops from text to text through the index; a plain DISTINCT would visit every owned scope.
_OWNERS = """
WITH RECURSIVE o(names) AS (
    SELECT min(owners) FROM scope WHERE owners IS NOT NULL
    UNION ALL SELECT (SELECT min(owners) FROM scope WHERE owners > names) FROM o WHERE names IS NOT NULL)
SELECT names FROM o WHERE names IS NOT NULL"""
_OWNED_ALONE = "owners=?1"
_OWNED_WITH_OTHERS = "owners >= char(31) AND owners < char(32) AND instr(owners, char(31) || ?1 || char(31)) > 0"
_STORED = "s.id, s.execution_id, s.path, s.revision, s.head, s.life, s.owners, s.due_at"
# Hops from kind to kind, as above.
_KINDS = """
WITH RECURSIVE k(kind) AS (
    SELECT min(kind) FROM record
    UNION ALL SELECT (SELECT min(record.kind) FROM record WHERE record.kind > k.kind) FROM k WHERE k.kind IS NOT NULL)
SELECT kind FROM k WHERE kind IS NOT NULL"""


def load(db: sqlite3.Connection, key: ScopeKey, part_limit: int | None) -> StoredScope | None | bool:
    """Return the scope, None, or False when it has more parts than ``part_limit``."""
    db.execute("BEGIN")  # head and parts from one moment
    try:
        row = db.execute(f"SELECT {_STORED} FROM scope s WHERE s.execution_id=? AND s.path=?", key).fetchone()
        if row is None:
            return None
        cursor = db.execute("SELECT name, body FROM part WHERE scope_id=?", (row[0],))
        parts = cursor.fetchall() if part_limit is None else cursor.fetchmany(part_limit)
        cursor.close()
    finally:
        db.execute("COMMIT")
    if part_limit is not None and len(parts) >= part_limit:
        return False
    return _stored(row, dict(parts))


def version(db: sqlite3.Connection, key: ScopeKey) -> Version | None:
    row = db.execute("SELECT life, revision FROM scope WHERE execution_id=? AND path=?", key).fetchone()
    return None if row is None else Version(*row)


def children(db: sqlite3.Connection, execution_id: str, prefix: str, after: str, limit: int) -> Sequence[ScopeKey]:
    where, values = _key_range("path", prefix, after)
    sql = f"SELECT path FROM scope WHERE execution_id=? AND path>''{where} ORDER BY path LIMIT ?"
    return [ScopeKey(execution_id, row[0]) for row in db.execute(sql, (execution_id, *values, max(limit, 0)))]


def due(db: sqlite3.Connection, before: int, limit: int) -> Sequence[DueScope]:
    sql = "SELECT execution_id, path, due_at FROM scope WHERE due_at<? ORDER BY due_at LIMIT ?"
    return [DueScope(ScopeKey(e, p), at) for e, p, at in db.execute(sql, (before, max(limit, 0)))]


def owned(db: sqlite3.Connection, owner: str, limit: int, after: ScopeKey | None) -> Sequence[ScopeKey]:
    found: list[ScopeKey] = []
    for condition in (_OWNED_ALONE, _OWNED_WITH_OTHERS):
        sql = (
            f"SELECT execution_id, path FROM scope WHERE {condition} AND (execution_id, path) > (?2, ?3)"
            " ORDER BY execution_id, path LIMIT ?4"
        )
        found += [ScopeKey(*row) for row in db.execute(sql, (owner, *(after or ("", "")), max(limit, 0)))]
    return sorted(found)[: max(limit, 0)]


def owners(db: sqlite3.Connection) -> Sequence[str]:
    return sorted({name for row in db.execute(_OWNERS) for name in split(row[0])})


def summary(db: sqlite3.Connection, execution_id: str) -> Summary | None:
    sql = f"SELECT {_SUMMARY} FROM scope s JOIN execution e ON e.id=s.id WHERE s.execution_id=? AND s.path=''"
    row = db.execute(sql, (execution_id,)).fetchone()
    return None if row is None else Summary(*row)


def execution_for_key(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT execution_id FROM execution WHERE idempotency_key=?", (key,)).fetchone()
    return None if row is None else str(row[0])


def executions(db: sqlite3.Connection, query: ExecutionQuery, offset: int, limit: int) -> Sequence[Summary]:
    where, values = _conditions(query)
    order = "ORDER BY e.submitted_at DESC, e.execution_id DESC LIMIT ? OFFSET ?"
    sql = f"SELECT {_SUMMARY} FROM execution e{where} {order}"
    return [Summary(*row) for row in db.execute(sql, (*values, max(limit, 0), max(offset, 0)))]


def count_executions(db: sqlite3.Connection, query: ExecutionQuery) -> Mapping[str, int]:
    where, values = _conditions(query)
    return dict(db.execute(f"SELECT e.status, count(*) FROM execution e{where} GROUP BY e.status", values).fetchall())


def living_parents(db: sqlite3.Connection, execution_ids: Sequence[str]) -> Set[str]:
    found: set[str] = set()
    for start in range(0, len(execution_ids), _SLICE):
        page = execution_ids[start : start + _SLICE]
        marks = ",".join("?" * len(page))
        sql = f"SELECT DISTINCT parent_id FROM execution WHERE parent_id IN ({marks}) AND finished_at IS NULL"
        found.update(row[0] for row in db.execute(sql, page))
    return found


def expired(db: sqlite3.Connection, before: int, limit: int) -> Sequence[Target]:
    sql = (
        "SELECT e.execution_id, s.life, s.revision FROM execution e JOIN scope s ON s.id=e.id"
        " WHERE e.expires_at<? AND s.owners IS NULL ORDER BY e.expires_at LIMIT ?"
    )
    return [Target(*row) for row in db.execute(sql, (before, max(limit, 0)))]


def scan(db: sqlite3.Connection, after: ScopeKey | None, limit: int) -> Sequence[StoredRecord]:
    sql = (
        f"SELECT {_STORED}, {_SUMMARY}, e.idempotency_key FROM scope s LEFT JOIN execution e ON e.id=s.id"
        " WHERE (s.execution_id, s.path) > (?,?) ORDER BY s.execution_id, s.path LIMIT ?"
    )
    db.execute("BEGIN")  # heads and parts from one moment
    try:
        rows = db.execute(sql, (*(after or ("", "")), max(limit, 0))).fetchall()
        return [_record(db, row) for row in rows]
    finally:
        db.execute("COMMIT")


def record_kinds(db: sqlite3.Connection) -> Sequence[str]:
    return [row[0] for row in db.execute(_KINDS)]


def get_record(db: sqlite3.Connection, kind: str, key: str) -> bytes | None:
    row = db.execute("SELECT body FROM record WHERE kind=? AND key=?", (kind, key)).fetchone()
    return None if row is None else bytes(row[0])


def list_records(db: sqlite3.Connection, kind: str, prefix: str, after: str, limit: int) -> Sequence[Record]:
    where, values = _key_range("key", prefix, after)
    sql = f"SELECT key, body FROM record WHERE kind=?{where} ORDER BY key LIMIT ?"
    return [Record(*row) for row in db.execute(sql, (kind, *values, max(limit, 0)))]


def nodes(db: sqlite3.Connection) -> Sequence[NodeBeat]:
    return [NodeBeat(*row) for row in db.execute("SELECT node_id, started_at, seen_at, address FROM node")]


def _stored(row: tuple[Any, ...], parts: dict[str, bytes]) -> StoredScope:
    """``row`` has the columns of ``_STORED``."""
    return StoredScope(ScopeKey(row[1], row[2]), row[3], row[4], parts, row[5], split(row[6]), row[7])


def _record(db: sqlite3.Connection, row: tuple[Any, ...]) -> StoredRecord:
    parts = dict(db.execute("SELECT name, body FROM part WHERE scope_id=?", row[:1]).fetchall())
    stored, about = _stored(row, parts), row[8:-1]
    return StoredRecord(stored, None if about[0] is None else Summary(*about), row[-1])


def _key_range(column: str, prefix: str, after: str) -> tuple[str, list[str]]:
    """A range and not LIKE: it uses the index, knows no wildcards and minds upper and lower case."""
    where, values = "", []
    if prefix:
        where += f" AND {column}>=?"
        values.append(prefix)
        if (end := _behind(prefix)) is not None:
            where += f" AND {column}<?"
            values.append(end)
    if after:
        where += f" AND {column}>?"
        values.append(after)
    return where, values


def _behind(prefix: str) -> str | None:
    """The first text behind all that start with ``prefix``, by code point; None if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    last = ord(stem[-1])
    return stem[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)  # surrogates are no text


def _conditions(query: ExecutionQuery) -> tuple[str, list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    if query.statuses:
        terms.append(f"e.status IN ({','.join('?' * len(query.statuses))})")
        values.extend(query.statuses)
    for name in ("business", "feature", "code", "family", "workflow_name", "parent_id", "descriptor_md5"):
        if (value := getattr(query, name)) is not None:
            terms.append(f"e.{name}=?")
            values.append(value)
    for moment, sign in ((query.since, ">="), (query.until, "<")):
        if moment is not None:
            terms.append(f"e.submitted_at{sign}?")
            values.append(moment)
    return (" WHERE " + " AND ".join(terms) if terms else ""), values
