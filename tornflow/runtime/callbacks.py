"""Completion callbacks (rill-http-api 6.3): made when a flow has ended, sent by the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from tornflow.engine.mapping import InputPass, MappingError, TransformCompiler, compile_input
from tornflow.engine.scope import Scope
from tornflow.model.descriptor import CallbackConfig, MappingRule
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.spi.task_type import Attempt, Failed

_log = structlog.get_logger("tornflow.callbacks")

CallbackBody = Callable[[Scope, CallbackConfig], Mapping[str, Any]]
"""Renders what the body of a callback always contains, in the family's dialect; given by the wiring."""


class Callbacks:
    def __init__(self, dispatcher: Dispatcher, transforms: TransformCompiler, body: CallbackBody) -> None:
        self._dispatcher = dispatcher
        self._transforms = transforms
        self._body = body

    def prepare(self, scope: Scope, number: int) -> Attempt | None:
        """Return what will be sent; None: nothing, because the configuration asks for nothing or cannot be mapped."""
        config, map_input = self._config(scope)
        if config is None or not config.resource_name.strip():
            return None
        state = scope.state
        try:
            mapped = map_input(state.context, scope.env) if map_input is not None else {}
        except MappingError as error:
            _log.warning("callback not mapped", execution_id=state.key.execution_id, reason=str(error))
            return None
        body = self._body(scope, config)
        return self._dispatcher.callback_attempt(
            state.key.execution_id, config.resource_name, mapped, body, generation=state.generation, number=number
        )

    async def send(self, attempt: Attempt | None) -> None:
        """Send it once; a failure is only logged (rill-http-api 6.3)."""
        if attempt is None:
            return
        outcome = await self._dispatcher.call_back(attempt)
        if isinstance(outcome, Failed):
            _log.warning("callback failed", execution_id=attempt.execution_id, reason=outcome.message)

    def _config(self, scope: Scope) -> tuple[CallbackConfig | None, InputPass | None]:
        given = scope.state.callback
        if given:  # with the submission: only this execution has it
            config = read_callback(given)
            return config, compile_input(config.input_mappings, self._transforms)
        return scope.program.descriptor.callback, scope.program.map_callback


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
