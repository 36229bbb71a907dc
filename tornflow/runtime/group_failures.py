"""Failed tasks inside foreach and choice, for those who are told of the end of a flow (rill-http-api 6.3).

A parent knows of its groups a mark each, so their scopes must be read. That is done beside the flow, from the store,
and within bounds: a foreach may have 100,000 groups, and each may have failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import structlog

from tornflow.errors import StorageError
from tornflow.model.execution import Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.generation import Generation
from tornflow.model.jsontext import dumps
from tornflow.model.names import instance_name
from tornflow.model.status import TaskStatus
from tornflow.runtime.retrying import while_unavailable

MAX_TASKS = 1000
MAX_GROUPS = 1000
MAX_BYTES = 1024 * 1024
"""So many tasks are named, from so many groups, at most; inputs and outputs beyond so many bytes are left out."""

_AT_ONCE = 64

_log = structlog.get_logger("tornflow.callbacks")

Load = Callable[[ScopeKey], Awaitable[ScopeState | None]]


@dataclass(frozen=True, slots=True)
class Group:
    """A group that may hold failed tasks, of one run of its task: another run in its place is none of ours."""

    key: ScopeKey
    generation: Generation


def suspects(state: ScopeState) -> tuple[Group, ...]:
    """Return the groups directly below a scope that may hold failed tasks: those that failed, then those that still ran
    when the flow timed out. At most MAX_GROUPS."""
    found = (group for mark in (Mark.FAILED, Mark.RUNNING) for group in _marked(state, mark))
    return tuple(islice(found, MAX_GROUPS))


def _marked(state: ScopeState, wanted: int) -> Iterator[Group]:
    for name, task in state.tasks.items():
        if task.groups is None:
            continue
        route, run = instance_name(state.key.path, name), (*state.generation, task.attempt)
        index = task.groups.marks.find(wanted)
        while index >= 0:
            yield Group(ScopeKey(state.key.execution_id, f"{route}_{index}"), run)
            index = task.groups.marks.find(wanted, index + 1)


async def failed_tasks(load: Load, groups: Sequence[Group]) -> dict[str, TaskState]:
    """Return the failed tasks of groups, and of the groups in them, by instance name; outer ones first.

    ``load`` gives a state of the caller's own, as it is stored. Waits while the store is away; a group that cannot be
    read is left out.
    """
    found: dict[str, TaskState] = {}
    waiting, left, room = deque(groups), MAX_GROUPS, MAX_BYTES
    while waiting and left > 0 and len(found) < MAX_TASKS:
        page = [waiting.popleft() for _ in range(min(len(waiting), left, _AT_ONCE))]
        left -= len(page)
        for state in await asyncio.gather(*(_read(load, group) for group in page)):
            if state is None:
                continue
            for name, task in _failed(state):
                if len(found) == MAX_TASKS:
                    return found
                room -= _size(task)
                found[name] = task if room >= 0 else replace(task, input=None, output=None)
            waiting.extend(suspects(state))
    return found


async def _read(load: Load, group: Group) -> ScopeState | None:
    key = group.key
    try:
        state = await while_unavailable(partial(load, key))
    except (StorageError, LookupError, TypeError, ValueError) as error:  # damage; the flow's end is told all the same
        _log.warning("a group cannot be read", execution_id=key.execution_id, scope=key.path, reason=str(error))
        return None
    return state if state is not None and state.generation == group.generation else None


def _failed(state: ScopeState) -> Iterator[tuple[str, TaskState]]:
    for name, task in state.tasks.items():
        if task.status is TaskStatus.FAILED:
            yield instance_name(state.key.path, name), task


def _size(task: TaskState) -> int:
    return sum(len(dumps(value)) for value in (task.input, task.output) if value is not None)
