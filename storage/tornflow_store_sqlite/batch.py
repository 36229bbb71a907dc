"""What the writing thread does inside one transaction.

Theory: this process is the only writer of the file, so the revision of a scope it has seen is known without asking.
A batch is decided in Python against known revisions (one SELECT fetches the unknown ones), several writes of a scope
melt into their last row, and what remains is written by one plain ``executemany`` per kind. (Measured on 64 heads of
2 kB: an UPDATE by row id costs 2 us a row, the same as one multi-row upsert 6 us, as UPDATE ... FROM VALUES 10 us.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from tornflow.errors import DuplicateKey, RevisionConflict, StorageError
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ScopeWrite, Summary

Job = ScopeWrite | Callable[["Batch"], object]
Known = dict[ScopeKey, tuple[int, int]]
"""(row id, revision) by scope; (0, 0) when it is known to be absent. Least recently written first."""

_ABSENT = (0, 0)
_SIZES = (256, 64, 16, 4, 1)

_NEW_SCOPE = "INSERT INTO scope(id, execution_id, path, revision, head, owner, due_at) VALUES (?,?,?,?,?,?,?)"
_CHANGED_SCOPE = "UPDATE scope SET revision=?, head=?, owner=?, due_at=? WHERE id=?"
_PART = (
    "INSERT INTO part(scope_id, name, body) VALUES (?,?,?) ON CONFLICT(scope_id, name) DO UPDATE SET body=excluded.body"
)
_GONE_PART = "DELETE FROM part WHERE scope_id=? AND name=?"
_NEW_EXECUTION = (
    "INSERT INTO execution(business, feature, submitted_at, family, workflow_name, parent_id, status, finished_at,"
    " expires_at, code, id, execution_id, idempotency_key) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
# What changes while an execution runs is written alone: naming an indexed column costs a rewrite of its index.
_CHANGED_EXECUTION = (
    "UPDATE execution SET status=?, finished_at=?, expires_at=?, code=? WHERE id=? AND business=? AND feature=?"
    " AND submitted_at=? AND family=? AND workflow_name IS ? AND parent_id IS ?"
)
_RENAMED_EXECUTION = (
    "UPDATE execution SET status=?1, finished_at=?2, expires_at=?3, code=?4, business=?6, feature=?7, submitted_at=?8,"
    " family=?9, workflow_name=?10, parent_id=?11 WHERE id=?5"
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
        self._names: dict[int, ScopeKey] = {}  # scopes that this batch creates
        self._heads: dict[int, tuple[Any, ...]] = {}
        self._parts: dict[tuple[int, str], bytes | None] = {}
        self._executions: dict[int, Summary] = {}
        self._keys: dict[int, str | None] = {}  # executions that this batch creates, with their idempotency key
        self._holders: dict[str, str] = {}

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
        many = self.db.executemany
        if self._names:
            many(_NEW_SCOPE, [(i, *key, *self._heads.pop(i)[:-1]) for i, key in self._names.items()])
        if self._heads:
            many(_CHANGED_SCOPE, self._heads.values())
        if self._executions:
            self._flush_executions()
        if self._parts:
            many(_PART, [(*key, body) for key, body in self._parts.items() if body is not None])
            many(_GONE_PART, [key for key, body in self._parts.items() if body is None])
        self._names, self._heads, self._parts = {}, {}, {}
        self._executions, self._keys, self._holders = {}, {}, {}

    def _flush_executions(self) -> None:
        keys = self._keys
        new = [(i, s) for i, s in self._executions.items() if i in keys]
        self.db.executemany(
            _NEW_EXECUTION, [(*_identity(s), *_progress(s), i, s.execution_id, keys[i]) for i, s in new]
        )
        changed = [(*_progress(s), i, *_identity(s)) for i, s in self._executions.items() if i not in keys]
        if changed and self.db.executemany(_CHANGED_EXECUTION, changed).rowcount != len(changed):
            self.db.executemany(_RENAMED_EXECUTION, changed)

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
        self._heads[scope_id] = (revision, write.head, write.owner, write.due_at, scope_id)
        for name, body in write.parts.items():
            self._parts[scope_id, name] = body
        if write.summary is not None:
            self._executions[scope_id] = write.summary
        return revision

    def _create(self, write: ScopeWrite) -> int:
        execution_id, key = write.key.execution_id, write.idempotency_key
        if not write.key.path and write.summary is None:
            raise StorageError(f"{execution_id}: summary: a root scope is created with one")
        if write.key.path and (write.is_fresh or key is not None):
            raise StorageError(f"{execution_id}: is_fresh, idempotency_key: only for the root scope")
        if key is not None:
            holder = self._holders.get(key) or self._stored_holder(key)
            if holder is not None and holder != execution_id:
                raise DuplicateKey(f"idempotency key {key!r} is taken", execution_id=holder)
        if write.is_fresh:
            self.delete(execution_id)
        if key is not None:
            self._holders[key] = execution_id
        scope_id, self.next_id = self.next_id, self.next_id + 1
        self._names[scope_id] = write.key
        if not write.key.path:
            self._keys[scope_id] = key
        return scope_id

    def _stored_holder(self, key: str) -> str | None:
        row = self.db.execute("SELECT execution_id FROM execution WHERE idempotency_key=?", (key,)).fetchone()
        return None if row is None else str(row[0])


def _identity(s: Summary) -> tuple[str, str, int, str, str | None, str | None]:
    return s.business, s.feature, s.submitted_at, s.family, s.workflow_name, s.parent_id


def _progress(s: Summary) -> tuple[str, int | None, int | None, str | None]:
    return s.status, s.finished_at, s.expires_at, s.code


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
