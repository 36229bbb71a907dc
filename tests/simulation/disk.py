"""What is stored, and everything that was ever stored: the truth that all nodes and all checks are measured with.

Every method takes effect at once and whole; what can happen to a call on its way is the business of ``store``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tornflow.errors import DuplicateKey, RevisionConflict
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.runtime.codec import decode
from tornflow.spi.storage import (
    DueScope,
    ExecutionQuery,
    NodeBeat,
    Record,
    ScopeWrite,
    StoredScope,
    Summary,
    Target,
    Version,
)

NONCE = re.compile(rb"~[a-z]+\d+~")


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry of the history: a state that was stored, or with ``state`` None that a scope was removed."""

    at: float
    by: str
    key: ScopeKey
    life: str
    revision: int
    state: ScopeState | None
    owners: tuple[str, ...] = ()


@dataclass(slots=True)
class Disk:
    scopes: dict[str, dict[str, StoredScope]] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, bytes]] = field(default_factory=dict)
    beats: dict[str, NodeBeat] = field(default_factory=dict)
    history: dict[ScopeKey, list[Stored]] = field(default_factory=dict)
    nonces: dict[str, tuple[float, ScopeKey]] = field(default_factory=dict)
    """When and where the mark of a request or answer was stored for the first time."""
    problems: list[str] = field(default_factory=list)
    last_commit_at: float = 0.0

    # --- scopes

    def commit(self, write: ScopeWrite, at: float, by: str) -> int:
        key = write.key
        old = self.scopes.get(key.execution_id, {}).get(key.path)
        self._compare(write, old)
        if old is None or write.is_fresh:
            self._create(write, at, by)
            parts: dict[str, bytes] = {}
        else:
            parts = dict(old.parts)
        for name, body in write.parts.items():
            parts.pop(name, None)
            if body is not None:
                parts[name] = body
        stored = StoredScope(
            key, write.expected_revision + 1, write.head, parts, write.life, tuple(write.owners), write.due_at
        )
        self.scopes.setdefault(key.execution_id, {})[key.path] = stored
        if write.summary is not None:
            self.summaries[key.execution_id] = write.summary
        self.last_commit_at = at
        self._remember(stored, at, by)
        return stored.revision

    def _compare(self, write: ScopeWrite, old: StoredScope | None) -> None:
        revision, life = (old.revision, old.life) if old is not None else (0, "")
        if revision != write.expected_revision:
            raise RevisionConflict(f"{write.key}: revision is {revision}, not {write.expected_revision}")
        wanted = write.life if write.replaces is None else write.replaces
        if old is not None and life != wanted:
            raise RevisionConflict(f"{write.key}: life is {life}, not {wanted}")

    def _create(self, write: ScopeWrite, at: float, by: str) -> None:
        execution_id, key = write.key.execution_id, write.idempotency_key
        if not write.key.path and write.summary is None:
            self.problems.append(f"store: {execution_id}: a root scope is created without a summary")
        if write.key.path and (write.is_fresh or key is not None):
            self.problems.append(f"store: {write.key}: is_fresh or idempotency_key for a group")
        if key is not None and self.keys.get(key, execution_id) != execution_id:
            raise DuplicateKey(f"idempotency key {key!r} is taken", execution_id=self.keys[key])
        if write.is_fresh:
            self.discard(execution_id, at, by)
        if key is not None:
            self.keys[key] = execution_id

    def _remember(self, stored: StoredScope, at: float, by: str) -> None:
        try:
            state = decode(stored)[0]
        except Exception as error:
            self.problems.append(f"store: {stored.key} revision {stored.revision} cannot be read: {error!r}")
            return
        entry = Stored(at, by, stored.key, stored.life, stored.revision, state, stored.owners)
        self.history.setdefault(stored.key, []).append(entry)
        for body in (stored.head, *stored.parts.values()):
            for nonce in NONCE.findall(body):
                self.nonces.setdefault(nonce.decode(), (at, stored.key))

    def discard(self, execution_id: str, at: float, by: str) -> bool:
        scopes = self.scopes.pop(execution_id, {})
        for path, scope in scopes.items():
            self._forget(ScopeKey(execution_id, path), scope, at, by)
        self.summaries.pop(execution_id, None)
        self.keys = {key: holder for key, holder in self.keys.items() if holder != execution_id}
        return bool(scopes)

    def _forget(self, key: ScopeKey, scope: StoredScope, at: float, by: str) -> None:
        self.history[key].append(Stored(at, by, key, scope.life, scope.revision, None))

    def delete(self, target: Target, at: float, by: str) -> bool:
        root = self.scopes.get(target.execution_id, {}).get("")
        if root is None or (root.life, root.revision) != (target.life, target.revision):
            return False
        return self.discard(target.execution_id, at, by)

    def delete_strays(self, execution_id: str, life: str, at: float, by: str) -> int:
        scopes = self.scopes.get(execution_id, {})
        root = scopes.get("")
        if root is not None and root.life == life:
            return 0
        strays = [path for path, scope in scopes.items() if path and scope.life == life]
        for path in strays:
            self._forget(ScopeKey(execution_id, path), scopes.pop(path), at, by)
        if not scopes:
            self.scopes.pop(execution_id, None)
        return len(strays)

    def load(self, key: ScopeKey) -> StoredScope | None:
        found = self.scopes.get(key.execution_id, {}).get(key.path)
        return None if found is None else replace(found, parts=dict(found.parts))

    def version(self, key: ScopeKey) -> Version | None:
        found = self.scopes.get(key.execution_id, {}).get(key.path)
        return None if found is None else Version(found.life, found.revision)

    def children(self, execution_id: str, prefix: str, after: str, limit: int) -> Sequence[ScopeKey]:
        paths = sorted(p for p in self.scopes.get(execution_id, ()) if p and p > after and p.startswith(prefix))
        return [ScopeKey(execution_id, path) for path in paths[:limit]]

    def all(self) -> list[StoredScope]:
        return [scope for scopes in self.scopes.values() for scope in scopes.values()]

    def due(self, before: int, limit: int) -> Sequence[DueScope]:
        ripe = sorted((s.due_at, s.key) for s in self.all() if s.due_at is not None and s.due_at < before)
        return [DueScope(key, at) for at, key in ripe[:limit]]

    def owned(self, owner: str, limit: int, after: ScopeKey | None) -> Sequence[ScopeKey]:
        found = sorted(s.key for s in self.all() if owner in s.owners and (after is None or s.key > after))
        return found[:limit]

    def owners(self) -> Sequence[str]:
        return sorted({owner for scope in self.all() for owner in scope.owners})

    # --- executions

    def matching(self, query: ExecutionQuery) -> list[Summary]:
        names = ("business", "feature", "code", "family", "workflow_name", "parent_id", "descriptor_md5")
        wanted = [(name, getattr(query, name)) for name in names if getattr(query, name) is not None]
        found = [
            one
            for one in self.summaries.values()
            if (not query.statuses or one.status in query.statuses)
            and (query.since is None or one.submitted_at >= query.since)
            and (query.until is None or one.submitted_at < query.until)
            and all(getattr(one, name) == value for name, value in wanted)
        ]
        return sorted(found, key=lambda one: (one.submitted_at, one.execution_id), reverse=True)

    def living_parents(self, execution_ids: Sequence[str]) -> set[str]:
        living = (one for one in self.summaries.values() if one.finished_at is None)
        return {one.parent_id for one in living if one.parent_id in set(execution_ids)}

    def expired(self, before: int, limit: int) -> Sequence[Target]:
        old = sorted(
            (one.expires_at, one.execution_id)
            for one in self.summaries.values()
            if one.expires_at is not None and one.expires_at < before and not self.scopes[one.execution_id][""].owners
        )
        roots = [self.scopes[name][""] for _, name in old[:limit]]
        return [Target(root.key.execution_id, root.life, root.revision) for root in roots]

    def counts(self, query: ExecutionQuery) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for one in self.matching(query):
            counts[one.status] = counts.get(one.status, 0) + 1
        return counts

    # --- records

    def list_records(self, kind: str, prefix: str, after: str, limit: int) -> Sequence[Record]:
        records = self.records.get(kind, {})
        keys = sorted(key for key in records if key.startswith(prefix) and key > after)
        return [Record(key, records[key]) for key in keys[:limit]]

    # --- for checks

    def state(self, key: ScopeKey) -> ScopeState | None:
        entries = self.history.get(key)
        return entries[-1].state if entries else None

    def during(self, key: ScopeKey, since: float, until: float) -> list[Stored | None]:
        """Return every state that a scope had at some moment of a span; None stands for none at all."""
        entries = self.history.get(key, [])
        inside: list[Stored | None] = [one for one in entries if since < one.at <= until]
        before = [one for one in entries if one.at <= since]
        return [before[-1] if before else None, *inside]


def read_attempts(state: ScopeState) -> dict[str, Any]:
    """Return what the history checker compares: attempt and status of every task that has one."""
    return {name: (task.attempt, task.status) for name, task in state.tasks.items()}
