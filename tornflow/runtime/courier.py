"""Delivers messages: to the parent task of a sub-flow, to groups that must stop, between suspense tasks in groups and
the root that keeps the external events, and completion callbacks.

Messages lie in the outbox of the scope until they are delivered, so they are sent again after a crash; receivers
ignore what they know already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog

from tornflow.engine.ending import CALLBACK_MESSAGE, PARENT_MESSAGE, REPORT, TERMINATE
from tornflow.engine.events import (
    ChildEnded,
    Degraded,
    Delivered,
    Event,
    EventHandedOver,
    EventReturned,
    GroupEnded,
    Paused,
    Resumed,
    Terminated,
    WaiterArrived,
)
from tornflow.engine.groups import STEER, STOP
from tornflow.engine.mapping import MappingError, TransformCompiler, compile_input
from tornflow.engine.scope import Scope
from tornflow.engine.suspense import AWAIT
from tornflow.errors import RequestError, StorageUnavailable, TornflowError
from tornflow.model.descriptor import CallbackConfig, MappingRule
from tornflow.model.execution import ScopeKey
from tornflow.model.names import split_route
from tornflow.model.status import FlowStatus
from tornflow.runtime.births import Births
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.runner import Runner
from tornflow.spi.storage import Storage
from tornflow.spi.task_type import Failed

T = TypeVar("T")

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
        births: Births,
        dispatcher: Dispatcher,
        transforms: TransformCompiler,
        callback_body: CallbackBody,
        clock: Callable[[], int],
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._births = births
        self._dispatcher = dispatcher
        self._transforms = transforms
        self._callback_body = callback_body
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(_AT_A_TIME)
        self._steering = asyncio.Lock()

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
            try:
                if not await self._deliver(scope, message_id, message):
                    outcome = EventReturned(self._clock(), message_id)
            except Exception:
                # A bug, which would strike again: a message that nobody can carry must not stay for ever.
                _log.exception("a message was given up", execution_id=key.execution_id, message=message_id)
        self._runner.post(key, outcome)

    async def _deliver(self, scope: Scope, message_id: str, message: Mapping[str, Any]) -> bool:
        """Return False for an event that was not taken."""
        key = scope.state.key
        if message_id.startswith(PARENT_MESSAGE):
            await self._tell_parent(scope)
        elif message_id == CALLBACK_MESSAGE:
            await self._call_back(scope)
        elif message_id.startswith(REPORT):
            await self._report(scope, message)
        elif message_id.startswith(STOP):
            await self._stop_groups(key.execution_id, message)
        elif message_id.startswith(STEER):
            await self._steer(key)
        elif message_id.startswith(TERMINATE):
            await self._insist(ScopeKey(message["child"]), Terminated(self._clock()))
        elif message_id.startswith(AWAIT):
            await self._enrol(key, message)
        else:
            return await self._hand_over(key.execution_id, message)
        return True

    async def _report(self, scope: Scope, message: Mapping[str, Any]) -> None:
        """Tell a foreach or choice how one of its groups ended."""
        parent, task, index = split_route(scope.state.key.path)
        event = GroupEnded(
            self._clock(), task, scope.state.generation, index,
            FlowStatus(message["status"]), message["code"], message["msg"], message["ext"],
        )  # fmt: skip
        await self._insist(ScopeKey(scope.state.key.execution_id, parent), event)

    async def _stop_groups(self, execution_id: str, message: Mapping[str, Any]) -> None:
        await self._births.over(execution_id)
        event = Terminated(self._clock(), tuple(message["generation"]))
        if "indices" not in message:
            await self._tell_groups(execution_id, message["prefix"], event)
        for index in message.get("indices", ()):
            await self._insist(ScopeKey(execution_id, f"{message['prefix']}{index}"), event)

    async def _steer(self, key: ScopeKey) -> None:
        """Tell the groups what holds now. One at a time: of two quick changes the last one must win everywhere."""
        async with self._steering:
            await self._births.over(key.execution_id)
            scope = await self._patiently(lambda: self._runner.view(key))
            if scope is not None:
                at = self._clock()
                prefix = f"{key.path}-" if key.path else ""
                for task, (current, followings) in list(scope.state.degrade.items()):
                    await self._tell_groups(key.execution_id, prefix, Degraded(at, task, current, followings))
                event = Paused(at) if scope.state.is_paused else Resumed(at)
                await self._tell_groups(key.execution_id, prefix, event)

    async def _tell_groups(self, execution_id: str, prefix: str, event: Event) -> None:
        """Apply an event to every group whose path starts with ``prefix``, page by page."""
        keys: Sequence[ScopeKey] = ()
        while True:
            after = keys[-1].path if keys else ""
            keys = await self._patiently(partial(self._storage.children, execution_id, prefix, after, _PAGE))
            await asyncio.gather(*(self._insist(key, event) for key in keys))
            if len(keys) < _PAGE:
                return

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
        try:
            await self._patiently(lambda: self._runner.apply(key, event))
        except TornflowError as error:
            if not isinstance(error, RequestError):  # a bug over there, or damage; it was logged
                _log.warning("a message was refused", execution_id=key.execution_id, scope=key.path, reason=str(error))
            return False
        return True

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except StorageUnavailable:
                await asyncio.sleep(_PAUSE_S)

    async def _tell_parent(self, scope: Scope) -> None:
        state = scope.state
        parent = state.parent
        if parent is None or not (state.status.is_completed or state.status is FlowStatus.KEY_SUCCEED):
            return  # redone meanwhile: it will be told at the next end
        event = ChildEnded(
            self._clock(), parent.task, parent.attempt, state.key.execution_id,
            state.status, state.context, state.code, state.msg, state.ext, parent.generation,
        )  # fmt: skip
        # Refused when the parent is gone or no longer waits: then there is nobody to tell.
        await self._insist(ScopeKey(parent.execution_id, parent.path), event)

    async def _call_back(self, scope: Scope) -> None:
        """Send the completion callback; an error is only logged (rill-http-api 6.3)."""
        state = scope.state
        config, map_input = scope.program.descriptor.callback, scope.program.map_callback
        if state.callback:  # given with the submission: only this execution has it
            config = read_callback(state.callback)
            map_input = compile_input(config.input_mappings, self._transforms)
        if config is None or not config.resource_name.strip() or not state.status.is_completed:
            return
        try:
            mapped = map_input(state.context, scope.env) if map_input is not None else {}
        except MappingError as error:
            _log.warning("callback not mapped", execution_id=state.key.execution_id, reason=str(error))
            return
        body = self._callback_body(scope, config)
        attempt = self._dispatcher.callback_attempt(
            state.key.execution_id, config.resource_name, mapped, body, state.generation, len(state.invocations)
        )
        outcome = await self._dispatcher.call_back(attempt)
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
            for rule in document.get("inputMappings") or ()
        ),
    )
