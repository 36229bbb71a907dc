"""An execution as a workflow instance (dapr-http-api 5.2, 6; design, section 2)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tornflow.model.execution import ScopeState
from tornflow.model.jsontext import dumps
from tornflow.model.status import FlowStatus
from tornflow.runtime.service import Snapshot

Json = dict[str, Any]

RUNTIME_STATUS = {
    FlowStatus.NOT_STARTED: "PENDING",
    FlowStatus.RUNNING: "RUNNING",
    FlowStatus.KEY_SUCCEED: "RUNNING",
    FlowStatus.SUCCEED: "COMPLETED",
    FlowStatus.FAILED: "FAILED",
    FlowStatus.TERMINATED: "TERMINATED",
}


def instance_view(snapshot: Snapshot) -> Json:
    """Return the members of the GET answer in their order; empty ones are left out."""
    state = snapshot.state
    service_id = f"{state.workspace or snapshot.descriptor.workspace}:{state.dag_name or snapshot.descriptor.dag_name}"
    view: Json = {
        "instanceID": state.key.execution_id,
        "workflowName": state.workflow_name or service_id,
        "createdAt": rfc3339(state.created_at),
        "lastUpdatedAt": rfc3339(state.updated_at or state.created_at),
        "runtimeStatus": runtime_status(state),
    }
    found = properties(state)
    if found:
        view["properties"] = found
    return view


def runtime_status(state: ScopeState) -> str:
    if state.is_paused and not state.status.is_completed:
        return "SUSPENDED"
    return RUNTIME_STATUS[state.status]


def properties(state: ScopeState) -> dict[str, str]:
    """Return the ``dapr.workflow.*`` texts, sorted by key. Output and failure exclude each other."""
    found: dict[str, str] = {}
    if state.custom_status is not None:
        found["dapr.workflow.custom_status"] = state.custom_status
    if state.status is FlowStatus.FAILED:
        found["dapr.workflow.failure.error_message"] = state.msg or "the workflow failed without a message"
        found["dapr.workflow.failure.error_type"] = state.error_type or state.code or "TaskFailed"
    if state.raw_input is not None:
        found["dapr.workflow.input"] = state.raw_input
    if state.status is FlowStatus.SUCCEED:
        found["dapr.workflow.output"] = dumps(state.context).decode()
    return found


def rfc3339(moment: int) -> str:
    """Return ms since the epoch as text: UTC, no fraction for whole seconds, else three digits."""
    seconds, rest = divmod(moment, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"
