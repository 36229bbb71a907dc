"""The shell's side of foreach and choice: makes the scopes of groups, gathers their results, carries their reports.

Backpressure is here: a batch of groups counts as started when its scopes are stored and the dispatcher has room for
this flow, and only then does the engine ask for the next one.

A group that comes into being while its parent is stopped, paused or redone is no special case: once it is stored, the
parent is read afresh, and the group is told what it has missed. Whoever tells the groups of a parent finds those that
are stored by then; every other one is stored later, and therefore reads a later parent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from tornflow.engine.commands import GatherGroups, GroupCommand, ReportGroup, ReviewGroups, StartGroups
from tornflow.engine.events import Controlled, GroupEnded, GroupsGathered, GroupsStarted, Submitted, Terminated
from tornflow.engine.groups import group_state, run_of
from tornflow.engine.program import Program
from tornflow.engine.scope import Scope
from tornflow.errors import RequestError, RevisionConflict, StorageUnavailable
from tornflow.model.execution import GroupsState, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.generation import Generation
from tornflow.model.messages import StopChild, StopGroups
from tornflow.model.names import instance_name, split_route
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.runtime.clock import Clock
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.retrying import while_unavailable
from tornflow.runtime.runner import Runner
from tornflow.runtime.tasks import Tasks
from tornflow.spi.storage import Storage, Version

_log = structlog.get_logger("tornflow.groups")
_PAUSE_S = 0.2
_AT_ONCE = 64


class GroupScopes:
    def __init__(self, storage: Storage, runner: Runner, dispatcher: Dispatcher, clock: Clock) -> None:
        self._storage = storage
        self._runner = runner
        self._dispatcher = dispatcher
        self._clock = clock
        self._tasks = Tasks()
        self._in_hand: set[tuple[Any, ...]] = set()

    def carry_out(self, scope: Scope, command: GroupCommand) -> None:
        """Begin what a command asks for. All that it needs of the scope is read here, at once."""
        key = scope.state.key
        match command:
            case StartGroups(task=name, generation=run, first=first, indices=indices):
                task = scope.state.tasks[name]
                states = [group_state(scope, task, index) for index in indices]
                has_more = task.groups is not None and task.groups.next < task.groups.total
                flow = f"{scope.state.workspace}:{scope.state.dag_name}"
                self._begin((key, name, run, first), self._start, scope.program, key, name, run, first, states,
                            flow if has_more else "")  # fmt: skip
            case ReviewGroups(task=name, generation=run, indices=indices):
                self._begin((key, name, run, "review"), self._review, key, name, run, indices)
            case GatherGroups(task=name, generation=run, indices=indices):
                self._begin((key, name, run, "gather"), self._gather, key, name, run, indices)
            case ReportGroup():
                self._report(scope.state, command.status, command.code, command.msg, command.ext)

    async def close(self) -> None:
        await self._tasks.close()

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    def _begin(self, name: tuple[Any, ...], work: Any, *arguments: Any) -> None:
        """What is in hand already, and is named again after a write of unknown outcome, is not done twice."""
        if name not in self._in_hand:
            self._in_hand.add(name)
            task = self._tasks.start(work, *arguments)
            if task is not None:
                task.add_done_callback(lambda _: self._in_hand.discard(name))

    # --- starting

    async def _start(
        self,
        program: Program,
        key: ScopeKey,
        name: str,
        run: Generation,
        first: int,
        states: list[ScopeState],
        flow: str,
    ) -> None:
        """``flow`` "": there is no further batch, so that nothing is held back."""
        for start in range(0, len(states), _AT_ONCE):
            page = states[start : start + _AT_ONCE]
            are_new = await asyncio.gather(*(self._create(program, state) for state in page))
            await self._catch_up(key, name, run, page, are_new)
        if flow:
            await self._dispatcher.room(flow)
        self._runner.post(key, GroupsStarted(self._clock.wall_ms(), name, run, first))

    async def _create(self, program: Program, state: ScopeState) -> bool:
        """Create one group; one of an earlier run in its place is overwritten, one of this run stays (False)."""
        replaces: Version | None = None
        dropped = frozenset[str]()
        while True:
            # A step changes what it is given, so that each try needs a state of its own.
            fresh = replace(
                state, revision=replaces.revision if replaces else 0, context=dict(state.context),
                degrade=dict(state.degrade), tasks={}, invocations=[], outbox={},
            )  # fmt: skip
            event = Submitted(self._clock.wall_ms())
            try:
                await self._runner.create(
                    fresh, program, event, replaces=replaces, dropped_parts=dropped, is_patient=True
                )
                return True
            except RevisionConflict:
                found = await while_unavailable(partial(self._runner.stored, state.key))
                # Nothing, or a group of another life: one of us may have been purged, or begun afresh, meanwhile.
                if (found is None or found[0].life != state.life) and not await self._is_alive(state):
                    return False
                if found is None:
                    replaces, dropped = None, frozenset()
                elif _is_this_or_later(found[0].generation, state.generation):
                    return False
                elif found[0].life == state.life and not _is_quiet(found[0]):
                    await self._retire(found[0])
                else:
                    stored = found[1]
                    replaces, dropped = Version(stored.life, stored.revision), frozenset(stored.parts)
            except StorageUnavailable as error:
                _log.warning("a group cannot be stored, will try again", scope=state.key.path, reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            except Exception as error:
                _log.exception("a group cannot be started", execution_id=state.key.execution_id, scope=state.key.path)
                self._report(state, FlowStatus.FAILED, "internal_error", f"internal error: {error}", None)
                return False

    async def _retire(self, old: ScopeState) -> None:
        """Stop a group of an earlier run before another takes its place: only it knows the sub-flows and groups that
        run below it. What it has to tell them must be delivered first."""
        try:
            await self._runner.send(old.key, Terminated(self._clock.wall_ms(), old.generation))
        except RequestError:
            pass  # it is gone
        await asyncio.sleep(_PAUSE_S / 10)

    async def _is_alive(self, state: ScopeState) -> bool:
        """Whether the execution of a group is still there: it may have been purged, and its id used again."""
        root = ScopeKey(state.key.execution_id)
        version = await while_unavailable(partial(self._storage.version, root))
        return version is not None and version.life == state.life

    async def _catch_up(
        self, key: ScopeKey, name: str, run: Generation, states: Sequence[ScopeState], are_new: Sequence[bool]
    ) -> None:
        """Tell groups what others were told while these were being stored; what an old one has heard is unknown."""
        parent = await while_unavailable(partial(self._runner.view, key))
        if parent is None or parent.state.life != run[0] or not await self._is_alive(states[0]):
            life = str(run[0])
            await while_unavailable(partial(self._storage.delete_strays, key.execution_id, life))
            self._runner.forget({key.execution_id: life})
            return
        for state, is_new in zip(states, are_new, strict=True):
            event = _missed(parent, name, run, state, is_new, self._clock.wall_ms())
            if event is not None:
                self._runner.post(state.key, event)

    # --- after a crash

    async def _review(self, key: ScopeKey, name: str, run: Generation, indices: Sequence[int]) -> None:
        """Let groups that have ended report again."""
        route = instance_name(key.path, name)
        for start in range(0, len(indices), _AT_ONCE):
            keys = [ScopeKey(key.execution_id, f"{route}_{index}") for index in indices[start : start + _AT_ONCE]]
            await asyncio.gather(*(self._review_one(one, run) for one in keys))

    async def _review_one(self, key: ScopeKey, run: Generation) -> None:
        found = await while_unavailable(partial(self._runner.view, key))
        if found is not None and found.state.generation == run and found.state.reported is not None:
            old = found.state
            self._report(old, FlowStatus(old.reported or old.status), old.code, old.msg, old.ext)

    # --- ending

    async def _gather(self, key: ScopeKey, name: str, run: Generation, indices: Sequence[int]) -> None:
        """Read the sub-contexts as they are stored now: members of a failed group may still run."""
        route = instance_name(key.path, name)
        contexts: list[Any] = []
        for start in range(0, len(indices), _AT_ONCE):
            keys = [ScopeKey(key.execution_id, f"{route}_{index}") for index in indices[start : start + _AT_ONCE]]
            found = await asyncio.gather(*(while_unavailable(partial(self._runner.context, one)) for one in keys))
            contexts.extend(context or {} for context in found)
        self._runner.post(key, GroupsGathered(self._clock.wall_ms(), name, run, contexts))

    def _report(self, state: ScopeState, status: FlowStatus, code: Any, msg: Any, ext: Any) -> None:
        parent, task, index = split_route(state.key.path)
        event = GroupEnded(self._clock.wall_ms(), task, state.generation, index, status, code, msg, ext)
        self._runner.post(ScopeKey(state.key.execution_id, parent), event)


def _is_this_or_later(found: Generation, wanted: Generation) -> bool:
    """Runs of one life are counted; a group of another life is never the one that is wanted."""
    return found[0] == wanted[0] and found[1:] >= wanted[1:]


def _is_quiet(state: ScopeState) -> bool:
    """Nothing below a group runs any more, or is still to be told to stop."""
    if not state.status.is_completed:
        return False
    return not any(isinstance(posted.message, StopChild | StopGroups) for posted in state.outbox.values())


def _missed(
    parent: Scope, name: str, run: Generation, state: ScopeState, is_new: bool, at: int
) -> Terminated | Controlled | None:
    task = parent.peek(name) if not parent.state.status.is_completed else None
    groups = None if task is None or run_of(parent, task) != run else task.groups
    if task is None or groups is None or _was_stopped(task, groups, split_route(state.key.path)[2]):
        return Terminated(at, run)
    known = parent.state
    if known.control == (state.control if is_new else 0):
        return None
    return Controlled(at, run, known.control, known.is_paused, {name: list(two) for name, two in known.degrade.items()})


def _was_stopped(task: TaskState, groups: GroupsState, index: int) -> bool:
    """A task that ended before its groups has stopped those that ran."""
    return task.status is not TaskStatus.RUNNING and groups.marks[index] == Mark.RUNNING
