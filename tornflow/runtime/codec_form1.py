"""Form 1 of stored scopes (before lives), as the present form: read only.

An execution of form 1 has the life "". The one owner of its scope becomes the owner of everything that was in hand, and
groups that ran count as a batch to be created: what exists of it stays, and catches up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.model.jsontext import dumps, loads

_IN_FLIGHT, _GROUPS, _STATUS = 3, 18, 1


def head_of_form_1(head: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return the head in the present form, but for its outbox (``codec_messages.decode_outbox_1``)."""
    new = {name: value for name, value in head.items() if name not in ("outbox", "events", "waiters")}
    new["generation"] = ["", *head.get("generation", ())]
    new["w"] = ""
    if head.get("parent"):
        *link, generation = head["parent"]
        new["parent"] = [*link, ["", *generation]]
    if any(message_id.startswith("steer:") for message_id in head.get("outbox", ())):
        new["control"] = 1
    if "tasks" in head:
        new["tasks"] = [task_of_form_1(row, owner) for row in head["tasks"]]
    new["events"] = [[one["n"], one["name"], one["payload"]] for one in head.get("events", ())]
    # Form 1 did not say which run of a group waits: none at all fits any.
    new["waiters"] = [[one["path"], one["task"], one["names"], one["since"], []] for one in head.get("waiters", ())]
    return new


def parts_of_form_1(parts: Mapping[str, bytes], owner: str) -> dict[str, bytes]:
    return {
        name: dumps(task_of_form_1(loads(body), owner)) if name.startswith("t:") else body
        for name, body in parts.items()
    }


def task_of_form_1(row: list[Any], owner: str) -> list[Any]:
    row = list(row)
    row[_IN_FLIGHT] = owner if row[_IN_FLIGHT] else None
    groups = row[_GROUPS]
    if groups is not None:
        total, started, running, limit, *rest = groups
        hands: list[Any] = [[], None, None]
        if row[_STATUS] == "RUNNING":
            is_over = running == 0 and started == total
            hands = [[], owner, None] if is_over else [[[owner, 0, total]], None, owner]
        row[_GROUPS] = [total, started, running, limit, *hands, *rest]
    return row
