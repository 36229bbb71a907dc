"""What others learn of executions and tasks, once a change is stored: figures, log lines, observers of plug-ins."""

from __future__ import annotations

import logging
from typing import Any

import structlog

from tornflow.engine.commands import AnnounceFlow, AnnounceTask
from tornflow.engine.scope import Scope
from tornflow.model.execution import ScopeState
from tornflow.model.names import instance_name
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.histogram import LONG_S, Histogram
from tornflow.spi.hookspecs import ExecutionNotice, TaskNotice

_log = structlog.get_logger("tornflow.executions")
OTHERS = "(others)"


class FlowFigures:
    """Executions of one flow that have ended, by status, and the seconds they took together."""

    __slots__ = ("ended", "seconds")

    def __init__(self) -> None:
        self.ended: dict[str, int] = {}
        self.seconds = 0.0


class Announcements:
    """Counts by status since the start of the process; ``flows`` holds at most ``max_flows`` of them by name, those
    that ended first, and one for all others."""

    def __init__(self, plugins: Plugins, max_flows: int = 100) -> None:
        self._plugins = plugins
        self._max_flows = max_flows
        self.flow_statuses: dict[str, int] = {}
        self.task_statuses: dict[str, int] = {}
        self.flows: dict[tuple[str, str], FlowFigures] = {}
        self.execution_times = Histogram(LONG_S)
        self.task_times = Histogram(LONG_S)
        self._log = _log.bind()  # one that is bound is half as dear as one that binds itself for each line
        self._logs_each = True
        self.look_at_level()

    def look_at_level(self) -> None:
        """Find out whether the start and end of each execution are logged: asked once, not for each of them."""
        self._logs_each = bool(self._log.is_enabled_for(logging.INFO))

    def task(self, scope: Scope, command: AnnounceTask) -> None:
        status = command.status
        if status.is_completed:
            self.task_statuses[status] = self.task_statuses.get(status, 0) + 1
            state = scope.state.tasks.get(command.task)
            if state is not None and state.invocations:
                self.task_times.observe(_seconds(state.invocations[0][0], state.invocations[-1][1]))
        if self._plugins.task_observers:
            self._plugins.task_changed(_task_notice(scope.state, command))

    def flow(self, scope: Scope, command: AnnounceFlow) -> None:
        state, status = scope.state, command.status
        self.flow_statuses[status] = self.flow_statuses.get(status, 0) + 1
        if status.is_completed:
            self._ended(state, status)
        if status is FlowStatus.FAILED:
            _log_failure(scope, command)
        elif self._logs_each:
            self._log_change(state, status)
        if self._plugins.execution_observers:
            service_id = f"{state.workspace}:{state.dag_name}"
            self._plugins.execution_changed(
                ExecutionNotice(
                    state.key.execution_id, service_id, status.value, state.updated_at, command.code, command.msg
                )
            )

    def _ended(self, state: ScopeState, status: FlowStatus) -> None:
        start, end = state.invocations[-1] if state.invocations else (None, None)
        seconds = _seconds(start, end)
        self.execution_times.observe(seconds)
        name = (state.workspace, state.dag_name)
        figures = self.flows.get(name)
        if figures is None:
            if len(self.flows) >= self._max_flows:
                name = (OTHERS, "")
            figures = self.flows.setdefault(name, FlowFigures())
        figures.ended[status] = figures.ended.get(status, 0) + 1
        figures.seconds += seconds

    def _log_change(self, state: ScopeState, status: FlowStatus) -> None:
        known: dict[str, Any] = {"execution_id": state.key.execution_id, "flow": _flow(state)}
        if status is FlowStatus.RUNNING:
            self._log.info("execution started" if len(state.invocations) < 2 else "execution started again", **known)
        elif status is FlowStatus.KEY_SUCCEED:
            self._log.info("execution reached its key path", **known)
        else:
            self._log.info("execution ended", **known, status=status.value)


def _seconds(start: int | None, end: int | None) -> float:
    """Return what lies between two moments in ms; 0 where one is missing, or the wall clock was set back."""
    return 0.0 if start is None or end is None or end < start else (end - start) / 1000


def _log_failure(scope: Scope, command: AnnounceFlow) -> None:
    """One line for an execution that failed, whatever the level of the rest."""
    state = scope.state
    task = next((one for one in scope.graph.tasks if _has_failed(state, one)), None)
    _log.warning(
        "execution failed",
        execution_id=state.key.execution_id,
        flow=_flow(state),
        task=task,
        code=command.code,
        message=command.msg,
    )


def _flow(state: ScopeState) -> str:
    return f"{state.workspace}:{state.dag_name}" if state.workspace else state.workflow_name or ""


def _has_failed(state: ScopeState, name: str) -> bool:
    task = state.tasks.get(name)
    return task is not None and task.status is TaskStatus.FAILED


def _task_notice(state: ScopeState, command: AnnounceTask) -> TaskNotice:
    return TaskNotice(
        state.key.execution_id,
        f"{state.workspace}:{state.dag_name}",
        instance_name(state.key.path, command.task),
        command.status.value,
        command.attempt,
        state.updated_at,
        command.code,
        command.msg,
    )
