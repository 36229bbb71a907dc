"""How messages of an outbox lie in the store: ``[owner, kind, ...fields]``, one row per message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tornflow.model.generation import Generation
from tornflow.model.messages import (
    AwaitEvent,
    ConfirmParent,
    ControlGroups,
    GroupReport,
    HandOver,
    Message,
    Posted,
    SendCallback,
    StopChild,
    StopGroups,
    TellParent,
)
from tornflow.model.status import FlowStatus

_KINDS: dict[type[Any], str] = {
    TellParent: "parent",
    ConfirmParent: "confirm",
    StopChild: "stop-child",
    SendCallback: "callback",
    GroupReport: "report",
    StopGroups: "stop",
    ControlGroups: "control",
    AwaitEvent: "await",
    HandOver: "event",
}
_MAKERS: dict[str, Callable[..., Message]] = {
    "parent": lambda status, *rest: TellParent(FlowStatus(status), *rest),
    "confirm": ConfirmParent,
    "stop-child": StopChild,
    "callback": SendCallback,
    "report": lambda status, *rest: GroupReport(FlowStatus(status), *rest),
    "stop": lambda task, run, indices: StopGroups(task, tuple(run), None if indices is None else tuple(indices)),
    "control": ControlGroups,
    "await": lambda task, names, since: AwaitEvent(task, tuple(names), since),
    "event": lambda path, run, *rest: HandOver(path, tuple(run), *rest),
}


def encode_outbox(outbox: Mapping[str, Posted]) -> dict[str, list[Any]]:
    return {message_id: _row(posted) for message_id, posted in outbox.items()}


def _row(posted: Posted) -> list[Any]:
    message = posted.message
    kind = type(message)
    return [posted.owner, _KINDS[kind], *(getattr(message, name) for name in kind.__dataclass_fields__)]


def decode_outbox(rows: Mapping[str, list[Any]]) -> dict[str, Posted]:
    return {message_id: Posted(owner, _MAKERS[kind](*rest)) for message_id, (owner, kind, *rest) in rows.items()}


def decode_outbox_1(messages: Mapping[str, Mapping[str, Any]], owner: str, life: str) -> dict[str, Posted]:
    """Read the outbox of form 1, in which the text before a colon told the kind of a message."""
    found: dict[str, Posted] = {}
    for message_id, body in messages.items():
        message = _message_1(message_id.partition("@")[0], body, life)
        if message is not None:
            found[message_id] = Posted(owner, message)
    return found


def _message_1(name: str, body: Mapping[str, Any], life: str) -> Message | None:
    kind = name.partition(":")[0]
    match kind:
        case "parent":
            # Form 1 read status and reason from the scope when it was delivered; so does whoever sees this one.
            return TellParent(FlowStatus.KEY_SUCCEED if name == "parent:key" else FlowStatus.NOT_STARTED)
        case "callback":
            return SendCallback(1)
        case "terminate":
            return StopChild("", 0, body["child"])
        case "report":
            return GroupReport(FlowStatus(body["status"]), body["code"], body["msg"], body["ext"])
        case "stop":
            indices = body.get("indices")
            return StopGroups(
                name.split(":")[1], _run_1(body["generation"], life), None if indices is None else tuple(indices)
            )
        case "steer":
            return ControlGroups(0)
        case "await":
            return AwaitEvent(body["task"], tuple(body["names"]), body["since"])
        case "event":
            entry = body["entry"]
            # Form 1 did not say which run of the group waits: none at all fits any.
            return HandOver(body["path"], (), body["task"], body["number"], entry["n"], entry["name"], entry["payload"])
        case _:
            return None


def _run_1(numbers: list[int], life: str) -> Generation:
    return (life, *numbers)
