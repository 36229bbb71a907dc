"""FlowView and TaskView: an execution as the Rill family shows it (rill-http-api 4.1 to 4.10).

Values that users gave may hold nulls; the renderer leaves those out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tornflow.model.descriptor import Descriptor, Task
from tornflow.model.execution import GroupsState, ScopeState, TaskState
from tornflow.model.jsontext import NullFree
from tornflow.model.status import Category, FlowStatus, TaskStatus

Json = dict[str, Any]
Evaluate = Callable[[str, Mapping[str, Any]], Any]

Degrades = Mapping[str, Sequence[bool]]
"""Base task -> (current, followings), as set at run time."""

_TIMES = ("start_time", "end_time", "expected_cost")
_WITH_GROUPS = (Category.FOREACH, Category.CHOICE)


def unknown_execution() -> Json:
    """Return what stands for an execution that is not there; ``tasks`` really is a text (rill-http-api 4.10)."""
    return {"tasks": "{}", "context": {}, "invoke_summary": {}}


def flow_view(
    state: ScopeState, descriptor: Descriptor, *, now: int, is_brief: bool = False, evaluate: Evaluate | None = None
) -> Json:
    """Return a FlowView with the context; ``is_brief`` leaves the tasks out. ``now`` in ms."""
    view: Json = {
        **_head(descriptor),
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
        view["tasks"] = {
            task.name: task_view(task, state.tasks.get(task.name), degrades=state.degrade) for task in descriptor.tasks
        }
    return view


def definition_view(descriptor: Descriptor) -> Json:
    """Return the FlowView of something that never ran (rill-http-api 9.5)."""
    return {
        **_head(descriptor),
        "dag_status": flow_status(FlowStatus.NOT_STARTED),
        "process": 0,
        "invoke_summary": {},
        "tasks": {task.name: task_view(task, None) for task in descriptor.tasks},
    }


def group_view(tasks: Sequence[Task], state: ScopeState | None, path: str, *, is_passed_over: bool = False) -> Json:
    """Return the TaskViews of one group by instance name; those of a group that was decided against are SKIPPED."""
    nothing = TaskState("", TaskStatus.SKIPPED) if is_passed_over else None
    prefix, degrades = f"{path}-", state.degrade if state else {}
    views = {
        prefix + task.name: task_view(
            task, state.tasks.get(task.name) if state else nothing, prefix, degrades=degrades
        )
        for task in tasks
    }
    if is_passed_over:
        for view in views.values():
            view.pop("invoke_msg", None)  # never touched
    return views


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
    return _present(
        dag_execution_routes=state.routes,
        code="terminated" if state.status is FlowStatus.TERMINATED else state.code,
        msg=state.msg,
        callback=state.callback,
        invoke_time_infos=invoke_time_infos(state.invocations),
        ext=state.ext,
    )


def task_view(task: Task, state: TaskState | None, prefix: str = "", *, degrades: Degrades | None = None) -> Json:
    """Return a TaskView. ``prefix`` is that of the group (``loop_0-``), so that names are instance names."""
    view: Json = {
        "name": prefix + task.name,
        "status": task_status(TaskStatus.NOT_STARTED if state is None else state.status),
        "contains_sub": task.category in _WITH_GROUPS,
        "next": [prefix + name for name in task.next],
        "task": with_degrades(task.document, degrades) if degrades else task.document,
    }
    if state is not None:
        message = invoke_msg(state)
        if message is not None:
            view["invoke_msg"] = message
        if state.groups is not None:
            view.update(group_members(state.groups))
        if task.category is Category.FOREACH and state.status is not TaskStatus.NOT_STARTED:
            view["sub_group_key_judgement_mapping"] = {}  # of a mode that nothing here fills; clients look for it
    return view


def group_members(groups: GroupsState) -> Json:
    """Return ``"0" -> "SUCCEED"`` (raw names, unlike those of tasks: rill-http-api 4.1) and ``"0" -> identity``.

    A foreach may have 100,000 groups: the words are kept, not made here.
    """
    members: Json = {"sub_group_index_to_status": groups.words()}
    if groups.identities is not None:
        found = enumerate(groups.identities)
        members["sub_group_index_to_identity"] = NullFree((str(i), name) for i, name in found if name is not None)
    return members


def with_degrades(task: Json, degrades: Degrades) -> Json:
    """Return a TaskDef with what was set at run time, at every depth (rill-http-api 7.4)."""
    shown = dict(task)
    flags = degrades.get(task["name"])
    if flags is not None:
        shown["degrade"] = {"current": flags[0], "followings": flags[1]}
    if task["category"] == Category.FOREACH:
        shown["tasks"] = [with_degrades(one, degrades) for one in task["tasks"]]
    elif task["category"] == Category.CHOICE:
        shown["choices"] = [
            {**branch, "tasks": [with_degrades(one, degrades) for one in branch["tasks"]]}
            for branch in task["choices"]
        ]
    return shown


def invoke_msg(state: TaskState) -> Json | None:
    """Return a TaskInvokeMsg, or None for a task that was never touched."""
    message = _present(
        invoke_id=state.invoke_id,
        code=state.code,
        msg=state.msg,
        input=state.input,
        output=state.output,
        referenced_dag_execution_id=state.child_id,
        invoke_time_infos=invoke_time_infos(state.invocations) or None,
        progress_args=state.progress_args,
        ext=state.ext,
    )
    return message if message or state.status is not TaskStatus.NOT_STARTED else None


def invoke_time_infos(invocations: Sequence[Sequence[int | None]]) -> list[Json]:
    return [_present(**dict(zip(_TIMES, one, strict=False))) for one in invocations]


def _head(descriptor: Descriptor) -> Json:
    return _present(
        workspace=descriptor.workspace,
        dag_name=descriptor.dag_name,
        version=descriptor.version,
        type=descriptor.type,
        input_schema=descriptor.input_schema,
    )


def _present(**members: Any) -> Json:
    """Return the members that are not None: an answer without any null need not be searched for them."""
    return {name: value for name, value in members.items() if value is not None}


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
    if not task.progress.calculation:
        groups = state.groups
        return groups.ended / groups.total if groups is not None and groups.total else 0
    if evaluate is None or state.status is TaskStatus.NOT_STARTED:
        return 0
    started = state.invocations[-1][0] if state.invocations else None
    variables = {"params": state.progress_args or {}, "taskRunningTimeInMillis": now - (started or now)}
    return float(evaluate(task.progress.calculation, variables))
