"""Plain dicts. Every method runs to its end without giving up the loop, which is all the atomicity that is needed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from tornflow.errors import DuplicateKey, RevisionConflict, StorageError, StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import (
    DueScope,
    ExecutionQuery,
    NodeBeat,
    Record,
    ScopeWrite,
    StoredRecord,
    StoredScope,
    Summary,
    Target,
    Version,
)


@dataclass(slots=True)
class _Scope:
    life: str = ""
    revision: int = 0
    head: bytes = b""
    parts: dict[str, bytes] = field(default_factory=dict)
    owners: tuple[str, ...] = ()
    due_at: int | None = None


class MemoryStorage:
    """What is stored lives as long as this object; ``delete_executions`` (retention) is what bounds it."""

    is_shared = False

    def __init__(self) -> None:
        self._is_open = False
        self._scopes: dict[str, dict[str, _Scope]] = {}  # by execution id, then path
        self._summaries: dict[str, Summary] = {}
        self._keys: dict[str, str] = {}  # idempotency key -> execution id
        self._key_of: dict[str, str] = {}
        self._owned: dict[str, set[ScopeKey]] = {}
        self._due: dict[ScopeKey, int] = {}
        self._records: dict[str, dict[str, bytes]] = {}
        self._nodes: dict[str, NodeBeat] = {}

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def ping(self) -> None:
        self._check_open()

    # --- scopes

    async def commit(self, write: ScopeWrite) -> int:
        self._check_open()
        scope = self._scopes.get(write.key.execution_id, {}).get(write.key.path)
        _check_version(write, scope)
        if scope is None or write.is_fresh:
            scope = self._create(write)
        self._apply(write, scope)
        return scope.revision

    async def load(self, key: ScopeKey) -> StoredScope | None:
        self._check_open()
        scope = self._scopes.get(key.execution_id, {}).get(key.path)
        if scope is None:
            return None
        return _stored(key, scope)

    async def version(self, key: ScopeKey) -> Version | None:
        self._check_open()
        scope = self._scopes.get(key.execution_id, {}).get(key.path)
        return None if scope is None else Version(scope.life, scope.revision)

    async def children(self, execution_id: str, prefix: str, after: str, limit: int) -> Sequence[ScopeKey]:
        self._check_open()
        paths = (p for p in self._scopes.get(execution_id, ()) if p and p > after and p.startswith(prefix))
        return [ScopeKey(execution_id, p) for p in heapq.nsmallest(limit, paths)]

    async def due(self, before: int, limit: int) -> Sequence[DueScope]:
        self._check_open()
        ripe = ((at, key) for key, at in self._due.items() if at < before)
        return [DueScope(key, at) for at, key in heapq.nsmallest(limit, ripe)]

    async def owned(self, owner: str, limit: int, *, after: ScopeKey | None = None) -> Sequence[ScopeKey]:
        self._check_open()
        return heapq.nsmallest(limit, (k for k in self._owned.get(owner, ()) if after is None or k > after))

    async def owners(self) -> Sequence[str]:
        self._check_open()
        return sorted(self._owned)

    # --- executions

    async def summary(self, execution_id: str) -> Summary | None:
        self._check_open()
        return self._summaries.get(execution_id)

    async def execution_for_key(self, idempotency_key: str) -> str | None:
        self._check_open()
        return self._keys.get(idempotency_key)

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        self._check_open()
        if limit < 1:
            return []
        first = max(offset, 0)
        return heapq.nlargest(first + limit, self._matching(query), key=_newest)[first:]

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        self._check_open()
        counts: dict[str, int] = {}
        for summary in self._matching(query):
            counts[summary.status] = counts.get(summary.status, 0) + 1
        return counts

    async def living_parents(self, execution_ids: Sequence[str]) -> Set[str]:
        self._check_open()
        asked = set(execution_ids)
        return {s.parent_id for s in self._summaries.values() if s.parent_id in asked and s.finished_at is None}

    async def delete_executions(self, targets: Sequence[Target]) -> Sequence[bool]:
        self._check_open()
        return [self._remove(target) for target in targets]

    async def delete_strays(self, execution_id: str, life: str) -> int:
        self._check_open()
        scopes = self._scopes.get(execution_id, {})
        if "" in scopes and scopes[""].life == life:
            return 0
        strays = [path for path, scope in scopes.items() if path and scope.life == life]
        for path in strays:
            self._forget(ScopeKey(execution_id, path), scopes.pop(path))
        return len(strays)

    async def expired(self, before: int, limit: int) -> Sequence[Target]:
        self._check_open()
        old = ((s.expires_at, i) for i, s in self._summaries.items() if s.expires_at is not None)
        free = (pair for pair in old if pair[0] < before and not self._scopes[pair[1]][""].owners)
        oldest = heapq.nsmallest(limit, free)
        roots = ((i, self._scopes[i][""]) for _, i in oldest)
        return [Target(i, root.life, root.revision) for i, root in roots]

    # --- copying

    async def scan(self, after: ScopeKey | None, limit: int) -> Sequence[StoredRecord]:
        self._check_open()
        keys = (ScopeKey(e, path) for e, scopes in self._scopes.items() for path in scopes)
        return [self._record(k) for k in heapq.nsmallest(limit, (k for k in keys if after is None or k > after))]

    async def restore(self, records: Sequence[StoredRecord]) -> None:
        self._check_open()
        for record in records:
            self._restore(record)

    async def record_kinds(self) -> Sequence[str]:
        self._check_open()
        return [kind for kind, records in self._records.items() if records]

    # --- records

    async def put_record(self, kind: str, key: str, body: bytes) -> None:
        self._check_open()
        self._records.setdefault(kind, {})[key] = body

    async def get_record(self, kind: str, key: str) -> bytes | None:
        self._check_open()
        return self._records.get(kind, {}).get(key)

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        self._check_open()
        records = self._records.get(kind, {})
        keys = (k for k in records if k.startswith(prefix) and (not after or k > after))
        return [Record(k, records[k]) for k in heapq.nsmallest(limit, keys)]

    async def delete_record(self, kind: str, key: str) -> bool:
        self._check_open()
        return self._records.get(kind, {}).pop(key, None) is not None

    # --- nodes

    async def beat(self, beat: NodeBeat) -> bool:
        self._check_open()
        was_known = beat.node_id in self._nodes
        self._nodes[beat.node_id] = beat
        return was_known

    async def nodes(self) -> Sequence[NodeBeat]:
        self._check_open()
        return list(self._nodes.values())

    async def forget_node(self, node_id: str) -> None:
        self._check_open()
        self._nodes.pop(node_id, None)

    # --- inside

    def _check_open(self) -> None:
        if not self._is_open:
            raise StorageUnavailable("the memory store is not open")

    def _create(self, write: ScopeWrite) -> _Scope:
        execution_id, key = write.key.execution_id, write.idempotency_key
        if not write.key.path and write.summary is None:
            raise StorageError(f"{execution_id}: summary: a root scope is created with one")
        if write.key.path and (write.is_fresh or key is not None):
            raise StorageError(f"{execution_id}: is_fresh, idempotency_key: only for the root scope")
        self._check_key(execution_id, key)
        if write.is_fresh:
            self._discard(execution_id)
        return self._add(write.key, key)

    def _check_key(self, execution_id: str, key: str | None) -> None:
        if key is not None and self._keys.get(key, execution_id) != execution_id:
            raise DuplicateKey(f"idempotency key {key!r} is taken", execution_id=self._keys[key])

    def _add(self, key: ScopeKey, idempotency_key: str | None) -> _Scope:
        if idempotency_key is not None:
            self._keys[idempotency_key] = key.execution_id
            self._key_of[key.execution_id] = idempotency_key
        scope = self._scopes.setdefault(key.execution_id, {})[key.path] = _Scope()
        return scope

    def _apply(self, write: ScopeWrite, scope: _Scope) -> None:
        scope.life = write.life
        scope.revision = write.expected_revision + 1
        scope.head = _compact(write.head)
        for name, body in write.parts.items():
            if body is None:
                scope.parts.pop(name, None)
            else:
                scope.parts[name] = _compact(body)
        self._set_columns(write.key, scope, write.owners, write.due_at)
        if write.summary is not None:
            self._summaries[write.key.execution_id] = write.summary

    def _set_columns(self, key: ScopeKey, scope: _Scope, owners: tuple[str, ...], due_at: int | None) -> None:
        if owners != scope.owners:
            for gone in set(scope.owners).difference(owners):
                self._owned[gone].discard(key)
                if not self._owned[gone]:
                    del self._owned[gone]
            for owner in owners:
                self._owned.setdefault(owner, set()).add(key)
        if due_at is not None:
            self._due[key] = due_at
        else:
            self._due.pop(key, None)
        scope.owners, scope.due_at = owners, due_at

    def _remove(self, target: Target) -> bool:
        root = self._scopes.get(target.execution_id, {}).get("")
        if root is None or (root.life, root.revision) != (target.life, target.revision):
            return False
        self._discard(target.execution_id)
        return True

    def _discard(self, execution_id: str) -> None:
        for path, scope in self._scopes.pop(execution_id, {}).items():
            self._forget(ScopeKey(execution_id, path), scope)
        self._summaries.pop(execution_id, None)
        idempotency_key = self._key_of.pop(execution_id, None)
        if idempotency_key is not None:
            del self._keys[idempotency_key]

    def _forget(self, key: ScopeKey, scope: _Scope) -> None:
        self._set_columns(key, scope, (), None)

    def _record(self, key: ScopeKey) -> StoredRecord:
        stored = _stored(key, self._scopes[key.execution_id][key.path])
        if key.path:
            return StoredRecord(stored)
        return StoredRecord(stored, self._summaries[key.execution_id], self._key_of.get(key.execution_id))

    def _restore(self, record: StoredRecord) -> None:
        stored, key = record.scope, record.scope.key
        if key.path in self._scopes.get(key.execution_id, {}):
            raise RevisionConflict(f"{key.execution_id} {key.path!r} exists")
        self._check_key(key.execution_id, record.idempotency_key)
        scope = self._add(key, record.idempotency_key)
        scope.life, scope.revision, scope.head = stored.life, stored.revision, stored.head
        scope.parts.update(stored.parts)
        self._set_columns(key, scope, stored.owners, stored.due_at)
        if record.summary is not None:
            self._summaries[key.execution_id] = record.summary

    def _matching(self, query: ExecutionQuery) -> Iterator[Summary]:
        return filter(_predicate(query), self._summaries.values())


def _check_version(write: ScopeWrite, scope: _Scope | None) -> None:
    """Raises: RevisionConflict."""
    where = f"{write.key.execution_id} {write.key.path!r}"
    revision = scope.revision if scope is not None else 0
    if revision != write.expected_revision:
        message = f"{where}: stored revision is {revision}, not {write.expected_revision}"
        raise RevisionConflict(message, revision=revision)
    expected_life = write.life if write.replaces is None else write.replaces
    if scope is not None and scope.life != expected_life:
        raise RevisionConflict(f"{where}: stored life is {scope.life!r}, not {expected_life!r}", revision=revision)


def _stored(key: ScopeKey, scope: _Scope) -> StoredScope:
    return StoredScope(key, scope.revision, scope.head, dict(scope.parts), scope.life, scope.owners, scope.due_at)


def _newest(summary: Summary) -> tuple[int, str]:
    return summary.submitted_at, summary.execution_id


def _predicate(query: ExecutionQuery) -> Callable[[Summary], bool]:
    names = ("business", "feature", "code", "family", "workflow_name", "parent_id", "descriptor_md5")
    wanted = [(name, getattr(query, name)) for name in names if getattr(query, name) is not None]

    def matches(s: Summary) -> bool:
        return (
            (not query.statuses or s.status in query.statuses)
            and (query.since is None or s.submitted_at >= query.since)
            and (query.until is None or s.submitted_at < query.until)
            and all(getattr(s, name) == value for name, value in wanted)
        )

    return matches


def _compact(body: bytes) -> bytes:
    """What an encoder returns may sit in a far larger buffer (measured: 8.5 kB for a head of 0.8 kB)."""
    return bytes(memoryview(body))
