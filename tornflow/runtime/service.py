"""What the edges may ask of the server. Each method is one use of the engine; REST families translate to these.

Until the engine room is wired this file states the signatures; every method answers only after its effect is durable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tornflow.model.descriptor import Descriptor
from tornflow.model.execution import ScopeState
from tornflow.spi.storage import ExecutionQuery, Summary


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One execution as last committed. Read only: the state may be the live object."""

    state: ScopeState
    descriptor: Descriptor


class FlowService:
    async def submit(
        self,
        descriptor_id: str,
        context: Mapping[str, Any],
        *,
        callback: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Start an execution through the Rill family and return its id.

        ``callback`` is the text of the request parameter: JSON of a CallbackConfig or an http(s) URL.

        Raises:
            DescriptorIdMalformed, DescriptorNotFound, MalformedCallback, LimitExceeded, StorageUnavailable.
        """
        raise NotImplementedError

    async def finish(
        self, execution_id: str, task_name: str, payload: Mapping[str, Any], *, success: bool
    ) -> None:
        """Complete an asynchronous task (``task_name`` is the instance name).

        Raises:
            ExecutionNotFound, ExecutionFinished, TaskNotFound, TaskNotRunning, TaskFinished, LimitExceeded.
        """
        raise NotImplementedError

    async def trigger(
        self, execution_id: str, task_name: str, payload: Mapping[str, Any], *, success: bool
    ) -> None:
        """Like ``finish`` for functions, like ``wakeup`` for a suspense."""
        raise NotImplementedError

    async def wakeup(self, execution_id: str, task_name: str, payload: Mapping[str, Any]) -> None:
        raise NotImplementedError

    async def snapshot(self, execution_id: str) -> Snapshot | None:
        """Return the root scope, or None for an unknown execution."""
        raise NotImplementedError

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        raise NotImplementedError

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        raise NotImplementedError

    async def start_workflow(
        self, workflow_name: str, *, instance_id: str | None, raw_input: str, component: str
    ) -> str:
        """Start an execution through the Dapr family; the instance id is already checked.

        Raises:
            ExecutionExists: an instance with that id is alive.
        """
        raise NotImplementedError

    async def pause(self, execution_id: str) -> None:
        raise NotImplementedError

    async def resume(self, execution_id: str) -> None:
        raise NotImplementedError

    async def terminate(self, execution_id: str) -> None:
        raise NotImplementedError
