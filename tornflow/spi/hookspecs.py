"""Hooks: the server asks, every plugin may answer. Hooks register and observe; work happens in what they return.

A plugin is a module (or object) named by an entry point of the group ``tornflow.plugins``, with functions marked by
``hookimpl``. Hooks are synchronous and must be quick; an observer that raises is logged and disturbs nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from tornflow.spi.task_type import TaskType

PROJECT = "tornflow"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

ContextInitialiser = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Gets the submitted context, returns entries to add (they do not overwrite what the caller sent)."""


@dataclass(frozen=True, slots=True)
class ExecutionNotice:
    """``status`` is a FlowStatus value: RUNNING on start and after a redo, KEY_SUCCEED, then the final one. ``code``
    and ``msg`` say why it failed, or was terminated."""

    execution_id: str
    service_id: str
    status: str
    at: int
    code: str | None = None
    msg: str | None = None


@dataclass(frozen=True, slots=True)
class TaskNotice:
    execution_id: str
    service_id: str
    task_name: str
    status: str
    attempt: int
    at: int
    code: str | None = None
    msg: str | None = None


@hookspec
def tornflow_task_types() -> Sequence[TaskType]:
    """Return new task type objects. Two plugins with one protocol are a start-up error that names both."""
    raise NotImplementedError


@hookspec
def tornflow_context_initialisers() -> Sequence[ContextInitialiser]:
    """Return functions that add entries to the context of every submission."""
    raise NotImplementedError


@hookspec
def tornflow_execution_changed(notice: ExecutionNotice) -> None:
    """An execution changed its status; called after the change is durable."""


@hookspec
def tornflow_task_changed(notice: TaskNotice) -> None:
    """A task instance changed its status (READY again for a retry, RUNNING, KEY_SUCCEED, then the final one); called
    after the change is durable."""
