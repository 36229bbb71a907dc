"""The shell's side of foreach and choice: makes the scopes of groups, gathers their results, carries their reports.

Backpressure is here: a batch of groups counts as started when its scopes are stored and the dispatcher has room, and
only then does the engine ask for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from tornflow.engine.commands import GatherGroups, GroupCommand, ReportGroup, ReviewGroups, StartGroups
from tornflow.engine.events import GroupEnded, GroupsGathered, GroupsStarted, Submitted
from tornflow.engine.groups import group_state, run_of
from tornflow.engine.scope import Scope
from tornflow.errors import RevisionConflict, StorageError
from tornflow.model.execution import Generation, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.names import instance_name, split_route
from tornflow.model.status import FlowStatus
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.runner import Runner

_log = structlog.get_logger("tornflow.grouping")
_PAUSE_S = 0.2
_ROOM = 256
_AT_ONCE = 64


class Grouping:
    def __init__(self, runner: Runner, dispatcher: Dispatcher, clock: Callable[[], int]) -> None:
        self._runner = runner
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
        await self._create_all(scope, states)
        while self._dispatcher.waiting > _ROOM:
            await asyncio.sleep(0.01)
        self._runner.post(scope.state.key, GroupsStarted(self._clock(), name, generation))

    async def _create_all(self, scope: Scope, states: Iterable[ScopeState]) -> None:
        await asyncio.gather(*(self._create(scope, state) for state in states))

    async def _create(self, scope: Scope, state: ScopeState) -> None:
        """Create one group; one of an earlier run in its place is overwritten, one of this run stays."""
        replaced: set[str] = set()
        while True:
            try:
                await self._runner.create(
                    state, scope.program, Submitted(self._clock()), dropped_parts=frozenset(replaced)
                )
                return
            except RevisionConflict:
                old = await self._runner.stored(state.key)
                if old is None:
                    continue
                if old[0].generation >= state.generation:
                    return
                state.revision, replaced = old[0].revision, set(old[1])
            except StorageError as error:
                _log.warning("a group cannot be stored, will try again", scope=state.key.path, reason=str(error))
                await asyncio.sleep(_PAUSE_S)

    # --- after a crash

    async def _review(self, scope: Scope, name: str, generation: Generation) -> None:
        task = scope.state.tasks[name]
        groups = task.groups
        if groups is None:
            return
        running = [index for index, mark in enumerate(groups.marks) if mark == Mark.RUNNING]
        for start in range(0, len(running), _AT_ONCE):
            await asyncio.gather(*(self._review_one(scope, task, index) for index in running[start : start + _AT_ONCE]))
        self._runner.post(scope.state.key, GroupsStarted(self._clock(), name, generation))

    async def _review_one(self, scope: Scope, task: TaskState, index: int) -> None:
        path = f"{instance_name(scope.state.key.path, task.name)}_{index}"
        found = await self._patiently(ScopeKey(scope.state.key.execution_id, path))
        if found is None or found.state.generation < run_of(scope, task):
            await self._create(scope, group_state(scope, task, index))
        elif found.state.reported is not None:
            state = found.state
            self._report(state, FlowStatus(state.reported or state.status), state.code, state.msg, state.ext)

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
            found = await asyncio.gather(*map(self._patiently, keys))
            contexts.extend({} if one is None else one.state.context for one in found)
        self._runner.post(scope.state.key, GroupsGathered(self._clock(), name, generation, contexts))

    def _report(self, state: ScopeState, status: FlowStatus, code: Any, msg: Any, ext: Any) -> None:
        parent, task, index = split_route(state.key.path)
        event = GroupEnded(self._clock(), task, state.generation, index, status, code, msg, ext)
        self._runner.post(ScopeKey(state.key.execution_id, parent), event)

    async def _patiently(self, key: ScopeKey) -> Scope | None:
        while True:
            try:
                return await self._runner.view(key)
            except StorageError as error:
                _log.warning("a group cannot be read, will try again", scope=key.path, reason=str(error))
                await asyncio.sleep(_PAUSE_S)
