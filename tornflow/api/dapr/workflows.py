"""The seven operations (dapr-http-api 1.1, 2, 5)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tornflow.api.dapr.errors import DaprError, operation_failed
from tornflow.api.dapr.views import instance_view
from tornflow.api.reading import BadRequest, read_json, refuse_unstorable
from tornflow.api.routes import Call, Json
from tornflow.errors import ExecutionNotFound

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID_BYTES = 64

# What the URL says anyway; in a body they must at least have the right type (dapr-http-api 2.2).
_KNOWN_FIELDS = ("instanceID", "instance_id", "workflowComponent", "workflow_component", "appID", "app_id")

# operation -> what it asks of the service
COMMANDS: Mapping[str, Callable[[Call], Awaitable[None]]] = {
    "pause": lambda call: call.edge.service.pause(call.path["id"]),
    "resume": lambda call: call.edge.service.resume(call.path["id"]),
    "terminate": lambda call: call.edge.service.terminate(call.path["id"]),
    "raiseEvent": lambda call: call.edge.service.raise_event(call.path["id"], call.path["event"], call.body),
    "purge": lambda call: call.edge.service.purge(call.path["id"]),
}


async def start(call: Call) -> Json:
    """Start an instance; the body is kept verbatim as its input. Answered after it is durably stored."""
    name = call.path["name"]
    _check_component(call)
    instance_id: str | None = call.args["instanceID"] or None
    if instance_id is not None:
        check_instance_id(instance_id)
    _check_app_id(call, "start")
    component = call.path["component"]
    found = call.edge.components.find(component)
    started = await call.edge.service.start_workflow(
        name,
        instance_id=instance_id,
        raw_input=_body_text(call, "start"),
        component=component,
        business=found.binding.business if found is not None else "",
    )
    return {"instanceID": started}


async def get(call: Call) -> Json:
    _check_message(call)
    _check_component(call)
    _check_app_id(call, "get")
    snapshot = await call.edge.service.snapshot(call.path["id"])
    if snapshot is None:
        raise ExecutionNotFound("no such instance exists")
    return instance_view(snapshot)


async def raise_event(call: Call) -> Json:
    """Queue an event. Its payload is the body: JSON if it parses, else text, nothing for no body (decisions)."""
    call.body = _payload(_body_text(call, "raiseEvent"), call)
    return await _command(call, "raiseEvent")


def command(operation: str) -> Callable[[Call], Any]:
    """Return the handler of a command whose body is an (ignored) message."""

    async def run(call: Call) -> Json:
        _check_message(call)
        return await _command(call, operation)

    return run


def check_instance_id(instance_id: str) -> None:
    """Raise DaprError unless a start may use this id (dapr-http-api 2.3)."""
    if _PLAIN_ID.fullmatch(instance_id):
        return
    if len(instance_id.encode()) > _ID_BYTES:
        text = f"workflow instance ID exceeds the max length of {_ID_BYTES} characters"
        raise DaprError(400, "ERR_INSTANCE_ID_TOO_LONG", text)
    if not _is_name(instance_id):
        rule = "only alphanumeric and underscore characters are allowed"
        raise DaprError(400, "ERR_INSTANCE_ID_INVALID", f"workflow instance ID '{instance_id}' is invalid: {rule}")


def _is_name(text: str) -> bool:
    """Whether it has Unicode letters, decimal digits, "-" and "_" only."""
    return all(char.isalpha() or char.isdecimal() or char in "-_" for char in text)


async def _command(call: Call, operation: str) -> Json:
    _check_component(call)
    _check_app_id(call, operation)
    await COMMANDS[operation](call)
    return {}


def _payload(text: str, call: Call) -> Any:
    if not text:
        return None
    try:
        return read_json(text.encode(), call.edge.limits)
    except BadRequest:
        return text


def _body_text(call: Call, operation: str) -> str:
    try:
        refuse_unstorable(call.request.body, call.edge.limits)
        return call.request.body.decode()
    except BadRequest as error:
        raise operation_failed(operation, error.reason, dict(call.path)) from error
    except UnicodeDecodeError as error:
        raise operation_failed(operation, f"the body is not UTF-8 text: {error.reason}", dict(call.path)) from error


def _check_message(call: Call) -> None:
    """Refuse a body that is not the JSON object of the operation's message; no body is fine."""
    if not call.request.body:
        return
    message = read_json(call.request.body, call.edge.limits)
    if not isinstance(message, dict):
        raise BadRequest("body", "the body must be a JSON object")
    for field in _KNOWN_FIELDS:
        if not isinstance(message.get(field, ""), str | None):
            raise BadRequest(field, f"the field '{field}' must be a string")


def _check_component(call: Call) -> None:
    """Unknown names are decoration, unless a component file is strict (decisions, "Dapr")."""
    name, components = call.path["component"], call.edge.components
    if components.is_strict and name != "dapr" and components.find(name) is None:
        text = f"workflow component '{name}' does not exist"
        raise DaprError(400, "ERR_WORKFLOW_COMPONENT_NOT_FOUND", text)


def _check_app_id(call: Call, operation: str) -> None:
    app_id: str = call.args["appID"] or ""
    if not app_id or app_id == call.edge.app_id:
        return
    if not _is_name(app_id):
        text = f"workflow app ID '{app_id}' is invalid: only alphanumeric, dash and underscore characters are allowed"
        raise DaprError(400, "ERR_WORKFLOW_APP_ID_INVALID", text)
    cause = f"the app '{app_id}' cannot be reached from '{call.edge.app_id}'"
    raise operation_failed(operation, cause, dict(call.path))
