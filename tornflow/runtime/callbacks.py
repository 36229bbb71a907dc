"""Completion callbacks (rill-http-api 6.3): what they say is taken when the flow has ended, sent by the dispatcher.

What failed inside groups is not known to the flow; it is read from the store before the callback is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from tornflow.engine.mapping import InputPass, MappingError, PassEnv, TransformCompiler, compile_input
from tornflow.engine.scope import Scope
from tornflow.model.descriptor import CallbackConfig, MappingRule
from tornflow.model.execution import TaskState
from tornflow.model.generation import Generation
from tornflow.model.jsontext import dumps, loads
from tornflow.model.status import FlowStatus
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.group_failures import Group, Load, failed_tasks, suspects
from tornflow.runtime.offload import run_long
from tornflow.spi.task_type import Failed

_log = structlog.get_logger("tornflow.callbacks")

CallbackBody = Callable[[Scope, CallbackConfig], Mapping[str, Any]]
"""Renders what the body of a callback always contains, in the family's dialect; given by the wiring."""

NameFailures = Callable[[Mapping[str, Any], Mapping[str, TaskState]], Mapping[str, Any]]
"""Returns such a body with the failed tasks of groups, by instance name, named in it as well."""


@dataclass(frozen=True, slots=True)
class PreparedCallback:
    """All that one callback needs of its flow, as it was at the end. ``map_input`` None: the rules are not compiled.
    ``groups`` may hold failed tasks."""

    execution_id: str
    generation: Generation
    number: int
    config: CallbackConfig
    map_input: InputPass | None
    context: dict[str, Any]
    env: PassEnv
    body: Mapping[str, Any]
    groups: tuple[Group, ...] = ()


class Callbacks:
    def __init__(
        self,
        dispatcher: Dispatcher,
        transforms: TransformCompiler,
        body: CallbackBody,
        name_failures: NameFailures,
        load: Load,
    ) -> None:
        """``load`` reads a scope as it is stored."""
        self._dispatcher = dispatcher
        self._transforms = transforms
        self._body = body
        self._name_failures = name_failures
        self._load = load

    def prepare(self, scope: Scope, number: int) -> PreparedCallback | None:
        """Take what will be sent; None: the configuration asks for nothing. Reads the scope, so it must not wait."""
        state = scope.state
        config = read_callback(state.callback) if state.callback else scope.program.descriptor.callback
        if config is None or not config.resource_name.strip():
            return None
        return PreparedCallback(
            state.key.execution_id,
            state.generation,
            number,
            config,
            None if state.callback else scope.program.map_callback,
            loads(dumps(state.context)) if config.input_mappings else {},
            scope.env,
            loads(dumps(self._body(scope, config))),
            () if state.status is FlowStatus.SUCCEED else suspects(state),
        )

    async def send(self, callback: PreparedCallback | None) -> None:
        """Send it once; a failure is only logged (rill-http-api 6.3)."""
        if callback is None:
            return
        try:
            mapped = await self._mapped(callback)
        except MappingError as error:
            _log.warning("callback not mapped", execution_id=callback.execution_id, reason=str(error))
            return
        body = callback.body
        if callback.groups:
            body = self._name_failures(body, await failed_tasks(self._load, callback.groups))
        attempt = self._dispatcher.callback_attempt(
            callback.execution_id,
            callback.config.resource_name,
            mapped,
            body,
            generation=callback.generation,
            number=callback.number,
        )
        outcome = await self._dispatcher.call_back(attempt)
        if isinstance(outcome, Failed):
            _log.warning("callback failed", execution_id=callback.execution_id, reason=outcome.message)

    async def _mapped(self, callback: PreparedCallback) -> Mapping[str, Any]:
        """Rules that came with a submission are compiled here, long ones beside the loop."""
        rules = callback.config.input_mappings
        if not rules:
            return {}
        map_input = callback.map_input
        if map_input is None:
            size = sum(len(rule.transform or "") + len(rule.source or "") for rule in rules)
            map_input = await run_long(size, lambda: compile_input(rules, self._transforms))
        return map_input(callback.context, callback.env)


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
