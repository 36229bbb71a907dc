"""Built-in task type ``http``: calls an executor over HTTP (rill-dsl 12.2, rill-http-api 6.1, decisions 10 and 11)."""

from __future__ import annotations

from collections.abc import Sequence

from tornflow.spi.hookspecs import hookimpl
from tornflow.spi.task_type import TaskType
from tornflow_task_http.task_type import HttpTaskType

__all__ = ["HttpTaskType", "tornflow_task_types"]


@hookimpl
def tornflow_task_types() -> Sequence[TaskType]:
    return [HttpTaskType()]
