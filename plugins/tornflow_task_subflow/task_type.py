"""The sub-flow task type: everything it does is ask the host for a child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.errors import ConfigError, TornflowError
from tornflow.spi.task_type import Answered, Attempt, Failed, Host, Outcome


class SubflowTaskType:
    """Runs ``rillflow://<descriptor id>``; whether the task waits for the child is decided by its pattern."""

    protocols: tuple[str, ...] = ("rillflow",)
    title = "Start another flow as a child"
    icon = "ant-design:partition-outlined"
    schema: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": True}

    def __init__(self) -> None:
        self._host: Host | None = None

    async def start(self, host: Host) -> None:
        for key in host.settings:
            if key not in ("outbound", "server_url", "strict"):
                raise ConfigError(f"plugins.rillflow.{key}: unknown setting; there are none", field=key)
        self._host = host

    async def execute(self, attempt: Attempt) -> Outcome:
        """Answer ``{"execution_id": <child id>}`` once the child is durably stored."""
        if self._host is None:
            return Failed("the sub-flow task type is not started", "not_started")
        descriptor_id = attempt.rest.strip()
        if not descriptor_id:
            said = f"resourceName {attempt.resource!r}: the descriptor id behind rillflow:// is missing"
            return Failed(said, "unsendable")
        try:
            child_id = await self._host.start_child(attempt, descriptor_id, attempt.input)
        except TornflowError as error:
            return Failed(f"sub-flow {descriptor_id} could not be started: {error.message}", error.code)
        return Answered({"execution_id": child_id})

    async def stop(self) -> None:
        self._host = None
