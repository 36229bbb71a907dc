"""Built-in task type ``python``: runs registered callables, never an arbitrary import (design, "Safe by default")."""

from __future__ import annotations

from collections.abc import Sequence

from tornflow.spi.hookspecs import hookimpl
from tornflow.spi.task_type import TaskType
from tornflow_task_python.task_type import PythonTaskType

__all__ = ["PythonTaskType", "tornflow_task_types"]


@hookimpl
def tornflow_task_types() -> Sequence[TaskType]:
    return [PythonTaskType()]
