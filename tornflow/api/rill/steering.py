"""Redo, degrade, complete: what is done to an execution by hand (rill-http-api 7.2, 7.4, 7.5)."""

from __future__ import annotations

from tornflow.api.rill.errors import RillError
from tornflow.api.rill.executions import refuse_beyond
from tornflow.api.routes import Call, Json
from tornflow.errors import ExecutionNotFound, ServerNotReady, StorageUnavailable, TaskNotFound, TornflowError

_OK = {"result": "ok"}


async def redo(call: Call) -> Json:
    """Run tasks again; the members of the body overwrite those of the context. Nothing to redo is no error."""
    execution_id, data = call.args["execution_id"], call.body or {}
    refuse_beyond(call, data, call.edge.limits.callback_chars)
    names = [name.strip() for name in call.args["task_names"] or ()]
    try:
        await call.edge.service.redo(execution_id, [name for name in names if name], data)
    except ExecutionNotFound as error:
        raise RillError(30602, "can not find dag info before redo.") from error
    return _OK


async def task_degrade(call: Call) -> Json:
    """Set both degrade flags of a base task for this execution."""
    args = call.args
    try:
        await call.edge.service.degrade(
            args["execution_id"],
            args["task_name"],
            current=args["degrade_current_task"],
            followings=args["degrade_following_tasks"],
        )
    except TaskNotFound as error:
        raise RillError(30106, str(error)) from error
    return _OK


async def complete(call: Call) -> Json:
    """Force SUCCEED or FAILED. 200 also when refused; ``code`` is a text here and nowhere else.

    A store that failed is no refusal: it is answered like everywhere, saying whether the outcome is unknown.
    """
    execution_id = call.args["execution_id"]
    try:
        await call.edge.service.complete(execution_id, success=call.args["success"])
    except ExecutionNotFound:
        return {"code": "-1", "message": f"executionId not found {execution_id}"}
    except (StorageUnavailable, ServerNotReady):
        raise
    except TornflowError as error:
        return {"code": "-1", "message": str(error)}
    return {"code": "0", "message": "success"}
