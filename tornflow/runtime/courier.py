"""Delivers messages: to the parent task of a sub-flow, to groups that must stop, between suspense tasks in groups and
the root that keeps the external events, and completion callbacks.

Messages lie in the outbox of the scope until they are delivered, so they are sent again after a crash; receivers
ignore what they know already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from tornflow.engine.ending import CALLBACK_MESSAGE, PARENT_MESSAGE, TERMINATE
from tornflow.engine.events import (
    ChildEnded,
    Delivered,
    Event,
    EventHandedOver,
    EventReturned,
    Paused,
    Resumed,
    Terminated,
    WaiterArrived,
)
from tornflow.engine.groups import STOP
from tornflow.engine.mapping import MappingError, TransformCompiler, compile_input
from tornflow.engine.scope import Scope
from tornflow.engine.suspense import AWAIT
from tornflow.engine.transition import STEER
from tornflow.errors import RequestError, StorageError
from tornflow.model.descriptor import CallbackConfig, MappingRule
from tornflow.model.execution import ScopeKey
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.runner import Runner
from tornflow.spi.storage import Storage
from tornflow.spi.task_type import Failed

_log = structlog.get_logger("tornflow.courier")
_PAUSE_S = 1.0
_AT_A_TIME = 64
_PAGE = 200

CallbackBody = Callable[[Scope, CallbackConfig], Mapping[str, Any]]
"""Renders what the body of a callback always contains, in the family's dialect; given by the wiring."""


class Courier:
    def __init__(
        self,
        storage: Storage,
        runner: Runner,
        dispatcher: Dispatcher,
        transforms: TransformCompiler,
        callback_body: CallbackBody,
        clock: Callable[[], int],
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._dispatcher = dispatcher
        self._transforms = transforms
        self._callback_body = callback_body
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(_AT_A_TIME)

    def deliver(self, scope: Scope, message_id: str) -> None:
        """Carry one message of the outbox; afterwards ``Delivered`` (or ``EventReturned``) removes it."""
        task = asyncio.get_running_loop().create_task(self._carry(scope, message_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop; what is not delivered stays in its outbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, scope: Scope, message_id: str) -> None:
        key, message = scope.state.key, scope.state.outbox.get(message_id)
        if message is None:
            return
        outcome: Event = Delivered(self._clock(), message_id)
        async with self._places:
            if message_id.startswith(PARENT_MESSAGE):
                await self._tell_parent(scope)
            elif message_id == CALLBACK_MESSAGE:
                await self._call_back(scope)
            elif message_id.startswith(STOP):
                event = Terminated(self._clock(), tuple(message["generation"]))
                await self._tell_groups(key.execution_id, message["prefix"], lambda: event)
            elif message_id.startswith(STEER):
                await self._tell_groups(key.execution_id, "", lambda: self._pause_or_resume(scope))
            elif message_id.startswith(TERMINATE):
                await self._insist(ScopeKey(message["child"]), Terminated(self._clock()))
            elif message_id.startswith(AWAIT):
                await self._enrol(key, message)
            elif not await self._hand_over(key.execution_id, message):
                outcome = EventReturned(self._clock(), message_id)
        self._runner.post(key, outcome)

    async def _tell_groups(self, execution_id: str, prefix: str, event: Callable[[], Event]) -> None:
        """Apply an event to every group whose path starts with ``prefix``, page by page."""
        after = ""
        while True:
            try:
                keys = await self._storage.children(execution_id, prefix, after, _PAGE)
            except StorageError:
                await asyncio.sleep(_PAUSE_S)
                continue
            for key in keys:
                await self._insist(key, event())
            if len(keys) < _PAGE:
                return
            after = keys[-1].path

    def _pause_or_resume(self, scope: Scope) -> Event:
        """Say what holds now: of two quick changes the last one must win in every group."""
        return Paused(self._clock()) if scope.state.is_paused else Resumed(self._clock())

    async def _enrol(self, key: ScopeKey, message: Mapping[str, Any]) -> None:
        event = WaiterArrived(self._clock(), key.path, message["task"], tuple(message["names"]), message["since"])
        await self._insist(ScopeKey(key.execution_id), event)

    async def _hand_over(self, execution_id: str, message: Mapping[str, Any]) -> bool:
        """Return whether the suspense task took the event."""
        entry = message["entry"]
        event = EventHandedOver(self._clock(), message["task"], message["number"], entry["payload"])
        return await self._insist(ScopeKey(execution_id, message["path"]), event)

    async def _insist(self, key: ScopeKey, event: Event) -> bool:
        """Apply an event, however long the store is away; return whether it was accepted."""
        while True:
            try:
                await self._runner.apply(key, event)
                return True
            except RequestError:
                return False
            except StorageError:
                await asyncio.sleep(_PAUSE_S)

    async def _tell_parent(self, scope: Scope) -> None:
        state = scope.state
        parent = state.parent
        assert parent is not None
        event = ChildEnded(
            self._clock(), parent.task, parent.attempt, state.key.execution_id,
            state.status, state.context, state.code, state.msg, state.ext,
        )  # fmt: skip
        # Refused when the parent is gone or no longer waits: then there is nobody to tell.
        await self._insist(ScopeKey(parent.execution_id, parent.path), event)

    async def _call_back(self, scope: Scope) -> None:
        """Send the completion callback; an error is only logged (rill-http-api 6.3)."""
        state = scope.state
        config = read_callback(state.callback) if state.callback else scope.program.descriptor.callback
        if config is None or not config.resource_name.strip():
            return
        try:
            mapped = compile_input(config.input_mappings, self._transforms)(state.context, scope.env)
        except MappingError as error:
            _log.warning("callback not mapped", execution_id=state.key.execution_id, reason=str(error))
            return
        body = self._callback_body(scope, config)
        attempt = self._dispatcher.callback_attempt(state.key.execution_id, config.resource_name, mapped, body)
        outcome = await self._dispatcher.execute(attempt)
        if isinstance(outcome, Failed):
            _log.warning("callback failed", execution_id=state.key.execution_id, reason=outcome.message)


def read_callback(document: Mapping[str, Any]) -> CallbackConfig:
    """Return the model of a CallbackConfig document that was checked at submission."""
    return CallbackConfig(
        resource_name=document["resourceName"],
        full_dag_info=bool(document.get("fullDAGInfo", False)),
        full_context=bool(document.get("fullContext", False)),
        input_mappings=tuple(
            MappingRule(
                source=rule.get("source"),
                target=rule.get("target"),
                transform=rule.get("transform"),
                tolerance=rule.get("tolerance"),
            )
            for rule in document.get("inputMappings", ())
        ),
    )
