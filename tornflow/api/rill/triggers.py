"""Triggers: executions that start without a request (rill-http-api 13)."""

from __future__ import annotations

from tornflow.api.rill.errors import RillError
from tornflow.api.rill.executions import refuse_beyond, resource_check
from tornflow.api.routes import Call, Json
from tornflow.errors import RequestError
from tornflow.runtime.starting import parse_callback
from tornflow.runtime.triggers import Listed, Triggers


async def add_trigger(call: Call) -> Json:
    """Store a trigger. A body that its type refuses is answered softly, as in the reference."""
    args, triggers = call.args, _triggers(call)
    kind = args["type"]
    if kind not in triggers.types:
        raise RillError(30106, _unknown(kind))
    check = resource_check(call)
    callback = args["callback"] if args["callback"] and args["callback"].strip() else None
    if callback is not None:
        parse_callback(callback)
    refuse_beyond(call, call.body, call.edge.limits.submit_chars)
    try:
        task_id = await triggers.add(kind, args["descriptor_id"], call.body, callback=callback, check=check)
    except RequestError as error:
        return {"code": -1, "err_msg": error.message}
    return {"code": 0, "data": {"task_id": task_id}}


async def cancel_trigger(call: Call) -> Json:
    kind, task_id = call.args["type"], call.args["task_id"]
    if kind not in _triggers(call).types:
        raise RillError(30106, _unknown(kind))
    if not await _triggers(call).cancel(kind, task_id):
        return {"code": -1}
    return {"code": 0, "data": {"task_id": task_id, "result": True}}


async def get_trigger_tasks(call: Call) -> Json:
    """The triggers of a type: what was posted, and beside it what became of it."""
    kind = call.args["type"]
    if kind not in _triggers(call).types:
        return {"code": -1, "message": _unknown(kind)}
    return {"code": 0, "data": {one.trigger.id: _shown(one) for one in await _triggers(call).listed(kind)}}


def _shown(listed: Listed) -> Json:
    trigger, state = listed.trigger, listed.state
    ours = {
        "descriptor_id": trigger.descriptor_id,
        "created_at": trigger.created_at,
        "last_run": state.get("fired_at"),
        "last_execution_id": state.get("execution_id"),
        "last_error": state.get("error"),
        **listed.shown,
    }
    return {**ours, **listed.body}


def _triggers(call: Call) -> Triggers:
    triggers = call.edge.triggers
    if triggers is None:
        raise RillError(30101, "this server runs no triggers")
    return triggers


def _unknown(kind: str) -> str:
    return f"do not support type: {kind}"
