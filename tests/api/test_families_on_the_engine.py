"""Both families on a real engine over a memory store: one execution, two names (design, section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tornflow.config import load_settings
from tornflow.server import Server

FLOW = """
workspace: media
dagName: thumb
type: flow
tasks:
  - category: function
    name: probe
    next: shrink
    pattern: task_sync
    resourceName: "{server}/flow/sample/start_node.json"
    inputMappings: [{source: $.context.left, target: $.input.left}, {source: $.context.right, target: $.input.right}]
    outputMappings: [{source: $.output.result_number, target: $.context.sum}]
  - category: function
    name: shrink
    pattern: task_async
    resourceName: "{server}/flow/service_check.json"
    requestType: get
    outputMappings: [{source: $.output.thumb, target: $.context.thumb}]
"""
ADD = "/flow/bg/manage/descriptor/add_descriptor.json"
NAMES = {"business_id": "media", "feature_name": "thumb", "alias": "release"}


@pytest.fixture
async def served(connect: Callable[[str], Any]) -> AsyncIterator[Any]:
    flags = {"server.port": 0, "server.dapr_port": 0, "storage.url": "memory://"}
    server = Server(load_settings(None, {}, flags, []))
    await server.start()
    client = connect(f"http://127.0.0.1:{server.ports[0]}")
    reply = await client.post(ADD, NAMES, body=FLOW.replace("{server}", client.base))
    assert reply.status == 200
    yield client
    await server.close()


async def until(client: Any, execution_id: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the view once it fits; the test's own timeout is the patience."""
    while True:
        view: dict[str, Any] = (await client.get("/2/flow/get.json", {"execution_id": execution_id})).json["ret"]
        if fits(view):
            return view
        await asyncio.sleep(0.01)


def waits(view: dict[str, Any]) -> bool:
    return bool(view["tasks"]["shrink"]["status"] == "RUNNING")


def is_over(view: dict[str, Any]) -> bool:
    return view["dag_status"] in ("SUCCEED", "FAILED")


async def test_a_submission_is_finished_and_seen_by_both_families(served: Any) -> None:
    reply = await served.post("/flow/submit.json", {"descriptor_id": "media:thumb"}, body={"left": 2, "right": 2**65})
    execution_id = reply.json["execution_id"]
    view = await until(served, execution_id, waits)
    assert (view["process"], view["context"]["sum"]) == (50, 2 + 2**65)
    query = {"execution_id": execution_id, "task_name": "shrink"}
    assert (await served.post("/flow/finish.json", query, body={"thumb": "t"})).json == {"result": "ok"}
    view = await until(served, execution_id, is_over)
    assert (view["dag_status"], view["process"], view["context"]["thumb"]) == ("SUCCEED", 100, "t")
    repeated = await served.post("/flow/finish.json", query, body={"thumb": "again"})
    assert (repeated.status, repeated.json["error_code"]) == (500, 30601)
    instance = (await served.get(f"/v1.0/workflows/dapr/{execution_id}")).json
    assert (instance["runtimeStatus"], instance["workflowName"]) == ("COMPLETED", "media:thumb")
    assert '"thumb":"t"' in instance["properties"]["dapr.workflow.output"]


async def test_an_instance_is_started_seen_and_terminated_through_the_other_family(served: Any) -> None:
    path = "/v1.0/workflows/dapr/media:thumb/start"
    body = '{"left": 1, "right": "2"}'
    assert (await served.post(path, {"instanceID": "order-17"}, body=body)).status == 202
    view = await until(served, "order-17", waits)
    assert view["context"]["sum"] == 3
    again = await served.post(path, {"instanceID": "order-17"}, body=body)
    assert (again.status, again.json["errorCode"]) == (500, "ERR_START_WORKFLOW")
    assert (await served.post("/v1.0/workflows/dapr/order-17/terminate")).status == 202
    view = await until(served, "order-17", is_over)
    assert (view["dag_status"], view["dag_invoke_msg"]["code"]) == ("FAILED", "terminated")
    instance = (await served.get("/v1.0-beta1/workflows/dapr/order-17")).json
    assert (instance["runtimeStatus"], instance["properties"]) == ("TERMINATED", {"dapr.workflow.input": body})
    listed = (await served.get("/api/executions", {"family": "dapr"})).json
    assert [(one["execution_id"], one["status"]) for one in listed["items"]] == [("order-17", "terminated")]


async def test_the_same_idempotency_key_gives_the_same_execution(served: Any) -> None:
    query, key = {"descriptor_id": "media:thumb"}, {"Idempotency-Key": "once"}
    replies = [
        await served.post("/flow/submit.json", query, body={"left": 1, "right": 1}, headers=key) for _ in range(2)
    ]
    assert replies[0].json == replies[1].json
    assert (await served.get("/api/executions")).json["total"] == 1


async def test_a_paused_instance_is_suspended_to_one_and_paused_to_the_other(served: Any) -> None:
    await served.post("/v1.0/workflows/dapr/media:thumb/start", {"instanceID": "p"}, body='{"left": 1, "right": 1}')
    await until(served, "p", waits)
    assert (await served.post("/v1.0/workflows/dapr/p/pause")).body == b"{}"
    assert (await served.get("/v1.0/workflows/dapr/p")).json["runtimeStatus"] == "SUSPENDED"
    assert (await until(served, "p", waits))["paused"] is True
    assert (await served.post("/v1.0/workflows/dapr/p/resume")).body == b"{}"
    assert (await served.get("/v1.0/workflows/dapr/p")).json["runtimeStatus"] == "RUNNING"
