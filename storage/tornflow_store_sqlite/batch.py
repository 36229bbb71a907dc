"""What the writing thread does inside one transaction.

Theory: this process is the only writer of the file, so the revision of a scope it has seen is known without asking.
A batch is decided in Python against known revisions (one SELECT fetches the unknown ones), several writes of a scope
melt into their last row, and what remains is written by one plain ``executemany`` per kind. (Measured on 64 heads of
2 kB: an UPDATE by row id costs 2 us a row, the same as one multi-row upsert 6 us, as UPDATE ... FROM VALUES 10 us.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from tornflow.errors import DuplicateKey, RevisionConflict, StorageError
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ScopeWrite, StoredRecord, StoredScope, Summary, Target
from tornflow_store_sqlite.owners import joined

Job = ScopeWrite | Callable[["Batch"], object]
_Known = tuple[int, int, str | None, str | None, int | None]  # row id, revision, life, owners, due_at
Known = dict[ScopeKey, _Known]
"""What is stored of each scope. Least recently written first."""

_Row = tuple[int, str, str, int]  # row id, path, life, revision
_ABSENT: _Known = (0, 0, None, None, None)
_SIZES = (256, 64, 16, 4, 1)

_NEW_SCOPE = "INSERT INTO scope(id, execution_id, path, revision, head, life, owners, due_at) VALUES (?,?,?,?,?,?,?,?)"
# What is indexed is written only when it changes: naming an indexed column costs a rewrite of its index.
_CHANGED_SCOPE = "UPDATE scope SET revision=?, head=? WHERE id=?"
_MOVED_SCOPE = "UPDATE scope SET revision=?, head=?, life=?, owners=?, due_at=? WHERE id=?"
_PART = (
    "INSERT INTO part(scope_id, name, body) VALUES (?,?,?) ON CONFLICT(scope_id, name) DO UPDATE SET body=excluded.body"
)
_GONE_PART = "DELETE FROM part WHERE scope_id=? AND name=?"
_NEW_EXECUTION = (
    "INSERT INTO execution(business, feature, submitted_at, family, workflow_name, parent_id, descriptor_md5, status,"
    " finished_at, expires_at, code, id, execution_id, idempotency_key) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
# What changes while an execution runs is written alone, for the same reason.
_CHANGED_EXECUTION = (
    "UPDATE execution SET status=?, finished_at=?, expires_at=?, code=? WHERE id=? AND business=? AND feature=?"
    " AND submitted_at=? AND family=? AND workflow_name IS ? AND parent_id IS ? AND descriptor_md5=?"
)
_RENAMED_EXECUTION = (
    "UPDATE execution SET status=?1, finished_at=?2, expires_at=?3, code=?4, business=?6, feature=?7, submitted_at=?8,"
    " family=?9, workflow_name=?10, parent_id=?11, descriptor_md5=?12 WHERE id=?5"
)
_REVISIONS = (
    "WITH w(e, p) AS (VALUES ",
    2,
    ") SELECT e, p, id, revision, life, owners, due_at FROM w CROSS JOIN scope ON execution_id=e AND path=p",
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
        self._moved: dict[int, tuple[Any, ...]] = {}  # those that change their life, owners or due_at
        self._parts: dict[tuple[int, str], bytes | None] = {}
        self._executions: dict[int, Summary] = {}
        self._keys: dict[int, str | None] = {}  # executions that this batch creates, with their idempotency key
        self._holders: dict[str, str] = {}

    def apply(self, jobs: Sequence[Job]) -> list[object]:
        """Carry out jobs in order; the result of each is a value or the StorageError that is its alone."""
        self._learn(job.key for job in jobs if isinstance(job, ScopeWrite))
        results: list[object] = []
        for job in jobs:
            try:
                results.append(self._commit(job) if isinstance(job, ScopeWrite) else job(self))
            except StorageError as error:
                results.append(error)
        self.flush()
        return results

    def delete(self, targets: Sequence[Target], row_limit: int) -> list[bool]:
        """Return the answers to the first targets, at least one: those that ``row_limit`` scopes have room for."""
        self.flush()
        answers: list[bool] = []
        seen = 0
        for target in targets:
            rows = self._rows(target.execution_id)
            root = next((row for row in rows if not row[1]), None)
            answers.append(root is not None and root[2:] == (target.life, target.revision))
            if answers[-1]:
                self._remove(target.execution_id, rows)
            seen += len(rows)
            if seen >= row_limit:
                break
        return answers

    def delete_strays(self, execution_id: str, life: str) -> int:
        self.flush()
        rows = self._rows(execution_id)
        if any(not path and stored == life for _, path, stored, _ in rows):
            return 0
        strays = [row for row in rows if row[1] and row[2] == life]
        self._remove(execution_id, strays)
        return len(strays)

    def restore(self, records: Sequence[StoredRecord]) -> None:
        """Raises: RevisionConflict, DuplicateKey: what comes before that record stays stored."""
        for record in records:
            stored, key = record.scope, record.scope.key
            self._learn([key])
            if key in self._known:
                raise RevisionConflict(f"{key.execution_id} {key.path!r} exists")
            self._check_key(key.execution_id, record.idempotency_key)
            scope_id = self._add(key, record.idempotency_key)
            self._put(scope_id, stored.revision, stored, record.summary, _ABSENT)

    def _rows(self, execution_id: str) -> list[_Row]:
        return self.db.execute(
            "SELECT id, path, life, revision FROM scope WHERE execution_id=?", (execution_id,)
        ).fetchall()

    def _remove(self, execution_id: str, rows: Sequence[_Row]) -> None:
        ids = [row[:1] for row in rows]
        for _, path, _, _ in rows:
            self._known.pop(ScopeKey(execution_id, path), None)
        self.db.executemany("DELETE FROM part WHERE scope_id=?", ids)
        self.db.executemany("DELETE FROM execution WHERE id=?", [row[:1] for row in rows if not row[1]])
        self.db.executemany("DELETE FROM scope WHERE id=?", ids)

    def flush(self) -> None:
        """Write what was decided so far."""
        many = self.db.executemany
        if self._names:
            many(_NEW_SCOPE, [(i, *key, *self._moved.pop(i)[:-1]) for i, key in self._names.items()])
        if self._heads:
            many(_CHANGED_SCOPE, self._heads.values())
        if self._moved:
            many(_MOVED_SCOPE, self._moved.values())
        if self._executions:
            self._flush_executions()
        if self._parts:
            many(_PART, [(*key, body) for key, body in self._parts.items() if body is not None])
            many(_GONE_PART, [key for key, body in self._parts.items() if body is None])
        self._names, self._heads, self._moved, self._parts = {}, {}, {}, {}
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

    def _learn(self, keys: Iterable[ScopeKey]) -> None:
        known = self._known
        asked = list({key for key in keys if key not in known})
        for sql, values in _statements(_REVISIONS, asked):
            for execution_id, path, *found in self.db.execute(sql, values):
                known[ScopeKey(execution_id, path)] = tuple(found)

    def _commit(self, write: ScopeWrite) -> int:
        key = write.key
        found = self._known.get(key, _ABSENT)
        scope_id, revision, life, _, _ = found
        if revision != write.expected_revision:
            raise _conflict(key, revision, f"revision is {revision}, not {write.expected_revision}")
        if scope_id and life != (write.life if write.replaces is None else write.replaces):
            raise _conflict(key, revision, f"life is {life!r}, not that of the write")
        if not scope_id or write.is_fresh:
            scope_id, found = self._create(write), _ABSENT
        self._put(scope_id, revision + 1, write, write.summary, found)
        return revision + 1

    def _put(
        self, scope_id: int, revision: int, what: ScopeWrite | StoredScope, summary: Summary | None, found: _Known
    ) -> None:
        owners = joined(what.owners) if what.owners else None
        row = (scope_id, revision, what.life, owners, what.due_at)
        if found[2:] != row[2:] or scope_id in self._moved:
            self._moved[scope_id] = (revision, what.head, what.life, owners, what.due_at, scope_id)
            self._heads.pop(scope_id, None)
        else:
            self._heads[scope_id] = (revision, what.head, scope_id)
        self._known.pop(what.key, None)  # it becomes the most recent one
        self._known[what.key] = row
        if what.parts:
            for name, body in what.parts.items():
                self._parts[scope_id, name] = body
        if summary is not None:
            self._executions[scope_id] = summary

    def _create(self, write: ScopeWrite) -> int:
        execution_id, key = write.key.execution_id, write.idempotency_key
        if not write.key.path and write.summary is None:
            raise StorageError(f"{execution_id}: summary: a root scope is created with one")
        if write.key.path and (write.is_fresh or key is not None):
            raise StorageError(f"{execution_id}: is_fresh, idempotency_key: only for the root scope")
        self._check_key(execution_id, key)
        if write.is_fresh:
            self.flush()
            self._remove(execution_id, self._rows(execution_id))
        return self._add(write.key, key)

    def _check_key(self, execution_id: str, key: str | None) -> None:
        if key is not None:
            holder = self._holders.get(key) or self._stored_holder(key)
            if holder is not None and holder != execution_id:
                raise DuplicateKey(f"idempotency key {key!r} is taken", execution_id=holder)

    def _add(self, key: ScopeKey, idempotency_key: str | None) -> int:
        if idempotency_key is not None:
            self._holders[idempotency_key] = key.execution_id
        scope_id, self.next_id = self.next_id, self.next_id + 1
        self._names[scope_id] = key
        if not key.path:
            self._keys[scope_id] = idempotency_key
        return scope_id

    def _stored_holder(self, key: str) -> str | None:
        row = self.db.execute("SELECT execution_id FROM execution WHERE idempotency_key=?", (key,)).fetchone()
        return None if row is None else str(row[0])


def _conflict(key: ScopeKey, revision: int, why: str) -> RevisionConflict:
    return RevisionConflict(f"{key.execution_id} {key.path!r}: stored {why}", revision=revision)


def _identity(s: Summary) -> tuple[str, str, int, str, str | None, str | None, str]:
    return s.business, s.feature, s.submitted_at, s.family, s.workflow_name, s.parent_id, s.descriptor_md5


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
