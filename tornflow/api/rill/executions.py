"""Submit, finish, trigger, wakeup: what starts and moves executions (rill-http-api 5.2, 5.3, 6.2, 7.1)."""

from __future__ import annotations

import re
from typing import Any

import structlog

from tornflow.api.reading import BadRequest, is_within, read_json
from tornflow.api.rill.errors import RillError
from tornflow.api.routes import Call, Json
from tornflow.errors import ExecutionNotFound, TaskNotFound
from tornflow.runtime.resources import CHECK_TYPES, ResourceCheck

_log = structlog.get_logger("tornflow.api")
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_OK = {"result": "ok"}


async def submit(call: Call) -> Json:
    """Start an execution. Answered after it is durably stored."""
    key = idempotency_key(call)
    check = resource_check(call)
    context: Json = call.body or {}
    refuse_beyond(call, context, call.edge.limits.submit_chars, "rill.submit_limit_chars")
    callback = call.args["callback"]
    execution_id = await call.edge.service.submit(
        call.args["descriptor_id"],
        context,
        callback=callback if callback and callback.strip() else None,
        idempotency_key=key,
        resource_check=check,
    )
    return {"execution_id": execution_id}


async def finish(call: Call) -> Json:
    """Complete an asynchronous task with the whole body as its output."""
    task_name = _task_name(call, 30606)
    refuse_beyond(call, call.body, call.edge.limits.callback_chars)
    payload = with_response_unwrapped(call.body)
    is_success = _reports_success(call.body)
    token = _token(call)
    await call.edge.service.finish(call.args["execution_id"], task_name, payload, success=is_success, token=token)
    return _OK


async def trigger(call: Call) -> Json:
    """The target of ``X-Callback-Url``: ``finish`` for functions, ``wakeup`` for a suspense."""
    execution_id, task_name = call.args["execution_id"], _task_name(call, 30606)
    payload: Json = {**(call.body or {}), **_context_param(call)}
    refuse_beyond(call, payload, call.edge.limits.callback_chars)
    status = call.args["status"]
    if status is not None:
        is_success = status.strip().lower() == "success"
    else:
        is_success = call.edge.trigger_ignores_body_result or _reports_success(call.body or {})
    try:
        await call.edge.service.trigger(execution_id, task_name, payload, success=is_success, token=_token(call))
    except (ExecutionNotFound, TaskNotFound) as error:
        raise RillError(30109, f"task not exists {execution_id}:{task_name}") from error
    return _OK


async def wakeup(call: Call) -> Json:
    """Let a suspense task look at its conditions again."""
    payload: Json = call.body or {}
    task_name = _task_name(call, 30109)
    refuse_beyond(call, payload, call.edge.limits.callback_chars)
    await call.edge.service.wakeup(call.args["execution_id"], task_name, payload, token=_token(call))
    return _OK


def with_response_unwrapped(body: Json) -> Json:
    """Return the output of a task that is finished with this body (rill-http-api 5.3).

    In the documented envelope the members of ``response`` are also visible at the top, unless something is there.
    """
    response = body.get("response")
    if isinstance(response, dict) and ("result_type" in body or "passthrough" in body):
        return {**response, **body}
    return body


def resource_check(call: Call) -> ResourceCheck | None:
    """Return the parameter, None when it is blank. Raises RillError for what cannot be read (rill-http-api 5.2)."""
    text = call.args["resource_check"]
    if not text or not text.strip():
        return None
    try:
        check = read_json(text.encode(), call.edge.limits)
        found = ResourceCheck(check.get("check_type"), tuple(check.get("key_resources") or ()))
        is_readable = found.type in CHECK_TYPES and all(isinstance(key, str) for key in found.keys)
    except (BadRequest, AttributeError, TypeError):
        is_readable = False
    if not is_readable:
        raise RillError(30109, "resource_check content nonsupport")
    return found


def idempotency_key(call: Call) -> str | None:
    """Return the header's value. Raises BadRequest unless it is 1 to 255 printable ASCII characters."""
    key: str | None = call.request.headers.get("Idempotency-Key")
    if key is not None and _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise BadRequest("Idempotency-Key", "Header 'Idempotency-Key' must be 1 to 255 printable ASCII characters")
    return key


def refuse_beyond(call: Call, value: Json, limit: int, setting: str = "rill.callback_limit_chars") -> None:
    """Raise RillError when a payload is longer than ``limit`` characters of compact JSON.

    The sender is an executor more often than not, which keeps no answers: the refusal is logged, or a task that waits
    for ever would have no trace of why. ``rill.strict`` keeps the reference's words.
    """
    raw_length = len(call.request.body) + len(call.args.get("context") or "")
    if is_within(value, raw_length, limit):
        return
    reason = f"more than {limit} characters ({setting})"
    _log.warning(
        "a payload is too large", path=call.request.path, reason=reason,
        execution_id=call.args.get("execution_id"), task=call.args.get("task_name"),
    )  # fmt: skip
    raise RillError(30109, "context size nonsupport" + ("" if call.edge.strict else f": {reason}"))


def _task_name(call: Call, code: int) -> str:
    name: str = call.args["task_name"]
    if not name:
        raise RillError(code, "task_name is empty")
    return name


def _token(call: Call) -> str | None:
    """Return the attempt that the caller means, None for the one that runs."""
    return call.args["token"] or None


def _reports_success(body: Json) -> bool:
    result: Any = body.get("result_type")
    return result is None or str(result).upper() == "SUCCESS"


def _context_param(call: Call) -> Json:
    text = call.args["context"]
    if not text:
        return {}
    try:
        value = read_json(text.encode(), call.edge.limits)
    except BadRequest:
        return {}  # rill-http-api 6.2: what cannot be read is ignored
    return value if isinstance(value, dict) else {}
