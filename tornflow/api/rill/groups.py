"""One group of a foreach or choice, and the task instances of any scope (rill-http-api 9.2, 9.4)."""

from __future__ import annotations

from tornflow.api.rill.views import group_view
from tornflow.api.routes import Call, Json
from tornflow.model.descriptor import Task
from tornflow.model.execution import ScopeState
from tornflow.model.names import split_instance

_NO_GROUP = "executionId or parent is empty or missing group_index!"


async def get_by_parent(call: Call) -> Json:
    """The tasks of one group. For an unknown parent ``tasks`` is the *text* ``{}``, for an unknown group an object."""
    execution_id, parent, index = (call.args[name] for name in ("execution_id", "parent", "group_index"))
    group = await call.edge.service.group(execution_id, parent, index)
    if group is None:
        is_known = await find_instance(call, execution_id, parent) is not None
        return {"ret": {"tasks": {} if is_known else "{}"}}
    tasks = group_view(group.tasks, group.state, group.path, is_passed_over=group.is_passed_over)
    return {"ret": {"tasks": tasks}}


async def get_sub_context(call: Call) -> Json:
    """The context of one group, ``{}`` when it did not start."""
    execution_id, parent, index = (call.args[name] for name in ("execution_id", "parent", "group_index"))
    if not execution_id or not parent or index is None:
        return {"code": -1, "msg": _NO_GROUP}
    group = await call.edge.service.group(execution_id, parent, index)
    return {"ret": group.state.context if group is not None and group.state is not None else {}}


async def find_instance(call: Call, execution_id: str, name: str) -> tuple[Task, ScopeState | None] | None:
    """Return a task by its instance name, with the scope it lives in (None while its group has not started)."""
    key, base = split_instance(execution_id, name)
    if not key.path:
        snapshot = await call.edge.service.snapshot(execution_id)
        return None if snapshot is None else _named(snapshot.descriptor.tasks, base, snapshot.state)
    parent, _, index = key.path.rpartition("_")
    if not (index.isascii() and index.isdigit() and len(index) < 10):
        return None
    group = await call.edge.service.group(execution_id, parent, int(index))
    return None if group is None else _named(group.tasks, base, group.state)


def _named(tasks: tuple[Task, ...], name: str, state: ScopeState | None) -> tuple[Task, ScopeState | None] | None:
    return next(((task, state) for task in tasks if task.name == name), None)
