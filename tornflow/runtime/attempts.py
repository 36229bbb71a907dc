"""Makes attempts: what a task type is given for one try of one task, and for a completion callback."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import structlog

from tornflow.engine.commands import DispatchTask
from tornflow.engine.scope import Scope
from tornflow.engine.tokens import attempt_token
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import ScopeKey
from tornflow.model.generation import Generation
from tornflow.model.names import instance_name
from tornflow.model.status import Pattern
from tornflow.runtime.clock import Clock
from tornflow.runtime.references import as_object
from tornflow.spi.task_type import Attempt, TaskType

_log = structlog.get_logger("tornflow.dispatcher")

_NO_OBJECT: Mapping[str, Any] = {}
_TARGETS = 4096
_PLAIN = re.compile(r"[A-Za-z0-9:_.~-]+")  # nothing to encode but colons
# Their callbacks name the attempt, because it ends before they arrive. Those of other patterns stay as published.
_WITH_TOKEN = (Pattern.TASK_ASYNC, Pattern.TASK_SCHEDULER)

TargetOf = Callable[[str, str], str]


class AttemptMaker:
    def __init__(self, clock: Clock, server_url: str, trigger_uri: str) -> None:
        self._clock = clock
        self._server_url = server_url
        self._trigger_url = server_url + trigger_uri

    def for_task(self, scope: Scope, command: DispatchTask, definition: FunctionTask) -> Attempt:
        state = scope.state
        execution_id, generation, resource = state.key.execution_id, state.generation, definition.resource
        name = instance_name(state.key.path, command.task)
        token = attempt_token(generation, command.attempt) if definition.pattern in _WITH_TOKEN else ""
        return Attempt(
            execution_id=execution_id,
            task_name=name,
            number=command.attempt,
            resource=definition.resource_name,
            protocol=protocol_of(definition),
            input=command.input,
            idempotency_key=attempt_key(state.key, generation, command.task, command.attempt),
            pattern=definition.pattern.value,
            request_type=definition.request_type,
            callback_url=self._callback_url(execution_id, name, token),
            server_url=self._server_url,
            deadline_s=self.seconds_until(state.tasks[command.task].due_at),
            resource_object=_NO_OBJECT if resource is None else as_object(resource),
            life=state.life,
        )

    def for_callback(
        self,
        execution_id: str,
        resource: str,
        task_input: Mapping[str, Any],
        body: Mapping[str, Any],
        generation: Generation,
        number: int,
    ) -> Attempt:
        life, _ = _life_and_run(generation)
        return Attempt(
            execution_id=execution_id,
            task_name="",
            number=number,
            resource=resource,
            protocol=resource.partition("://")[0],
            input=task_input,
            idempotency_key=f"{execution_id}/callback/{life}.{number}",
            pattern="",
            callback_url=self._callback_url(execution_id, "", ""),
            server_url=self._server_url,
            extra_body=body,
            life=life,
        )

    def seconds_until(self, due_at: int | None) -> float | None:
        """``due_at`` is on the steady clock, as the timeouts of tasks are."""
        return None if due_at is None else max(0, due_at - self._clock.steady_ms()) / 1000

    def _callback_url(self, execution_id: str, name: str, token: str) -> str:
        """Parameters in alphabetical order, percent-encoded (rill-http-api 6.1)."""
        task = f"&task_name={_quoted(name)}" if name else ""
        named = f"&token={token}" if token else ""
        return f"{self._trigger_url}?execution_id={_quoted(execution_id)}{task}{named}&ts={self._clock.wall_ms()}"


def attempt_key(key: ScopeKey, generation: Generation, task: str, attempt: int) -> str:
    """Return the idempotency key of an attempt: the same whenever this very attempt is sent again, and no other's.

    ``<execution>/<task instance>/<life>.<attempt>``; executions of the version before lives keep their form of it.
    """
    life, run = _life_and_run(generation)
    named = f"{life}." if life else ""
    return f"{key.execution_id}/{instance_name(key.path, task)}/{named}{run}{attempt}"


def protocol_of(definition: FunctionTask) -> str:
    return definition.protocol if definition.resource is None else definition.resource.category


def target_finder(task_types: Mapping[str, TaskType]) -> TargetOf:
    """Return a function from protocol and resource to the target: what the task type says, else the protocol."""

    @lru_cache(maxsize=_TARGETS)
    def target_of(protocol: str, resource: str) -> str:
        ask: Callable[[str], str] | None = getattr(task_types.get(protocol), "target", None)
        if ask is None:
            return protocol
        try:
            return str(ask(resource))
        except Exception:
            _log.exception("a task type names no target", resource=resource)
            return protocol

    return target_of


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    """Every task of an execution says its id again, and every execution the same task names."""
    return name.replace(":", "%3A") if _PLAIN.fullmatch(name) else quote(name, safe="")


def _life_and_run(generation: Generation) -> tuple[str, str]:
    """Return the life, and what tells runs of one group apart where a redo has made a second one ("" else): attempts
    count from 1 in each."""
    if len(generation) < 2:
        return str(generation[0]) if generation else "", ""
    life, *runs = generation
    return str(life), "" if all(run == 1 for run in runs) else "".join(f"{run}." for run in runs)
