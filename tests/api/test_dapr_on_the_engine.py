"""The Dapr family on a whole server over a memory store (checklist of dapr-http-api, section 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tornflow.spi.storage import ExecutionQuery

HOLD = "  - {category: suspense, name: hold, event: never}\n"
WAIT = """
  - {category: suspense, name: first, event: Go, next: second, outputMappings: [{source: $.output.event, target: $.context.a}]}
  - {category: suspense, name: second, event: GO, next: third, outputMappings: [{source: $.output.event, target: $.context.b}]}
  - {category: suspense, name: third, event: go, next: fourth, outputMappings: [{source: $.output.event, target: $.context.c}]}
  - {category: suspense, name: fourth, event: gO, next: fifth, outputMappings: [{source: $.output.event, target: $.context.d}]}
  - {category: suspense, name: fifth, event: go, outputMappings: [{source: $.output.event, target: $.context.e}]}
"""  # noqa: E501
PARENT = """
  - {category: function, name: one, pattern: flow_sync, resourceName: "rillflow://shop:child"}
  - {category: function, name: two, pattern: flow_sync, resourceName: "rillflow://shop:child"}
  - {category: function, name: three, pattern: flow_sync, resourceName: "rillflow://shop:child"}
  - {category: function, name: four, pattern: flow_sync, resourceName: "rillflow://shop:child"}
  - {category: function, name: five, pattern: flow_sync, resourceName: "rillflow://shop:child"}
"""
BASE = "/v1.0/workflows/dapr"


async def begin(flows: Any, instance_id: str, body: Any = b"{}", name: str = "main") -> Any:
    return await flows.post(f"{BASE}/shop:{name}/start", {"instanceID": instance_id}, body=body)


async def seen(flows: Any, instance_id: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the view once it fits."""
    async with asyncio.timeout(30):
        while True:
            view: dict[str, Any] = (await flows.get(f"{BASE}/{instance_id}")).json
            if fits(view):
                return view
            await asyncio.sleep(0.01)


def has(status: str) -> Callable[[dict[str, Any]], bool]:
    return lambda view: view.get("runtimeStatus") == status


async def test_a_start_body_is_kept_beside_the_context_up_to_its_limit(flows: Any) -> None:
    await flows.add(HOLD)
    body = b'{"a": 1' + b" " * (4 * 1024 * 1024 - 8) + b"}"  # the context has 7 bytes of it
    assert (await begin(flows, "large", body)).status == 202
    view = (await flows.get(f"{BASE}/large")).json
    assert view["properties"]["dapr.workflow.input"].encode() == body
    reply = await begin(flows, "larger", body + b" ")
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_BODY_READ")


@pytest.mark.parametrize("body", [b'{"a":"%s"}' % (b"x" * 1_100_000), b"x" * 1_100_000])
async def test_an_input_that_no_context_can_hold_names_the_limit_and_creates_nothing(flows: Any, body: bytes) -> None:
    await flows.add(HOLD)
    reply = await begin(flows, "large", body)
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_START_WORKFLOW")
    assert "engine.context_limit_bytes" in reply.json["message"]
    assert (await flows.get(f"{BASE}/large")).status == 404


async def test_of_two_racing_starts_one_wins(flows: Any) -> None:
    await flows.add(HOLD)
    replies = await asyncio.gather(*(begin(flows, "one") for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [202, 500, 500, 500, 500]
    assert all("already exists" in reply.json["message"] for reply in replies if reply.status == 500)


async def test_a_finished_id_starts_afresh(flows: Any) -> None:
    await flows.add("  - {category: pass, name: tell}\n")
    await begin(flows, "daily", b'{"day":1}')
    first = await seen(flows, "daily", has("COMPLETED"))
    assert '"day":1' in first["properties"]["dapr.workflow.output"]
    await asyncio.sleep(0.002)  # creation is told in ms
    await flows.add(HOLD)
    assert (await begin(flows, "daily", b'{"day":2}')).status == 202
    again = await seen(flows, "daily", has("RUNNING"))
    assert again["properties"] == {"dapr.workflow.input": '{"day":2}'}
    assert again["createdAt"] > first["createdAt"]


async def test_early_events_of_one_name_are_taken_in_order_whatever_their_case(flows: Any) -> None:
    await flows.add(WAIT)
    await begin(flows, "early")
    for number, name in enumerate(("go", "GO", "Go", "gO", "go")):
        assert (await flows.post(f"{BASE}/early/raiseEvent/{name}", body=str(number))).status == 202
    await seen(flows, "early", has("COMPLETED"))
    context = (await flows.until("early"))["context"]
    assert [context[key] for key in "abcde"] == [0, 1, 2, 3, 4]


async def test_pauses_and_resumes_around_an_event_let_it_complete(flows: Any) -> None:
    await flows.add("  - {category: suspense, name: approval, event: go}\n")
    await begin(flows, "twice")
    for name in ("pause", "pause", "raiseEvent/go"):
        assert (await flows.post(f"{BASE}/twice/{name}")).status == 202
    assert (await flows.get(f"{BASE}/twice")).json["runtimeStatus"] == "SUSPENDED"
    for _ in range(2):
        assert (await flows.post(f"{BASE}/twice/resume")).status == 202
    await seen(flows, "twice", has("COMPLETED"))


async def test_terminate_moves_the_time_of_the_last_update_once(flows: Any) -> None:
    await flows.add(HOLD)
    await begin(flows, "one")
    before = await seen(flows, "one", has("RUNNING"))
    await asyncio.sleep(0.002)
    for _ in range(2):
        assert (await flows.post(f"{BASE}/one/terminate")).body == b"{}"
        await asyncio.sleep(0.002)
    after = (await flows.get(f"{BASE}/one")).json
    assert (after["runtimeStatus"], after["createdAt"]) == ("TERMINATED", before["createdAt"])
    assert after["lastUpdatedAt"] > before["lastUpdatedAt"]
    await flows.post(f"{BASE}/one/terminate")
    assert (await flows.get(f"{BASE}/one")).json == after
    assert "properties" not in after or "dapr.workflow.output" not in after["properties"]


async def test_a_terminate_reaches_every_child_and_a_purge_removes_the_tree(flows: Any) -> None:
    await flows.add("  - {category: suspense, name: wait, event: never}\n", "child")
    await flows.add(PARENT, "parent")
    await begin(flows, "tree", name="parent")
    await flows.until("tree", **dict.fromkeys(("one", "two", "three", "four", "five"), "RUNNING"))
    found = await flows.server.engine.service.executions(ExecutionQuery(parent_id="tree"))
    children = [one.execution_id for one in found]
    assert len(children) == 5
    assert (await flows.post(f"{BASE}/tree/purge")).json["errorCode"] == "ERR_PURGE_WORKFLOW"
    assert (await flows.post(f"{BASE}/tree/terminate")).status == 202
    for child in ("tree", *children):
        await seen(flows, child, has("TERMINATED"))
    assert (await flows.post(f"{BASE}/tree/purge")).status == 202
    for child in ("tree", *children):
        assert (await flows.get(f"{BASE}/{child}")).status == 404
    assert (await flows.post(f"{BASE}/tree/purge")).status == 404


async def test_an_unknown_workflow_is_accepted_and_fails_with_the_reason(flows: Any) -> None:
    assert (await begin(flows, "lost", b"[1, 2]", name="nobody")).status == 202
    view = (await flows.get(f"{BASE}/lost")).json
    assert (view["runtimeStatus"], view["workflowName"]) == ("FAILED", "shop:nobody")
    assert view["properties"]["dapr.workflow.failure.error_type"] == "WorkflowNotRegistered"
    assert view["properties"]["dapr.workflow.input"] == "[1, 2]"
    assert "dapr.workflow.output" not in view["properties"]


async def test_a_custom_status_is_shown_as_it_was_set_and_gone_in_the_next_life(flows: Any) -> None:
    rule = "outputMappings: [{source: packed, target: $.custom_status}]"
    await flows.add("  - {category: pass, name: tell, next: hold, " + rule + "}\n" + HOLD)
    await begin(flows, "told")
    view = await seen(flows, "told", lambda view: "dapr.workflow.custom_status" in view.get("properties", ()))
    assert view["properties"] == {"dapr.workflow.custom_status": "packed", "dapr.workflow.input": "{}"}
    await flows.post(f"{BASE}/told/terminate")
    assert (await flows.get(f"{BASE}/told")).json["properties"]["dapr.workflow.custom_status"] == "packed"
    await flows.add(HOLD)
    assert (await begin(flows, "told")).status == 202
    assert (await seen(flows, "told", has("RUNNING")))["properties"] == {"dapr.workflow.input": "{}"}
