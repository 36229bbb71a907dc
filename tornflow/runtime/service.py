"""What the edges may ask of the server. Each method is one use of the engine; REST families translate to these.

Every method that changes something answers only after its effect is durable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tornflow.engine.groups import run_of
from tornflow.engine.program import Program
from tornflow.engine.scope import graph_of
from tornflow.model.descriptor import Descriptor, Task
from tornflow.model.execution import Mark, ScopeKey, ScopeState
from tornflow.model.names import split_instance
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.clock import Clock
from tornflow.runtime.control import Control
from tornflow.runtime.identities import Identities
from tornflow.runtime.runner import Runner
from tornflow.runtime.starting import Load, ServiceSettings, Starting
from tornflow.spi.hookspecs import ContextInitialiser
from tornflow.spi.storage import ExecutionQuery, Storage, Summary


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One execution as last committed. Read only, and only until the next ``await``: it may be the live object."""

    state: ScopeState
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """One group of a foreach or choice; instance names are ``<path>-<task name>``.

    ``state`` is None when it was not started; ``is_passed_over``: a choice decided against it, its tasks are SKIPPED.
    Without tasks the parent has no group of that index.
    """

    state: ScopeState | None
    tasks: tuple[Task, ...]
    path: str
    is_passed_over: bool = False


class FlowService(Starting, Control):
    """Starting and controlling executions, and looking at them."""

    def __init__(
        self,
        storage: Storage,
        catalog: Catalog[Program],
        runner: Runner,
        load: Load,
        clock: Clock,
        identities: Identities,
        settings: ServiceSettings,
        context_initialisers: Sequence[ContextInitialiser] = (),
    ) -> None:
        Starting.__init__(self, storage, catalog, runner, load, clock, identities, settings, context_initialisers)
        Control.__init__(self, storage, runner, clock)

    async def snapshot(self, execution_id: str) -> Snapshot | None:
        """Return the root scope, or None for an unknown execution."""
        scope = await self._runner.view(ScopeKey(execution_id))
        return None if scope is None else Snapshot(scope.state, scope.program.descriptor)

    async def group(self, execution_id: str, parent: str, index: int) -> GroupSnapshot | None:
        """Return one group (``parent`` is the instance name of its foreach or choice), None if there is no parent."""
        key, task = split_instance(execution_id, parent)
        scope = await self._runner.view(key)
        state = None if scope is None else scope.peek(task)
        if scope is None or state is None or state.groups is None:
            return None
        path = f"{parent}_{index}"
        if not 0 <= index < state.groups.total:
            return GroupSnapshot(None, (), path)
        tasks = tuple(one.definition for one in graph_of(scope.program, path).tasks.values())
        is_passed_over, generation = state.groups.marks[index] == Mark.SKIPPED, run_of(scope, state)
        group = await self._runner.view(ScopeKey(execution_id, path))
        # A scope of an earlier generation was left by a run before the last redo.
        is_current = group is not None and group.state.generation == generation
        return GroupSnapshot(group.state if group and is_current else None, tasks, path, is_passed_over=is_passed_over)

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        return await self._storage.executions(query, offset=offset, limit=limit)

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        return await self._storage.count_executions(query)
