"""What the writing thread does inside one transaction.

Theory: this process is the only writer of the file, so the revision of a scope it has seen is known without asking.
A batch is decided in Python against known revisions (one SELECT fetches the unknown ones), several writes of a scope
melt into their last row, and what remains is written by a few multi-row statements: each call into SQLite gives up
and retakes the GIL, which costs more than the row itself (performance notes, section 5).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from tornflow.errors import DuplicateKey, RevisionConflict, StorageError
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ScopeWrite

Job = ScopeWrite | Callable[["Batch"], object]
Known = dict[ScopeKey, tuple[int, int]]
"""(row id, revision) by scope; (0, 0) when it is known to be absent. Least recently written first."""

_ABSENT = (0, 0)
_SIZES = (256, 64, 16, 4, 1)

_HEAD = (
    "INSERT INTO scope(id, execution_id, path, revision, head, owner, due_at) VALUES ",
    7,
    " ON CONFLICT(id) DO UPDATE SET revision=excluded.revision, head=excluded.head, owner=excluded.owner,"
    " due_at=excluded.due_at",
)
_PART = (
    "INSERT INTO part(scope_id, name, body) VALUES ",
    3,
    " ON CONFLICT(scope_id, name) DO UPDATE SET body=excluded.body",
)
_EXECUTION = (
    "INSERT INTO execution(id, execution_id, business, feature, status, submitted_at, finished_at, expires_at, code,"
    " family, workflow_name, parent_id, idempotency_key) VALUES ",
    13,
    " ON CONFLICT(id) DO UPDATE SET business=excluded.business, feature=excluded.feature, status=excluded.status,"
    " submitted_at=excluded.submitted_at, finished_at=excluded.finished_at, expires_at=excluded.expires_at,"
    " code=excluded.code, family=excluded.family, workflow_name=excluded.workflow_name, parent_id=excluded.parent_id",
)
_REVISIONS = (
    "WITH w(e, p) AS (VALUES ",
    2,
    ") SELECT e, p, id, revision FROM w CROSS JOIN scope ON execution_id=e AND path=p",
)


class Batch:
    """One transaction in the making; the caller says BEGIN and COMMIT. ``known`` is updated in place: after a
    rollback the caller must clear it."""

    def __init__(self, db: sqlite3.Connection, known: Known, next_id: int) -> None:
        self.db = db
        self.next_id = next_id
        self._known = known
        self._heads: dict[int, tuple[Any, ...]] = {}
        self._parts: dict[tuple[int, str], bytes | None] = {}
        self._executions: dict[int, tuple[Any, ...]] = {}
        self._keys: dict[str, str] = {}  # idempotency keys taken by this batch

    def apply(self, jobs: Sequence[Job]) -> list[object]:
        """Carry out jobs in order; the result of each is a value or the StorageError that is its alone."""
        self._learn(jobs)
        results: list[object] = []
        for job in jobs:
            try:
                results.append(self._commit(job) if isinstance(job, ScopeWrite) else job(self))
            except StorageError as error:
                results.append(error)
        self.flush()
        return results

    def delete(self, execution_id: str) -> bool:
        self.flush()
        rows = self.db.execute("SELECT id, path FROM scope WHERE execution_id=?", (execution_id,)).fetchall()
        for scope_id, path in rows:
            self._known.pop(ScopeKey(execution_id, path), None)
            self.db.execute("DELETE FROM part WHERE scope_id=?", (scope_id,))
            self.db.execute("DELETE FROM execution WHERE id=?", (scope_id,))
        self.db.execute("DELETE FROM scope WHERE execution_id=?", (execution_id,))
        return bool(rows)

    def flush(self) -> None:
        """Write what was decided so far."""
        _insert(self.db, _HEAD, list(self._heads.values()))
        _insert(self.db, _EXECUTION, list(self._executions.values()))
        if self._parts:
            _insert(self.db, _PART, [(*key, body) for key, body in self._parts.items() if body is not None])
            gone = [key for key, body in self._parts.items() if body is None]
            if gone:
                self.db.executemany("DELETE FROM part WHERE scope_id=? AND name=?", gone)
        self._heads, self._parts, self._executions, self._keys = {}, {}, {}, {}

    def _learn(self, jobs: Sequence[Job]) -> None:
        known = self._known
        asked = list({job.key for job in jobs if isinstance(job, ScopeWrite) and job.key not in known})
        for sql, values in _statements(_REVISIONS, asked):
            for execution_id, path, scope_id, revision in self.db.execute(sql, values):
                known[ScopeKey(execution_id, path)] = (scope_id, revision)

    def _commit(self, write: ScopeWrite) -> int:
        key = write.key
        scope_id, revision = self._known.pop(key, _ABSENT)  # put back below, as the most recent one
        if scope_id:
            self._known[key] = (scope_id, revision)
        if revision != write.expected_revision:
            raise RevisionConflict(
                f"{key.execution_id} {key.path!r}: stored revision is {revision}, not {write.expected_revision}",
                revision=revision,
            )
        if not scope_id or write.is_fresh:
            scope_id = self._create(write)
        revision += 1
        self._known[key] = (scope_id, revision)
        self._heads[scope_id] = (scope_id, *key, revision, write.head, write.owner, write.due_at)
        for name, body in write.parts.items():
            self._parts[scope_id, name] = body
        if write.summary is not None:
            self._summarise(write, scope_id)
        return revision

    def _create(self, write: ScopeWrite) -> int:
        execution_id, key = write.key.execution_id, write.idempotency_key
        if not write.key.path and write.summary is None:
            raise StorageError(f"{execution_id}: summary: a root scope is created with one")
        if write.key.path and (write.is_fresh or key is not None):
            raise StorageError(f"{execution_id}: is_fresh, idempotency_key: only for the root scope")
        if key is not None:
            holder = self._keys.get(key) or self._stored_holder(key)
            if holder is not None and holder != execution_id:
                raise DuplicateKey(f"idempotency key {key!r} is taken", execution_id=holder)
        if write.is_fresh:
            self.delete(execution_id)
        if key is not None:
            self._keys[key] = execution_id
        scope_id, self.next_id = self.next_id, self.next_id + 1
        return scope_id

    def _stored_holder(self, key: str) -> str | None:
        row = self.db.execute("SELECT execution_id FROM execution WHERE idempotency_key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _summarise(self, write: ScopeWrite, scope_id: int) -> None:
        s = write.summary
        assert s is not None
        is_create = write.expected_revision == 0 or write.is_fresh
        earlier = self._executions.get(scope_id)  # of this batch: its key must not get lost
        key = write.idempotency_key if is_create else earlier[-1] if earlier is not None else None
        self._executions[scope_id] = (
            scope_id, s.execution_id, s.business, s.feature, s.status, s.submitted_at, s.finished_at, s.expires_at,
            s.code, s.family, s.workflow_name, s.parent_id, key,
        )  # fmt: skip


def _insert(db: sqlite3.Connection, shape: tuple[str, int, str], rows: Sequence[tuple[Any, ...]]) -> None:
    for sql, values in _statements(shape, rows):
        db.execute(sql, values)


def _statements(shape: tuple[str, int, str], rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any]]]:
    """Few different texts, so that SQLite's prepared statements are found again whatever the batch size."""
    start, left = 0, len(rows)
    for size in _SIZES:
        while left >= size:
            yield _text(shape, size), [value for row in rows[start : start + size] for value in row]
            start, left = start + size, left - size


@lru_cache(maxsize=64)
def _text(shape: tuple[str, int, str], rows: int) -> str:
    head, columns, tail = shape
    return head + ",".join(["(" + ",".join("?" * columns) + ")"] * rows) + tail
