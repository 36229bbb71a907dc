"""What can be done to an execution from outside while it lives, and after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from tornflow.engine.events import (
    Degraded,
    EventRaised,
    Paused,
    Redone,
    Resumed,
    StatusForced,
    TaskCompleted,
    Terminated,
    Woken,
)
from tornflow.engine.scope import Scope
from tornflow.errors import ExecutionFinished, ExecutionNotFinished, ExecutionNotFound, RequestError, TaskNotFound
from tornflow.model.execution import ScopeKey
from tornflow.model.messages import SendCallback
from tornflow.model.names import base_name, split_instance
from tornflow.model.status import Category
from tornflow.runtime.clock import Clock
from tornflow.runtime.runner import Runner
from tornflow.spi.storage import ExecutionQuery, Storage, Target

_log = structlog.get_logger("tornflow.executions")
_PAGE = 200
_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)


class Control:
    def __init__(self, storage: Storage, runner: Runner, clock: Clock) -> None:
        self._storage = storage
        self._runner = runner
        self._clock = clock

    # --- tasks

    async def finish(
        self,
        execution_id: str,
        task_name: str,
        payload: Mapping[str, Any],
        *,
        success: bool,
        token: str | None = None,
    ) -> None:
        """Complete an asynchronous task (``task_name`` is the instance name, ``token`` that of its callback URL).

        Raises:
            ExecutionNotFound, ExecutionFinished, TaskNotFound, TaskNotRunning, TaskFinished, WrongCategory.
            AttemptOver: the token is that of an attempt, or a life, which is over.
        """
        try:
            key, task = await self._scope_of(execution_id, task_name)
            await self._runner.apply(key, TaskCompleted(self._clock.wall_ms(), task, payload, success, token))
        except RequestError as refusal:
            _log_refusal(execution_id, task_name, refusal)
            raise

    async def trigger(
        self,
        execution_id: str,
        task_name: str,
        payload: Mapping[str, Any],
        *,
        success: bool,
        token: str | None = None,
    ) -> None:
        """Like ``finish`` for functions, like ``wakeup`` for a suspense; raises what they raise."""
        try:
            key, task = await self._scope_of(execution_id, task_name)
            scope = await self._runner.view(key)
            compiled = None if scope is None else scope.graph.tasks.get(task)
            if compiled is not None and compiled.definition.category is Category.SUSPENSE:
                await self._runner.apply(key, Woken(self._clock.wall_ms(), task, payload, token))
            else:
                await self._runner.apply(key, TaskCompleted(self._clock.wall_ms(), task, payload, success, token))
        except RequestError as refusal:
            _log_refusal(execution_id, task_name, refusal)
            raise

    async def wakeup(
        self, execution_id: str, task_name: str, payload: Mapping[str, Any], *, token: str | None = None
    ) -> None:
        """Let a suspense task look again, with new data if ``payload`` is not empty.

        Raises:
            ExecutionNotFound, ExecutionFinished, TaskNotFound, TaskFinished, WrongCategory, AttemptOver.
        """
        try:
            key, task = await self._scope_of(execution_id, task_name)
            await self._runner.apply(key, Woken(self._clock.wall_ms(), task, payload, token))
        except RequestError as refusal:
            _log_refusal(execution_id, task_name, refusal)
            raise

    async def degrade(self, execution_id: str, task_name: str, *, current: bool, followings: bool) -> None:
        """Degrade a task of this execution, wherever its instances are, unless they have started.

        On a finished execution it counts for the next redo.

        Raises:
            ExecutionNotFound
            TaskNotFound: the descriptor has no such task.
        """
        task = base_name(task_name)
        scope = await self._require(execution_id)
        if all(task not in graph.tasks for graph in (scope.program.root, *scope.program.bodies.values())):
            raise TaskNotFound(f"can not find base task:{task_name}, executionId:{execution_id}", task=task_name)
        await self._runner.apply(ScopeKey(execution_id), Degraded(self._clock.wall_ms(), task, current, followings))

    # --- executions

    async def raise_event(self, execution_id: str, name: str, payload: Any) -> None:
        """Give an external event to the suspense task that has waited longest for it, or keep it for one to come.

        Events to a finished execution are dropped.

        Raises:
            ExecutionNotFound
            LimitExceeded: too many events wait to be taken already.
        """
        await self._runner.apply(ScopeKey(execution_id), EventRaised(self._clock.wall_ms(), name, payload))

    async def redo(self, execution_id: str, task_names: Sequence[str], data: Mapping[str, Any]) -> None:
        """Run top-level tasks again with everything behind them (rill-dsl 11.5); no names: all that is not done.

        Raises:
            ExecutionNotFound
        """
        await self._runner.apply(ScopeKey(execution_id), Redone(self._clock.wall_ms(), tuple(task_names), data))

    async def complete(self, execution_id: str, *, success: bool) -> None:
        """Force the status of an execution; tasks are not touched, no callback is sent (rill-http-api 7.5).

        Raises:
            ExecutionNotFound
            IllegalTransition: its status is not lower than the one asked for.
        """
        await self._runner.apply(ScopeKey(execution_id), StatusForced(self._clock.wall_ms(), success))

    async def pause(self, execution_id: str) -> None:
        """Start nothing new; completions are recorded and take effect on resume. Idempotent."""
        await self._runner.apply(ScopeKey(execution_id), Paused(self._clock.wall_ms()))

    async def resume(self, execution_id: str) -> None:
        await self._runner.apply(ScopeKey(execution_id), Resumed(self._clock.wall_ms()))

    async def terminate(self, execution_id: str) -> None:
        """Stop an execution and the sub-flows it waits for. A finished one stays as it is."""
        await self._runner.apply(ScopeKey(execution_id), Terminated(self._clock.wall_ms()))

    async def purge(self, execution_id: str) -> None:
        """Remove a finished execution and, first, every sub-flow that it started.

        Raises:
            ExecutionNotFound
            ExecutionNotFinished: it, or one of its sub-flows, still runs; those purged before stay purged.
        """
        pauses_s = iter(_PAUSES_S)
        while True:
            scope = await self._require(execution_id)
            state = scope.state
            if not state.status.is_completed:
                raise ExecutionNotFinished("orchestration has not yet completed", execution_id=execution_id)
            if any(not isinstance(posted.message, SendCallback) for posted in state.outbox.values()):
                await self._wait_or_refuse(execution_id, next(pauses_s, None))
                continue
            target = Target(execution_id, state.life, state.revision)
            await self._purge_children(execution_id)
            (was_removed,) = await self._storage.delete_executions([target])
            self._runner.forget({execution_id: target.life})  # also when it has changed: then what we hold is old
            if was_removed:
                return

    async def _wait_or_refuse(self, execution_id: str, pause_s: float | None) -> None:
        """What a finished execution still has to tell its parent or its groups must not be lost with it."""
        if pause_s is None:
            raise ExecutionNotFinished("orchestration has not yet completed", execution_id=execution_id)
        await asyncio.sleep(pause_s)

    async def _purge_children(self, execution_id: str) -> None:
        while found := await self._storage.executions(ExecutionQuery(parent_id=execution_id), limit=_PAGE):
            for child in found:
                try:
                    await self.purge(child.execution_id)
                except ExecutionNotFound:
                    pass  # somebody else was quicker

    # --- inside

    async def _require(self, execution_id: str) -> Scope:
        scope = await self._runner.view(ScopeKey(execution_id))
        if scope is None:
            raise ExecutionNotFound(
                f"validateDAGInfo dag executionId:{execution_id} not found", execution_id=execution_id
            )
        return scope

    async def _scope_of(self, execution_id: str, instance: str) -> tuple[ScopeKey, str]:
        """Return where a task instance lives.

        Raises:
            ExecutionNotFound, ExecutionFinished, TaskNotFound: it is in a group, and these are known from outside it.
        """
        key, task = split_instance(execution_id, instance)
        if key.path:
            root = await self._require(execution_id)
            if root.state.status.is_completed:
                raise ExecutionFinished(f"{execution_id} is finished", execution_id=execution_id)
            if await self._runner.view(key) is None:
                raise TaskNotFound(f"storage can not get taskInfo:{instance}", task=instance)
        return key, task


def _log_refusal(execution_id: str, task_name: str, refusal: RequestError) -> None:
    """An executor reported in vain: who looks why a flow does not go on finds it here."""
    _log.warning(
        "completion refused", execution_id=execution_id, task=task_name, code=refusal.code, reason=refusal.message
    )
