"""The storage contract.

A store keeps three kinds of things and looks into none of them:

* **scopes**: a *head* and named *parts* (opaque bytes) under a life and a revision, with a few indexed columns. The
  runtime decides how much state lies in the head; a small execution is one head and no part, a large one writes only
  the parts that a step changed. The *life* tells uses of one execution id apart: an id that was purged and is used
  again counts its revisions from 1 again, so a revision alone would let a stale copy pass for the current one.
* **records**: small documents by kind and key (descriptor versions, names, triggers, ...).
* **node beats**: which processes share this store and when they were last seen.

Durability: when an awaited write returns, it survives ``kill -9`` of this process (and, for SQLite and MongoDB, loss
of power as far as the disk is honest). A store groups writes that arrive together into one commit by itself; callers
never batch. The meaning of this contract is its suite, ``tornflow.testing.storage.StorageConformance``.

All moments are integer milliseconds since the epoch. All methods are called on one event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from tornflow.model.execution import ScopeKey
from tornflow.model.values import value


@value
class Summary:
    """What lists and queries see of an execution: indexed columns beside its root scope.

    ``status`` is a ``FlowStatus`` value in lower case. ``expires_at`` is None while it runs. ``descriptor_md5`` names
    the text that it runs, "" for none.
    """

    execution_id: str
    business: str
    feature: str
    status: str
    submitted_at: int
    finished_at: int | None = None
    expires_at: int | None = None
    code: str | None = None
    family: str = "rill"
    workflow_name: str | None = None
    parent_id: str | None = None
    descriptor_md5: str = ""


class Version(NamedTuple):
    """Tells one stored state of a scope from every other state that was or will be stored under its key."""

    life: str
    revision: int


@value
class ScopeWrite:
    """One atomic change of one scope: all of it is stored, or nothing.

    ``expected_revision`` is the revision it was computed from, 0 to create. The new revision is ``expected_revision +
    1``. ``life`` is stored with the scope and compared like the revision; where a write puts a new life in the place of
    an old one, ``replaces`` names the old (None: the life stays, or the scope is created, and then it says nothing).
    Parts that such a write does not name stay. ``parts`` are upserted; a value of None deletes the part. ``owners`` are
    the nodes that have work in hand for this scope (a dispatch in flight, a message to deliver), sorted, none when it
    only waits. ``due_at`` is its earliest timer. Both replace what was stored. A node id has no character U+001F.
    ``summary`` is given for root scopes when it changed (always on create); None leaves the stored one. ``is_fresh``
    says that everything stored before under this execution id (other scopes and all parts included) is discarded with
    this write: used to reuse the id of a finished execution. ``idempotency_key`` is only looked at on create.
    """

    key: ScopeKey
    expected_revision: int
    head: bytes
    parts: Mapping[str, bytes | None] = field(default_factory=dict)
    life: str = ""
    replaces: str | None = None
    owners: tuple[str, ...] = ()
    due_at: int | None = None
    summary: Summary | None = None
    idempotency_key: str | None = None
    is_fresh: bool = False


@value
class StoredScope:
    key: ScopeKey
    revision: int
    head: bytes
    parts: Mapping[str, bytes]
    life: str = ""
    owners: tuple[str, ...] = ()
    due_at: int | None = None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A scope with everything that is stored about it, for copying it into another store as it is."""

    scope: StoredScope
    summary: Summary | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """An execution to remove, if its root still has this life and revision."""

    execution_id: str
    life: str
    revision: int


@dataclass(frozen=True, slots=True)
class DueScope:
    key: ScopeKey
    due_at: int


@dataclass(frozen=True, slots=True)
class ExecutionQuery:
    """Filters are ANDed; empty means any. ``since`` is inclusive, ``until`` exclusive, both on ``submitted_at``."""

    statuses: tuple[str, ...] = ()
    business: str | None = None
    feature: str | None = None
    code: str | None = None
    family: str | None = None
    workflow_name: str | None = None
    parent_id: str | None = None
    descriptor_md5: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class NodeBeat:
    node_id: str
    started_at: int
    seen_at: int
    address: str = ""


class Storage(Protocol):
    """A place where executions live. Built by ``open_storage(url, settings) -> Storage`` of a storage package.

    Every method may raise ``StorageUnavailable`` (trying again later is right). Its ``is_unknown`` says whether the
    write may have been stored all the same, now or a little later; without it nothing was stored. A caller that is
    cancelled while it waits does not stop a write that is on its way. Other driver errors do not leave the store.
    """

    is_shared: bool
    """Other processes may use it at the same time: work of a dead node is found by its missing heartbeat. When False,
    this process is the only one, and every ``owner`` found at start is a dead one."""

    async def open(self) -> None:
        """Connect, create or migrate what is missing.

        Raises:
            ConfigError: this place cannot be used (locked by another server, not a database, newer schema).
        """

    async def close(self) -> None:
        """Finish the writes in hand and let go. Idempotent."""

    async def ping(self) -> None:
        """Return when a write could be taken now, else raise StorageUnavailable."""

    # --- scopes

    async def commit(self, write: ScopeWrite) -> int:
        """Store one change durably; concurrent calls share a commit. Writes of one scope take effect in the order of
        the calls.

        Returns:
            The new revision, always ``expected_revision + 1``.

        Raises:
            RevisionConflict: the stored revision is not ``expected_revision``, or the stored life is not ``replaces``
                (where that is None: ``life``); for a create: the scope exists.
            DuplicateKey: a create with an idempotency key that another execution holds.
        """

    async def load(self, key: ScopeKey) -> StoredScope | None:
        """Return the last committed state of one scope with all its parts, or None."""

    async def version(self, key: ScopeKey) -> Version | None:
        """Return life and revision of the last committed state, or None; far cheaper than ``load``."""

    async def children(self, execution_id: str, prefix: str, after: str, limit: int) -> Sequence[ScopeKey]:
        """Return up to ``limit`` scopes of an execution whose path starts with ``prefix``, in order of path, after
        the path ``after`` ("" from the start). The root scope has path "" and is never returned."""

    async def due(self, before: int, limit: int) -> Sequence[DueScope]:
        """Return up to ``limit`` scopes with ``due_at < before``, earliest first."""

    async def owned(self, owner: str, limit: int, *, after: ScopeKey | None = None) -> Sequence[ScopeKey]:
        """Return up to ``limit`` scopes which a node has work for, after ``after``, by key (code point order)."""

    async def owners(self) -> Sequence[str]:
        """Return every node id that owns at least one scope, each once."""

    # --- executions

    async def summary(self, execution_id: str) -> Summary | None: ...

    async def execution_for_key(self, idempotency_key: str) -> str | None:
        """Return the execution that was created with this key."""

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        """Return the page of matches, newest ``submitted_at`` first, ties by ``execution_id`` descending."""

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        """Return how many match, by status; statuses with none are absent."""

    async def living_parents(self, execution_ids: Sequence[str]) -> Set[str]:
        """Return which of these executions have a sub-flow that has not ended (``finished_at`` None)."""

    async def delete_executions(self, targets: Sequence[Target]) -> Sequence[bool]:
        """Remove executions with every scope, part, summary and key of theirs; return which of them were removed.

        One that is gone, or whose root has another life or revision, is left as it is. Once an answer is True nothing
        is left of what was stored under that id. It may take several writes: after the first one the execution is gone
        for every reader, its id can be created again, and what a broken removal has left is removed later. Where it
        raises, some may have been removed. Many targets cost few transactions; other writes pass in between.
        """

    async def delete_strays(self, execution_id: str, life: str) -> int:
        """Remove the scopes of groups of ``life`` unless the root scope has that life; return how many.

        For groups that were created by a process that did not know yet that the execution was removed or begun afresh.
        """

    async def expired(self, before: int, limit: int) -> Sequence[Target]:
        """Return up to ``limit`` executions with ``expires_at < before`` whose root nobody has work in hand for (it may
        still have something to tell), oldest first."""

    # --- copying a whole store (``tornflow storage export | import``)

    async def scan(self, after: ScopeKey | None, limit: int) -> Sequence[StoredRecord]:
        """Return up to ``limit`` scopes by key (code point order of execution id, then path), after ``after``."""

    async def restore(self, records: Sequence[StoredRecord]) -> None:
        """Store scopes exactly as they were scanned, revision included.

        Raises:
            RevisionConflict: one of them exists; nothing of ``records`` that comes after it was stored.
            DuplicateKey
        """

    async def record_kinds(self) -> Sequence[str]:
        """Return every kind of which there is a record."""

    # --- records

    async def put_record(self, kind: str, key: str, body: bytes) -> None:
        """Store or replace one record durably.

        ``kind`` is a short word, ``key`` has up to 500 characters, ``body`` up to 1 MiB.
        """

    async def get_record(self, kind: str, key: str) -> bytes | None: ...

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        """Return records whose key starts with ``prefix``, by key (code point order), after the key ``after``."""

    async def delete_record(self, kind: str, key: str) -> bool:
        """Return whether there was one."""

    # --- nodes

    async def beat(self, beat: NodeBeat) -> bool:
        """Store that a node lives; return whether it was known. False for a node that has beaten before means that
        the others gave it up meanwhile."""

    async def nodes(self) -> Sequence[NodeBeat]: ...

    async def forget_node(self, node_id: str) -> None: ...
