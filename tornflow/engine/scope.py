"""The live scope: its saved state, its program, and what can be derived from both.

Derived data (open predecessors, how many tasks are active or failed, the queue of ready tasks) is never stored: it is
counted once when a scope is loaded and kept current by each change, so that no step looks at all tasks again. What a
step changed is marked, so that no commit writes more than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any

from tornflow.engine.mapping import PassEnv
from tornflow.engine.program import CompiledTask, Graph, Program, Rules
from tornflow.model.descriptor import Task
from tornflow.model.execution import GroupsState, ScopeState, TaskState
from tornflow.model.jsontext import dumps, without_null_members
from tornflow.model.names import split_route
from tornflow.model.status import TaskStatus

_ACTIVE = (TaskStatus.READY, TaskStatus.RUNNING)


class Scope:
    """Belongs to one step at a time. After a failed commit it must be thrown away and loaded again."""

    __slots__ = (
        "_hands", "_moments", "_size", "_sizes", "_timers", "active", "dirty_context", "dirty_events", "dirty_tasks",
        "drift", "env", "failed", "graph", "is_dirty", "is_new", "keyed", "node", "now", "ok", "open_attempts",
        "open_groups", "program", "ready", "rules", "saved_bytes", "saved_summary", "state", "storage_form", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        state: ScopeState,
        program: Program,
        rules: Rules,
        *,
        node: str = "",
        now: int | None = None,
        drift: int = 0,
        is_new: bool = False,
    ) -> None:
        """``node`` does the work that follows from a step; ``now`` is its steady clock at the step (None: the moment of
        the event), ``drift`` that less its wall clock; all in ms."""
        self.state = state
        self.node = node
        self.now = now
        self.drift = drift
        self.program = program
        self.graph: Graph = graph_of(program, state.key.path)
        self.rules = rules
        self.env = PassEnv(state.key.execution_id, rules.trigger_base)
        self.is_new = is_new
        self.is_dirty = is_new
        self.dirty_tasks: set[str] = set()
        self.dirty_context: set[str] = set()
        self.dirty_events: set[int] = set()
        self.saved_summary: tuple[Any, ...] = () if is_new else self._summary()
        self.saved_bytes = 0  # of the stored form, about
        self.storage_form: Any = None  # the codec's note on how this scope lies in the store
        self._sizes: dict[str, int] | None = None
        self._size = 0
        self.recount()

    def recount(self) -> None:
        """Derive everything from the saved state again; looks at all tasks."""
        self.ready: deque[str] = deque()
        self.waiting: dict[str, int] = {}
        self.active = self.failed = self.keyed = self.ok = self.open_attempts = self.open_groups = 0
        self._timers: list[tuple[int, str]] = []  # durations, on the steady clock
        self._moments: list[tuple[int, str]] = []  # on the wall clock
        self._hands: dict[str, int] = {}  # by node, how many pieces of work it has in hand
        for posted in self.state.outbox.values():
            self.take(posted.owner)
        for name, task in self.state.tasks.items():
            status = task.status
            if status in _ACTIVE:
                self.active += 1
            if status is TaskStatus.READY and task.due_at is None:
                self.ready.append(name)
            self.failed += status is TaskStatus.FAILED
            self.keyed += status is TaskStatus.KEY_SUCCEED
            self.open_attempts += task.is_in_flight
            self.open_groups += status is TaskStatus.RUNNING and task.groups is not None
            if task.due_at is not None:
                heappush(self._heap_of(task), (task.due_at, name))
            if task.owner is not None:
                self.take(task.owner)
            if task.groups is not None:
                self._count_hands(task.groups)
            if status.is_ok:
                self.ok += 1
                for follower in self.graph.tasks[name].successors:
                    self.close_predecessor(follower)

    # --- tasks

    def task(self, name: str) -> TaskState:
        """Return the state of a task for changing; it will be saved with the step."""
        task = self.state.tasks.get(name)
        if task is None:
            task = self.state.tasks[name] = TaskState(name)
        self.dirty_tasks.add(name)
        self.is_dirty = True
        return task

    def peek(self, name: str) -> TaskState | None:
        return self.state.tasks.get(name)

    def status_of(self, name: str) -> TaskStatus:
        task = self.state.tasks.get(name)
        return TaskStatus.NOT_STARTED if task is None else task.status

    def compiled(self, name: str) -> CompiledTask:
        return self.graph.tasks[name]

    def set_status(self, task: TaskState, status: TaskStatus) -> None:
        before = task.status
        if before is status:
            return
        self.active += (status in _ACTIVE) - (before in _ACTIVE)
        self.failed += (status is TaskStatus.FAILED) - (before is TaskStatus.FAILED)
        self.keyed += (status is TaskStatus.KEY_SUCCEED) - (before is TaskStatus.KEY_SUCCEED)
        self.ok += status.is_ok - before.is_ok
        task.status = status

    def set_owner(self, task: TaskState, owner: str | None) -> None:
        """Note which node has the running attempt of a task in hand; None: no node any more."""
        if task.owner is not None:
            self.open_attempts -= 1
            self.release(task.owner)
        if owner is not None:
            self.open_attempts += 1
            self.take(owner)
        task.owner = owner

    @property
    def has_groups(self) -> bool:
        """Groups may be running: those of a failed one go on (rill-dsl 4.4)."""
        return self.open_groups > 0 or self.failed > 0

    # --- who has work in hand

    def take(self, owner: str) -> None:
        self._hands[owner] = self._hands.get(owner, 0) + 1

    def release(self, owner: str) -> None:
        left = self._hands[owner] - 1
        if left:
            self._hands[owner] = left
        else:
            del self._hands[owner]

    def _count_hands(self, groups: GroupsState) -> None:
        for batch in groups.batches:
            self.take(batch.owner)
        for owner in (groups.gatherer, groups.holder):
            if owner is not None:
                self.take(owner)

    @property
    def owners(self) -> tuple[str, ...]:
        """The nodes whose crash now would lose something that only they are doing, in order."""
        state = self.state
        if self.ready and not state.is_paused and not state.status.is_completed:  # left for the next step
            return tuple(sorted({*self._hands, self.node}))
        return tuple(sorted(self._hands)) if self._hands else ()

    def close_predecessor(self, name: str) -> int:
        """Note that one more predecessor of ``name`` let it pass; return how many are still open."""
        left = self.waiting.get(name)
        if left is None:
            left = len(self.graph.tasks[name].predecessors)
        self.waiting[name] = left = left - 1
        return left

    def degrade_of(self, definition: Task) -> tuple[bool, bool]:
        """Return (current, followings): what was set at run time, else what the descriptor says (rill-dsl 11.4)."""
        flags = self.state.degrade.get(definition.name) if self.state.degrade else None
        if flags is not None:
            return flags[0], flags[1]
        return definition.degrade.current, definition.degrade.followings

    def open_predecessors(self, compiled: CompiledTask) -> int:
        return self.waiting.get(compiled.name, len(compiled.predecessors))

    # --- context

    def touch_context(self, keys: set[str]) -> None:
        if keys:
            self.dirty_context |= keys
            self.is_dirty = True

    def settle_context(self, changed: set[str]) -> int:
        """Drop the null members of what changed since the last call, as the reference does when it stores a context
        (rill-dsl 5.8). Return the bytes of the whole context as compact JSON."""
        context, sizes = self.state.context, self._sizes
        if sizes is None:
            sizes = self._sizes = {
                key: _entry_size(key, dumps(value)) for key, value in context.items() if key not in changed
            }
            self._size = sum(sizes.values())
        for key in changed:
            size = _entry_size(key, self._settled(key)) if key in context else 0
            self._size += size - sizes.get(key, 0)
            sizes[key] = size
        return self._size

    def _settled(self, key: str) -> bytes:
        """Return an entry as JSON. It is written to be measured anyway; without the word in it there is no null."""
        context = self.state.context
        text = dumps(context[key])
        if b"null" in text:
            context[key] = without_null_members(context[key])
            text = dumps(context[key])
        return text

    # --- timers

    def set_timer(self, task: TaskState, kind: str, due_at: int) -> None:
        """``due_at`` is on the steady clock; for the kind "until" on the wall clock."""
        task.timer, task.due_at = kind, due_at
        heappush(self._heap_of(task), (due_at, task.name))

    def _heap_of(self, task: TaskState) -> list[tuple[int, str]]:
        return self._moments if task.timer == "until" else self._timers

    def clear_timer(self, task: TaskState) -> None:
        task.timer = task.due_at = None  # the heap entry is dropped when it comes up

    def pop_due(self, now: int) -> TaskState | None:
        """Take the next task whose timer is due (``now`` on the steady clock), None when there is none."""
        for heap, moment in ((self._timers, now), (self._moments, now - self.drift)):
            due_at = self._top(heap)
            if due_at is not None and due_at <= moment:
                return self.task(heappop(heap)[1])
        return None

    @property
    def next_due(self) -> int | None:
        """The earliest moment, on the steady clock, at which ``TimerFired`` changes something; None while paused or
        finished."""
        state = self.state
        if state.is_paused or state.status.is_completed:
            return None
        due_at = state.due_at
        if self._timers and (top := self._top(self._timers)) is not None:
            due_at = top if due_at is None else min(due_at, top)
        if self._moments and (top := self._top(self._moments)) is not None:
            due_at = top + self.drift if due_at is None else min(due_at, top + self.drift)
        return due_at

    def _top(self, heap: list[tuple[int, str]]) -> int | None:
        """Drop what was cleared meanwhile; return the earliest moment of a heap."""
        while heap:
            due_at, name = heap[0]
            task = self.state.tasks.get(name)
            if task is not None and task.due_at == due_at and self._heap_of(task) is heap:
                return due_at
            heappop(heap)
        return None

    # --- life

    def _summary(self) -> tuple[Any, ...]:
        """What the indexed columns show and a step may change."""
        state = self.state
        return state.status, state.finished_at, state.code

    @property
    def has_news(self) -> bool:
        """The indexed columns of the execution must be written."""
        return not self.state.key.path and self.saved_summary != self._summary()

    def saved(self) -> None:
        """Forget the marks: the step is stored."""
        self.state.revision += 1
        self.is_dirty = self.is_new = False
        for name in self.dirty_tasks:
            groups = self.state.tasks[name].groups
            if groups is not None:
                groups.dirty.clear()
                groups.is_news = False
        self.dirty_tasks.clear()
        if self.dirty_context:
            self.dirty_context.clear()
        if self.dirty_events:
            self.dirty_events.clear()
        if self.state.waiters.dirty:
            self.state.waiters.dirty.clear()
        if not self.state.key.path:
            self.saved_summary = self._summary()


def graph_of(program: Program, path: str) -> Graph:
    """Return the sibling list of a scope: that of the root, or of the group that the path names."""
    if not path:
        return program.root
    _parent, task, index = split_route(path)
    return program.bodies[task] if task in program.bodies else program.bodies[f"{task}/{index}"]


def _entry_size(key: str, text: bytes) -> int:
    return len(key) + 4 + len(text)


def document(name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the one-key document that conditions look at."""
    return {name: {} if value is None else value}
