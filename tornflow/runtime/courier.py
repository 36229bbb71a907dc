"""Delivers what a finished flow still has to tell: the parent task of a sub-flow, and completion callbacks.

Messages lie in the outbox of the scope until they are delivered, so they are sent again after a crash; receivers
ignore what they know already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from tornflow.engine.ending import PARENT_MESSAGE
from tornflow.engine.events import ChildEnded, Delivered
from tornflow.engine.mapping import MappingError, TransformCompiler, compile_input
from tornflow.engine.scope import Scope
from tornflow.errors import RequestError, StorageError
from tornflow.model.descriptor import CallbackConfig, MappingRule
from tornflow.model.execution import ScopeKey
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.runner import Runner
from tornflow.spi.task_type import Failed

_log = structlog.get_logger("tornflow.courier")
_PAUSE_S = 1.0
_AT_A_TIME = 64

CallbackBody = Callable[[Scope, CallbackConfig], Mapping[str, Any]]
"""Renders what the body of a callback always contains, in the family's dialect; given by the wiring."""


class Courier:
    def __init__(
        self,
        runner: Runner,
        dispatcher: Dispatcher,
        transforms: TransformCompiler,
        callback_body: CallbackBody,
        clock: Callable[[], int],
    ) -> None:
        self._runner = runner
        self._dispatcher = dispatcher
        self._transforms = transforms
        self._callback_body = callback_body
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(_AT_A_TIME)

    def deliver(self, scope: Scope, message_id: str) -> None:
        """Carry one message of the outbox; afterwards ``Delivered`` removes it."""
        send = self._tell_parent(scope) if message_id == PARENT_MESSAGE else self._call_back(scope)
        task = asyncio.get_running_loop().create_task(self._carry(scope.state.key, message_id, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop; what is not delivered stays in its outbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, key: ScopeKey, message_id: str, send: Any) -> None:
        async with self._places:
            await send
        self._runner.post(key, Delivered(self._clock(), message_id))

    async def _tell_parent(self, scope: Scope) -> None:
        state = scope.state
        parent = state.parent
        assert parent is not None
        event = ChildEnded(
            self._clock(), parent.task, parent.attempt, state.key.execution_id,
            state.status, state.context, state.code, state.msg, state.ext,
        )  # fmt: skip
        while True:
            try:
                await self._runner.apply(ScopeKey(parent.execution_id, parent.path), event)
                return
            except RequestError:
                return  # the parent is gone or no longer waits
            except StorageError:
                await asyncio.sleep(_PAUSE_S)

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
