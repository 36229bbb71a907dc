"""Numbers and advice about flows (rill-http-api 9.9 - 9.12, 10.3, 10.4), and the paths of scrapers (16)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tornflow.spi.task_type import Answered

BUSY = """
  - {category: function, name: call, pattern: task_sync, resourceName: "{server}/flow/sample/start_node.json",
     inputMappings: [{source: 1, target: $.input.left}, {source: 2, target: $.input.right}]}
"""
MONITOR = "/flow/business_heap_monitor.json"


async def ran(flows: Any) -> str:
    await flows.add(BUSY)
    execution_id: str = await flows.submit()
    await flows.until(execution_id, "SUCCEED")
    return execution_id


def limit(flows: Any, task: str = "call") -> str:
    """Let the resource of the flow ask to be left alone for ten minutes."""
    resources = flows.server.engine.service.resources
    (use,) = [one for one in resources.uses("shop:main") if one.task == task]
    resources.note("shop:main", task, use.resource, Answered({"sys_info": {"retry_interval_seconds": 600}}))
    return str(use.resource)


async def test_a_limited_resource_refuses_shows_and_is_lifted(flows: Any) -> None:
    await ran(flows)
    resource = limit(flows)
    reply = await flows.post("/flow/submit.json", {"descriptor_id": "shop:main"}, body={})
    assert (reply.status, reply.json["error_code"]) == (400, 30201)
    assert reply.json["error"] == f"resource limit resources: {resource}"
    assert "pass_through" not in reply.json
    shown = (await flows.get("/flow/status/check.json", {"descriptor_id": "shop:main:release"})).json
    assert shown["descriptor_id"] == "shop:main"
    assert shown["submit_status"]["resource_check"] == {"unsatisfied_resources": [resource], "resource_limit": True}
    assert shown["related_resources"]["task_name_order"][f"call#{resource}"]["limited"] is True
    skip = {"descriptor_id": "shop:main", "resource_check": '{"check_type": "skip"}'}
    assert (await flows.get("/flow/status/check.json", skip)).json["submit_status"]["resource_check"] == {
        "unsatisfied_resources": [],
        "resource_limit": False,
    }
    lifted = await flows.post(
        "/flow/clear_runtime_resources.json", {"service_id": "shop:main", "resource_names": resource}
    )
    assert lifted.json == {"ret": True}
    await flows.until(await flows.submit(), "SUCCEED")


async def test_the_resources_of_a_service_are_shown_until_they_are_cleared(flows: Any) -> None:
    await ran(flows)
    path, query = "/flow/runtime_dependent_resources.json", {"service_ids": "shop:main,shop:other"}
    shown = (await flows.get(path, query)).json
    (resource,) = shown["shop:main"]["resource_name_order"].items()
    assert resource[0].endswith("/flow/sample/start_node.json")
    assert (resource[1]["task_names"], resource[1]["limited"]) == (["call"], False)
    assert shown["shop:other"] == {"task_name_order": {}, "resource_name_order": {}}
    assert shown["current_time"] >= resource[1]["update_time"]
    await flows.post("/flow/clear_runtime_resources.json", {"service_id": "shop:main", "clear_all": "true"})
    assert (await flows.get(path, query)).json["shop:main"]["task_name_order"] == {}


async def test_the_heap_monitor_counts_a_span_of_minutes(flows: Any) -> None:
    await ran(flows)
    query = {"service_ids": "shop:main", "start_time_offset": 5, "end_time_offset": 0}
    shown = (await flows.get(MONITOR, query)).json["shop:main"]
    counts = (shown["running_count"], shown["success_count"], shown["failed_count"], shown["statistic_duration"])
    assert counts == (0, 1, 0, 5)
    shown = (await flows.get(MONITOR, {"service_ids": "shop:main"})).json["shop:main"]
    assert (shown["success_count"], shown["statistic_duration"]) == (0, 9)
    assert (await flows.get(MONITOR)).json == {}


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        (MONITOR, {"start_time_offset": 5}, "time offset should be all configured"),
        (MONITOR, {"start_time_offset": 1, "end_time_offset": 1}, "start time offset should be bigger than"),
        (MONITOR, {"service_ids": "shop"}, "service_id:shop format error"),
        (MONITOR, {"service_ids": ",".join(["a:b"] * 101)}, "at most 100"),
        ("/flow/status/check.json", {"descriptor_id": "shop"}, "descriptorId:shop format error"),
        ("/flow/runtime_dependent_resources.json", {"service_ids": ""}, "service_ids can not be empty"),
    ],
)
async def test_what_cannot_be_answered_says_why(flows: Any, path: str, query: Any, said: str) -> None:
    reply = await flows.get(path, query)
    assert (reply.status, reply.json["error_code"]) == (400, 30109)
    assert said in reply.json["error"]


async def test_submissions_of_a_day_are_summed(flows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    execution_id = await ran(flows)
    state = (await flows.server.engine.service.snapshot(execution_id)).state
    day = datetime.fromtimestamp(state.created_at / 1000, UTC).strftime("%Y%m%d")
    path = "/flow/business_invoke_summary.json"
    reply = await flows.get(path, {"business_key": f"shop_{day}"})
    assert reply.json == {"ret": {"shop:main_dag_submit_count": "1"}}
    for key in ("shop_20010101", "shop", "shop_2026", "", "other_20260101"):
        assert (await flows.get(path, {"business_key": key})).json == {"ret": {}}


async def test_details_show_executions_and_nothing_else(flows: Any) -> None:
    execution_id = await ran(flows)
    shown = (await flows.get("/flow/dag/details.json", {"id": execution_id, "status": "x"})).json
    assert shown["data"]["execution_id"] == execution_id
    await flows.post(
        "/flow/template/create_task_template.json", body={"name": "t", "type": 0, "category": "pass"}
    )
    for key in ("template", "shop:main", "*"):
        shown = (await flows.get("/flow/dag/details.json", {"id": key, "status": "x"})).json
        assert shown == {"data": "", "message": "", "success": True}


async def test_the_actuator_answers_as_scrapers_ask(flows: Any) -> None:
    await ran(flows)
    links = (await flows.get("/actuator")).json["_links"]
    assert links["metrics"]["href"].endswith("/actuator/metrics")
    assert links["metrics-requiredMetricName"]["templated"] is True
    assert (await flows.get("/actuator/health")).json == {"status": "UP"}
    names = (await flows.get("/actuator/metrics")).json["names"]
    assert "http_server_requests_seconds" in names
    submits = {"tag": "uri:/flow/submit.json"}
    one = (await flows.get("/actuator/metrics/http_server_requests_seconds", submits)).json
    assert {"statistic": "COUNT", "value": 1.0} in one["measurements"]
    assert {"tag": "method", "values": ["POST"]} in one["availableTags"]
    for name in names:
        assert (await flows.get(f"/actuator/metrics/{name}")).status == 200, name
    for unknown in ("pigeon", "a/b", ""):
        reply = await flows.get(f"/actuator/metrics/{unknown}")
        assert reply.status == (200 if unknown == "" else 404)
    (document,) = (await flows.get("/swagger-resources")).json
    assert (await flows.get(document["location"])).json["openapi"] == "3.0.3"


async def test_health_is_down_while_the_server_cannot_work(start: Any) -> None:
    client = start(is_ready=lambda: "the store is away")
    reply = await client.get("/actuator/health")
    assert (reply.status, reply.json) == (503, {"status": "DOWN"})
