"""Built-in task type ``rillflow``: starts another flow as a child (rill-dsl 12.5)."""

from __future__ import annotations

from collections.abc import Sequence

from tornflow.spi.hookspecs import hookimpl
from tornflow.spi.task_type import TaskType
from tornflow_task_subflow.task_type import SubflowTaskType

__all__ = ["SubflowTaskType", "tornflow_task_types"]


@hookimpl
def tornflow_task_types() -> Sequence[TaskType]:
    return [SubflowTaskType()]
