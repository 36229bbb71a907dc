"""The saved state of one scope, and of its tasks.

A *scope* is the unit of state and of concurrency: the root of an execution, or one group of a foreach or choice.
It knows its own tasks only. These objects are mutable and belong to the engine while a step runs; the shell throws
them away when a commit fails. Moments are integer milliseconds since the epoch, as in both REST families.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tornflow.model.generation import Generation
from tornflow.model.jsontext import NullFree
from tornflow.model.messages import Posted
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.model.waiters import Waiters

Json = dict[str, Any]


class ScopeKey(NamedTuple):
    """``path`` is "" for the root, else the route of the group: ``loop_0``, ``loop_0-inner_2``."""

    execution_id: str
    path: str = ""


class Mark:
    """Letters of ``GroupsState.marks``, one per group."""

    WAITING = ord("N")
    RUNNING = ord("R")
    SUCCEED = ord("S")
    FAILED = ord("F")
    SKIPPED = ord("K")
    WORDS: Mapping[int, str] = {
        WAITING: "READY",
        RUNNING: "RUNNING",
        SUCCEED: "SUCCEED",
        FAILED: "FAILED",
        SKIPPED: "SKIPPED",
    }


MARKS_PER_CHUNK = 1000


class Batch(NamedTuple):
    """Groups that a node is creating: it makes their scopes, lets them catch up, then sends ``GroupsStarted``."""

    owner: str
    first: int
    size: int


@dataclass(slots=True)
class GroupsState:
    """What a foreach or choice knows of its groups: counters and a mark each, never their contents.

    ``next`` is the lowest index that was never started, ``open`` how many run now, ``limit`` how many may (0: any
    number). ``items`` are the elements of a foreach, kept to start groups later. ``dirty`` names the chunks of
    ``MARKS_PER_CHUNK`` marks that a step changed; it is not stored, and neither is ``is_news``: items and identities
    are written once.

    Who does what: ``batches`` are being created, ``gatherer`` reads the results. ``holder`` is the process through
    whose memory groups report, where only one process uses the store; if it dies, groups that ended must report again.
    """

    total: int
    marks: bytearray
    next: int = 0
    open: int = 0
    limit: int = 0
    items: list[Any] | None = None
    identities: list[str | None] | None = None
    batches: list[Batch] = field(default_factory=list)
    gatherer: str | None = None
    holder: str | None = None
    dirty: set[int] = field(default_factory=set, compare=False)
    is_news: bool = field(default=True, compare=False)
    _words: NullFree | None = field(default=None, compare=False)

    def mark(self, index: int, letter: int) -> None:
        self.marks[index] = letter
        self.dirty.add(index // MARKS_PER_CHUNK)
        if self._words is not None:
            self._words[str(index)] = Mark.WORDS[letter]

    def words(self) -> NullFree:
        """Return ``{"0": "SUCCEED", ...}``, for views: made when first asked for, then kept up with the marks, because
        a look at 100,000 groups must not cost a pass over all of them."""
        if self._words is None:
            names = map(str, range(self.total))
            self._words = NullFree(zip(names, map(Mark.WORDS.__getitem__, self.marks), strict=True))
        return self._words

    @property
    def is_over(self) -> bool:
        return self.open == 0 and self.next == self.total

    @property
    def ended(self) -> int:
        return self.next - self.open


@dataclass(slots=True)
class TaskState:
    """One task instance. Only tasks that were touched have one; all others are NOT_STARTED."""

    name: str
    status: TaskStatus = TaskStatus.NOT_STARTED
    attempt: int = 0  # attempts since submission or the last redo; the number of the latest one
    owner: str | None = None  # the node that has the attempt in hand, until it was answered
    invocations: list[list[int | None]] = field(default_factory=list)  # [start, end | None]
    input: Json | None = None
    output: Any = None
    code: str | None = None
    msg: str | None = None
    ext: Json | None = None
    invoke_id: str | None = None
    child_id: str | None = None  # execution id of a sub-flow, or what the executor called so
    timer: str | None = None  # what ``due_at`` is for: "timeout", "retry", "wait", "until" ("waited": it has come)
    due_at: int | None = None  # on the steady clock; of an "until" on the wall clock
    is_marked: bool = False  # skipped because everything before it was skipped (rill-dsl 4.5)
    skip_next: list[str] = field(default_factory=list)  # successors that switch or return ruled out
    progress_args: Json | None = None
    groups: GroupsState | None = None  # foreach and choice
    attempt_base: int = 0  # attempts made before the last redo; the retry budget counts from here
    last_event: int = 0  # suspense: number of the latest external event it took, so that a doubled one is known
    waits_since: int = 0  # suspense: since when it waits for an event

    @property
    def is_in_flight(self) -> bool:
        """A dispatch is out and has not been answered."""
        return self.owner is not None


class KeptEvent(NamedTuple):
    """An external event that waits to be taken; ``name`` is case-folded."""

    name: str
    payload: Any


@dataclass(frozen=True, slots=True)
class ParentLink:
    """The attempt of a task of another scope that waits for this execution to end."""

    execution_id: str
    path: str
    task: str
    attempt: int
    generation: Generation = ()


@dataclass(slots=True)
class ScopeState:
    key: ScopeKey
    descriptor_md5: str
    status: FlowStatus = FlowStatus.NOT_STARTED
    revision: int = 0
    is_paused: bool = False
    created_at: int = 0
    updated_at: int = 0
    finished_at: int | None = None
    context: Json = field(default_factory=dict)
    tasks: dict[str, TaskState] = field(default_factory=dict)
    invocations: list[list[int | None]] = field(default_factory=list)
    code: str | None = None
    msg: str | None = None
    ext: Json | None = None
    due_at: int | None = None  # the flow's own timeout, on the steady clock
    family: str = "rill"  # "rill" | "dapr": the REST family that started it
    workflow_name: str | None = None  # as given to a Dapr start
    raw_input: str | None = None  # the bytes given to a Dapr start, verbatim
    error_type: str | None = None  # for Dapr's failure details
    custom_status: str | None = None  # what a mapping to $.custom_status set last
    workspace: str = ""
    dag_name: str = ""
    idempotency_key: str | None = None
    callback: Json | None = None  # CallbackConfig document given at submit; wins over the descriptor's
    parent: ParentLink | None = None
    routes: list[Json] = field(default_factory=list)  # ancestors, outermost first (rill-http-api 4.3)
    outbox: dict[str, Posted] = field(default_factory=dict)  # messages that must still be delivered, by id
    expires_at: int | None = None
    generation: Generation = ()
    reported: str | None = None  # of a group: the status that its parent was told, while members may still run
    degrade: dict[str, list[bool]] = field(default_factory=dict)  # base task -> [current, followings], set at run time
    control: int = 0  # counts pauses, resumes and degrades of the execution; of a group: the last one it heard of
    events: dict[int, KeptEvent] = field(default_factory=dict)  # root: external events that nobody waited for yet
    waiters: Waiters = field(default_factory=Waiters)  # root: suspense tasks that wait for an event
    event_number: int = 0
    last_write: str = ""  # names the write that stored this state, to find out after an unknown outcome

    @property
    def life(self) -> str:
        return self.generation[0] if self.generation else ""  # type: ignore[return-value]
