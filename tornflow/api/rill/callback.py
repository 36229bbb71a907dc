"""What the body of a completion callback always contains (rill-http-api 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.api.rill.views import dag_invoke_msg, flow_view, invoke_msg
from tornflow.engine.scope import Scope
from tornflow.model.descriptor import CallbackConfig
from tornflow.model.execution import TaskState
from tornflow.model.jsontext import without_null_members
from tornflow.model.status import FlowStatus, TaskStatus


def callback_body(scope: Scope, config: CallbackConfig) -> Mapping[str, Any]:
    """Return ``execution_id``, ``dag_status`` and what ``config`` asks for; nulls are dropped."""
    state = scope.state
    has_failed = state.status is not FlowStatus.SUCCEED
    body: dict[str, Any] = {
        "execution_id": state.key.execution_id,
        "dag_status": "failed" if has_failed else "succeed",
    }
    if has_failed:
        failed = {name: _failure(task) for name, task in state.tasks.items() if task.status is TaskStatus.FAILED}
        body["error_info"] = {
            "dag_invoke_info": without_null_members(dag_invoke_msg(state)),
            "failed_tasks_invoke_info": failed,
        }
    if config.full_dag_info:
        # The snake_case view of get.json (decisions, "Rill HTTP"); the time only matters to unfinished flows.
        body["dag_info"] = without_null_members(flow_view(state, scope.program.descriptor, now=state.updated_at))
    if config.full_context:
        body["data"] = state.context
    return body


def name_failures(body: Mapping[str, Any], failed: Mapping[str, TaskState]) -> Mapping[str, Any]:
    """Return the body of a failed flow with the failed tasks of its groups, by instance name, beside its own."""
    info = body["error_info"]
    told = info["failed_tasks_invoke_info"] | {name: _failure(task) for name, task in failed.items()}
    return {**body, "error_info": {**info, "failed_tasks_invoke_info": told}}


def _failure(task: TaskState) -> Any:
    return without_null_members(invoke_msg(task) or {})
