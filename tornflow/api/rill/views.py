"""FlowView and TaskView: an execution as the Rill family shows it (rill-http-api 4.1 to 4.10).

Members that are None are left out by the renderer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tornflow.model.descriptor import Descriptor, Task
from tornflow.model.execution import ScopeState, TaskState
from tornflow.model.status import Category, FlowStatus, TaskStatus

Json = dict[str, Any]
Evaluate = Callable[[str, Mapping[str, Any]], Any]

_WITH_GROUPS = (Category.FOREACH, Category.CHOICE)


def unknown_execution() -> Json:
    """Return what stands for an execution that is not there; ``tasks`` really is a text (rill-http-api 4.10)."""
    return {"tasks": "{}", "context": {}, "invoke_summary": {}}


def flow_view(
    state: ScopeState, descriptor: Descriptor, *, now: int, is_brief: bool = False, evaluate: Evaluate | None = None
) -> Json:
    """Return a FlowView with the context; ``is_brief`` leaves the tasks out. ``now`` in ms."""
    view: Json = {
        "workspace": descriptor.workspace,
        "dag_name": descriptor.dag_name,
        "version": descriptor.version,
        "type": descriptor.type,
        "input_schema": descriptor.input_schema,
        "dag_invoke_msg": dag_invoke_msg(state),
        "dag_status": flow_status(state.status),
        "execution_id": state.key.execution_id,
        "process": progress(state, descriptor.tasks, now=now, evaluate=evaluate),
        "context": state.context,
        "invoke_summary": {},
    }
    if state.is_paused:
        view["paused"] = True
    if not is_brief:
        view["tasks"] = {task.name: task_view(task, state.tasks.get(task.name)) for task in descriptor.tasks}
    return view


def flow_status(status: FlowStatus) -> str:
    """Return the upper-case word; a terminated execution is a failed one to this family (design, section 2)."""
    return "FAILED" if status is FlowStatus.TERMINATED else status.value


def listed_status(status: str) -> str:
    """Return the lower-case word of the lists, from a ``FlowStatus`` value in any case."""
    word = status.lower()
    return "failed" if word == "terminated" else word


def task_status(status: TaskStatus) -> str:
    return "SUCCEEDED" if status is TaskStatus.SUCCEED else status.value


def dag_invoke_msg(state: ScopeState) -> Json:
    return {
        "dag_execution_routes": state.routes,
        "code": "terminated" if state.status is FlowStatus.TERMINATED else state.code,
        "msg": state.msg,
        "callback": state.callback,
        "invoke_time_infos": invoke_time_infos(state.invocations),
        "ext": state.ext,
    }


def task_view(task: Task, state: TaskState | None, prefix: str = "") -> Json:
    """Return a TaskView. ``prefix`` is that of the group (``loop_0-``), so that names are instance names."""
    view: Json = {
        "name": prefix + task.name,
        "status": task_status(TaskStatus.NOT_STARTED if state is None else state.status),
        "contains_sub": task.category in _WITH_GROUPS,
        "next": [prefix + name for name in task.next],
        "task": task.document,
    }
    if state is not None:
        view["invoke_msg"] = invoke_msg(state)
    return view


def invoke_msg(state: TaskState) -> Json | None:
    """Return a TaskInvokeMsg, or None for a task that was never touched."""
    message = {
        "invoke_id": state.invoke_id,
        "code": state.code,
        "msg": state.msg,
        "input": state.input,
        "output": state.output,
        "referenced_dag_execution_id": state.child_id,
        "invoke_time_infos": invoke_time_infos(state.invocations) or None,
        "progress_args": state.progress_args,
        "ext": state.ext,
    }
    is_touched = any(value is not None for value in message.values())
    return message if is_touched or state.status is not TaskStatus.NOT_STARTED else None


def invoke_time_infos(invocations: Sequence[Sequence[int | None]]) -> list[Json]:
    return [
        dict(zip(("start_time", "end_time", "expected_cost"), one, strict=False))
        for one in invocations
    ]


def progress(state: ScopeState, tasks: Sequence[Task], *, now: int, evaluate: Evaluate | None = None) -> int:
    """Return percent, 0 to 100, truncated (rill-http-api 4.10)."""
    if state.status.is_completed:
        return 100
    try:
        total = sum(task.progress.weight for task in tasks)
        done = sum(task.progress.weight * _share(task, state.tasks.get(task.name), now, evaluate) for task in tasks)
        return max(0, min(100, int(done * 100 / total)))
    except Exception:
        # a calculation is written by users; one that breaks must not hide the execution
        done = sum(name.status.is_completed for name in state.tasks.values())
        return int(done * 100 / len(tasks)) if tasks else 0


def _share(task: Task, state: TaskState | None, now: int, evaluate: Evaluate | None) -> float:
    if state is None:
        return 0
    if state.status.is_completed:
        return 1
    if not task.progress.calculation or evaluate is None or state.status is TaskStatus.NOT_STARTED:
        return 0
    started = state.invocations[-1][0] if state.invocations else None
    variables = {"params": state.progress_args or {}, "taskRunningTimeInMillis": now - (started or now)}
    return float(evaluate(task.progress.calculation, variables))
