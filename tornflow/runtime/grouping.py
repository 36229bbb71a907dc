"""The shell's side of foreach and choice: makes the scopes of groups, gathers their results, carries their reports.

Backpressure is here: a batch of groups counts as started when its scopes are stored and the dispatcher has room, and
only then does the engine ask for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from tornflow.engine.commands import GatherGroups, GroupCommand, ReportGroup, ReviewGroups, StartGroups
from tornflow.engine.events import (
    GroupEnded,
    GroupsGathered,
    GroupsStarted,
    Paused,
    Resumed,
    Submitted,
    Terminated,
)
from tornflow.engine.groups import group_state, run_of
from tornflow.engine.scope import Scope
from tornflow.errors import RevisionConflict, StorageUnavailable
from tornflow.model.execution import Generation, GroupsState, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.names import instance_name, split_route
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.runtime.births import Births
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.runner import Runner

T = TypeVar("T")

_log = structlog.get_logger("tornflow.grouping")
_PAUSE_S = 0.2
_AT_ONCE = 64


class Grouping:
    def __init__(self, runner: Runner, births: Births, dispatcher: Dispatcher, clock: Callable[[], int]) -> None:
        self._runner = runner
        self._births = births
        self._dispatcher = dispatcher
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def carry_out(self, scope: Scope, command: GroupCommand) -> None:
        match command:
            case StartGroups(task=name, generation=generation, indices=indices):
                task = scope.state.tasks[name]
                states = [group_state(scope, task, index) for index in indices]
                self._begin(scope, self._start(scope, name, generation, states))
            case ReviewGroups(task=name, generation=generation):
                self._begin(scope, self._review(scope, name, generation))
            case GatherGroups(task=name, generation=generation):
                self._begin(scope, self._gather(scope, name, generation))
            case ReportGroup():
                self._report(scope.state, command.status, command.code, command.msg, command.ext)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, scope: Scope, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._until_stored(scope.state.key, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_stored(self, key: ScopeKey, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # The parent keeps its mark "in hand": a restart, or another node, reviews the groups.
            _log.exception("groups were left behind", execution_id=key.execution_id, scope=key.path)

    # --- starting

    async def _start(self, scope: Scope, name: str, generation: Generation, states: list[ScopeState]) -> None:
        with self._births.of(scope.state.key.execution_id):
            await asyncio.gather(*(self._create(scope, state) for state in states))
        await self._catch_up(scope.state.key, name, generation, states)
        await self._dispatcher.room(f"{scope.state.workspace}:{scope.state.dag_name}")
        self._runner.post(scope.state.key, GroupsStarted(self._clock(), name, generation))

    async def _create(self, scope: Scope, state: ScopeState) -> None:
        """Create one group; one of an earlier run in its place is overwritten, one of this run stays."""
        revision, replaced = 0, frozenset[str]()
        while True:
            # A step changes what it is given, so that each try needs a state of its own.
            fresh = replace(
                state, revision=revision, context=dict(state.context), degrade=dict(state.degrade), tasks={},
                invocations=[], outbox={},
            )  # fmt: skip
            try:
                await self._runner.create(fresh, scope.program, Submitted(self._clock()), dropped_parts=replaced)
                return
            except RevisionConflict:
                old = await self._stored(state.key)
                if old is None:
                    revision, replaced = 0, frozenset()
                elif old[0].generation >= state.generation:
                    return
                else:
                    revision, replaced = old[0].revision, old[1]
            except StorageUnavailable as error:
                _log.warning("a group cannot be stored, will try again", scope=state.key.path, reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            except Exception as error:
                _log.exception("a group cannot be started", execution_id=state.key.execution_id, scope=state.key.path)
                self._report(state, FlowStatus.FAILED, "internal_error", f"internal error: {error}", None)
                return

    async def _catch_up(self, key: ScopeKey, name: str, generation: Generation, states: Iterable[ScopeState]) -> None:
        """Tell new groups what was told to the others while these were being stored: to stop, to pause, to go on.

        On one node the courier waits for ``Runner.created``; this is for orders that another node carried out.
        """
        parent = await self._patiently(key)
        task = parent.peek(name) if parent is not None and not parent.state.status.is_completed else None
        groups = None if parent is None or task is None or run_of(parent, task) != generation else task.groups
        for state in states:
            index = split_route(state.key.path)[2]
            if parent is None or task is None or groups is None or _was_stopped(task, groups, index):
                self._runner.post(state.key, Terminated(self._clock(), generation))
            elif parent.state.is_paused != state.is_paused:
                at = self._clock()
                self._runner.post(state.key, Paused(at) if parent.state.is_paused else Resumed(at))

    # --- after a crash

    async def _review(self, scope: Scope, name: str, generation: Generation) -> None:
        task = scope.state.tasks[name]
        groups = task.groups
        if groups is None:
            return
        running = [index for index, mark in enumerate(groups.marks) if mark == Mark.RUNNING]
        with self._births.of(scope.state.key.execution_id):
            for start in range(0, len(running), _AT_ONCE):
                page = running[start : start + _AT_ONCE]
                states = await asyncio.gather(*(self._review_one(scope, task, index) for index in page))
                made = [state for state in states if state is not None]
                await self._catch_up(scope.state.key, name, generation, made)
        self._runner.post(scope.state.key, GroupsStarted(self._clock(), name, generation))

    async def _review_one(self, scope: Scope, task: TaskState, index: int) -> ScopeState | None:
        """Return the state of a group that had to be created."""
        path = f"{instance_name(scope.state.key.path, task.name)}_{index}"
        found = await self._patiently(ScopeKey(scope.state.key.execution_id, path))
        if found is None or found.state.generation < run_of(scope, task):
            state = group_state(scope, task, index)
            await self._create(scope, state)
            return state
        if found.state.reported is not None:
            old = found.state
            self._report(old, FlowStatus(old.reported or old.status), old.code, old.msg, old.ext)
        return None

    # --- ending

    async def _gather(self, scope: Scope, name: str, generation: Generation) -> None:
        groups = scope.state.tasks[name].groups
        assert groups is not None
        route = instance_name(scope.state.key.path, name)
        started = [index for index, mark in enumerate(groups.marks) if mark != Mark.SKIPPED]
        contexts: list[Any] = []
        for start in range(0, len(started), _AT_ONCE):
            page = started[start : start + _AT_ONCE]
            keys = [ScopeKey(scope.state.key.execution_id, f"{route}_{index}") for index in page]
            contexts.extend(await asyncio.gather(*map(self._context, keys)))
        self._runner.post(scope.state.key, GroupsGathered(self._clock(), name, generation, contexts))

    async def _context(self, key: ScopeKey) -> Mapping[str, Any]:
        """Return the sub-context of a group as it is stored now: members of a failed one may still run."""
        return await self._insist(lambda: self._runner.context(key), key) or {}

    def _report(self, state: ScopeState, status: FlowStatus, code: Any, msg: Any, ext: Any) -> None:
        parent, task, index = split_route(state.key.path)
        event = GroupEnded(self._clock(), task, state.generation, index, status, code, msg, ext)
        self._runner.post(ScopeKey(state.key.execution_id, parent), event)

    async def _patiently(self, key: ScopeKey) -> Scope | None:
        return await self._insist(lambda: self._runner.view(key), key)

    async def _stored(self, key: ScopeKey) -> tuple[ScopeState, frozenset[str]] | None:
        return await self._insist(lambda: self._runner.stored(key), key)

    async def _insist(self, read: Callable[[], Awaitable[T]], key: ScopeKey) -> T:
        while True:
            try:
                return await read()
            except StorageUnavailable as error:
                _log.warning("a group cannot be read, will try again", scope=key.path, reason=str(error))
                await asyncio.sleep(_PAUSE_S)


def _was_stopped(task: TaskState, groups: GroupsState, index: int) -> bool:
    """A task that ended before its groups has stopped those that ran."""
    return task.status is not TaskStatus.RUNNING and groups.marks[index] == Mark.RUNNING
