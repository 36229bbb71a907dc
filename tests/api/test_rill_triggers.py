"""Triggers over HTTP (rill-http-api 13), over a real server."""

from __future__ import annotations

from typing import Any

import pytest

ROOT = "/flow/trigger/"
NIGHTLY = {"cron": "0 0 2 * * *", "context": {"url": "s3://nightly"}}
CRON = {"type": "cron", "descriptor_id": "shop:main"}


async def added(flows: Any, body: Any = NIGHTLY, **query: Any) -> str:
    reply = await flows.post(ROOT + "add_trigger.json", {**CRON, **query}, body=body)
    assert reply.json["code"] == 0, reply.body
    return str(reply.json["data"]["task_id"])


async def listed(flows: Any) -> Any:
    reply = await flows.get(ROOT + "get_trigger_tasks.json", {"type": "cron"})
    assert reply.json["code"] == 0
    return reply.json["data"]


async def test_a_trigger_is_added_listed_and_cancelled(flows: Any) -> None:
    task_id = await added(flows, {**NIGHTLY, "time_zone": "Europe/Berlin"})
    shown = (await listed(flows))[task_id]
    assert shown["context"] == {"url": "s3://nightly"}
    assert (shown["cron"], shown["descriptor_id"]) == ("0 0 2 * * *", "shop:main")
    assert len(shown["next_runs"]) == 5
    assert all("T02:00:00+0" in run for run in shown["next_runs"])
    reply = await flows.post(ROOT + "cancel_trigger.json", {"type": "cron", "task_id": task_id})
    assert reply.json == {"code": 0, "data": {"task_id": task_id, "result": True}}
    assert await listed(flows) == {}
    assert (await flows.post(ROOT + "cancel_trigger.json", {"type": "cron", "task_id": task_id})).json == {"code": -1}


@pytest.mark.parametrize("task_id", ["7", "pigeon", "-1", "9" * 30, "٣"])
async def test_cancelling_what_is_not_there_answers_minus_one(flows: Any, task_id: str) -> None:
    reply = await flows.post(ROOT + "cancel_trigger.json", {"type": "cron", "task_id": task_id})
    assert (reply.status, reply.json) == (200, {"code": -1})


@pytest.mark.parametrize("body", [{"cron": "not a cron"}, {}, {"cron": "* * * * * *", "time_zone": "Mars/Base"}])
async def test_a_bad_body_is_refused_softly_and_leaves_nothing(flows: Any, body: Any) -> None:
    reply = await flows.post(ROOT + "add_trigger.json", CRON, body=body)
    assert (reply.status, reply.json["code"]) == (200, -1)
    assert reply.json["err_msg"]
    assert await listed(flows) == {}


async def test_an_unknown_type_is_named(flows: Any) -> None:
    said = "do not support type: pigeon"
    query = {"type": "pigeon", "descriptor_id": "shop:main", "task_id": "7"}
    for path in ("add_trigger.json", "cancel_trigger.json"):
        reply = await flows.post(ROOT + path, query, body={})
        assert (reply.status, reply.json["error_code"], reply.json["error"]) == (400, 30106, said)
    reply = await flows.get(ROOT + "get_trigger_tasks.json", query)
    assert (reply.status, reply.json) == (200, {"code": -1, "message": said})


@pytest.mark.parametrize(
    ("query", "code"), [({"callback": "pigeon"}, 30603), ({"resource_check": '{"check_type": "pigeon"}'}, 30109)]
)
async def test_what_each_submission_would_refuse_is_refused_at_once(flows: Any, query: Any, code: int) -> None:
    reply = await flows.post(ROOT + "add_trigger.json", {**CRON, **query}, body=NIGHTLY)
    assert reply.json["error_code"] == code
    assert await listed(flows) == {}
