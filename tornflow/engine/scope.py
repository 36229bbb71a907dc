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
from tornflow.model.execution import ScopeState, TaskState
from tornflow.model.jsontext import dumps
from tornflow.model.names import split_route
from tornflow.model.status import FlowStatus, TaskStatus

_ACTIVE = (TaskStatus.READY, TaskStatus.RUNNING)


class Scope:
    """Belongs to one step at a time. After a failed commit it must be thrown away and loaded again."""

    __slots__ = (
        "_size", "_sizes", "_timers", "active", "dirty_context", "dirty_tasks", "env", "failed", "graph", "is_dirty",
        "is_new", "keyed", "ok", "open_attempts", "open_groups", "program", "ready", "rules", "saved_bytes",
        "saved_status", "starting", "state", "storage_form", "waiting",
    )  # fmt: skip

    def __init__(self, state: ScopeState, program: Program, rules: Rules, *, is_new: bool = False) -> None:
        self.state = state
        self.program = program
        self.graph: Graph = graph_of(program, state.key.path)
        self.rules = rules
        self.env = PassEnv(state.key.execution_id, rules.trigger_base)
        self.is_new = is_new
        self.is_dirty = is_new
        self.dirty_tasks: set[str] = set()
        self.dirty_context: set[str] = set()
        self.saved_status: FlowStatus | None = None if is_new else state.status
        self.saved_bytes = 0  # of the stored form, about
        self.storage_form: Any = None  # the codec's note on how this scope lies in the store
        self.starting: set[str] = set()  # tasks whose next groups are being stored right now
        self._sizes: dict[str, int] | None = None
        self._size = 0
        self.recount()

    def recount(self) -> None:
        """Derive everything from the saved state again; looks at all tasks."""
        self.ready: deque[str] = deque()
        self.waiting: dict[str, int] = {}
        self.active = self.failed = self.keyed = self.ok = self.open_attempts = self.open_groups = 0
        self._timers: list[tuple[int, str]] = []
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
                heappush(self._timers, (task.due_at, name))
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

    def set_in_flight(self, task: TaskState, is_in_flight: bool) -> None:
        self.open_attempts += is_in_flight - task.is_in_flight
        task.is_in_flight = is_in_flight

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

    def context_size(self, changed: set[str]) -> int:
        """Return the bytes of the context as compact JSON, measuring only what changed since the last call."""
        context = self.state.context
        if self._sizes is None:
            self._sizes = {key: _entry_size(key, value) for key, value in context.items()}
            self._size = sum(self._sizes.values())
            return self._size
        for key in changed:
            size = _entry_size(key, context[key]) if key in context else 0
            self._size += size - self._sizes.get(key, 0)
            self._sizes[key] = size
        return self._size

    # --- timers

    def set_timer(self, task: TaskState, kind: str, due_at: int) -> None:
        task.timer, task.due_at = kind, due_at
        heappush(self._timers, (due_at, task.name))

    def clear_timer(self, task: TaskState) -> None:
        task.timer = task.due_at = None  # the heap entry is dropped when it comes up

    def pop_due(self, at: int) -> TaskState | None:
        """Take the next task whose timer is due, None when there is none."""
        while self._timers and self._timers[0][0] <= at:
            due_at, name = heappop(self._timers)
            task = self.state.tasks.get(name)
            if task is not None and task.due_at == due_at:
                return self.task(name)
        return None

    @property
    def next_due(self) -> int | None:
        """The earliest moment at which ``TimerFired`` changes something; None while paused or finished."""
        state = self.state
        if state.is_paused or state.status.is_completed:
            return None
        while self._timers:
            due_at, name = self._timers[0]
            task = state.tasks.get(name)
            if task is not None and task.due_at == due_at:
                return due_at if state.due_at is None else min(due_at, state.due_at)
            heappop(self._timers)
        return state.due_at

    # --- life

    @property
    def has_work_in_hand(self) -> bool:
        """A crash now would lose something that only this node is doing."""
        state = self.state
        if state.outbox:
            return True
        if state.status.is_completed:
            return False
        return self.open_attempts > 0 or self.open_groups > 0 or (bool(self.ready) and not state.is_paused)

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
        self.dirty_context.clear()
        self.saved_status = self.state.status


def graph_of(program: Program, path: str) -> Graph:
    """Return the sibling list of a scope: that of the root, or of the group that the path names."""
    if not path:
        return program.root
    _parent, task, index = split_route(path)
    return program.bodies[task] if task in program.bodies else program.bodies[f"{task}/{index}"]


def _entry_size(key: str, value: Any) -> int:
    return len(key) + 4 + len(dumps(value))


def document(name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the one-key document that conditions look at."""
    return {name: {} if value is None else value}
