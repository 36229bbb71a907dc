"""Lists and counts of executions (rill-http-api 10.1, 10.2, 15.3) and our own list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tornflow.spi.storage import Summary

NOW = 1_718_600_000_123


def summaries() -> list[Summary]:
    one = Summary("media:thumb_c_1", "media", "thumb", "succeed", NOW - 5000)
    return [
        one,
        replace(one, execution_id="media:thumb_c_2", status="failed", submitted_at=NOW - 4000, code="4001"),
        replace(one, execution_id="media:thumb_c_3", status="terminated", submitted_at=NOW - 3000),
        replace(one, execution_id="media:thumb_c_4", status="succeed", submitted_at=NOW - 120_000),
    ]


async def test_execution_ids_are_paged_newest_first(client: Any) -> None:
    client.service.summaries = summaries()
    query = {"service_id": "media:thumb", "count": 1}
    reply = await client.get("/flow/get_execution_ids.json", query)
    assert reply.json == {
        "execution_ids": [{"execution_id": "media:thumb_c_1", "submit_time": NOW - 5000}],
        "type": "succeed",
        "cursor_time": NOW,
        "current_page": 1,
        "next_page_available": True,
    }
    reply = await client.get("/flow/get_execution_ids.json", {**query, "page": 2})
    assert reply.json["execution_ids"][0]["execution_id"] == "media:thumb_c_4"
    assert reply.json["next_page_available"] is False


async def test_a_terminated_execution_is_listed_as_failed(client: Any) -> None:
    client.service.summaries = summaries()
    reply = await client.get("/flow/get_execution_ids.json", {"service_id": "media:thumb", "type": "failed"})
    assert [one["execution_id"][-1] for one in reply.json["execution_ids"]] == ["3", "2"]
    reply = await client.get("/flow/bg/get_execution_ids.json", {"business": "media", "status": "failed"})
    assert {one["status"] for one in reply.json["items"]} == {"failed"}
    assert reply.json["total"] == 2


async def test_failure_codes_select_too(client: Any) -> None:
    client.service.summaries = summaries()
    reply = await client.get("/flow/get_execution_ids.json", {"service_id": "media:thumb", "code": "4001"})
    assert (reply.json["type"], len(reply.json["execution_ids"])) == ("4001", 1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"type": "upside-down"}, "type value nonsupport"),
        ({"count": 101}, "count too big"),
        ({"page": 0}, "page and count must be at least 1"),
        ({"service_id": "media"}, "service_id:media format error"),
    ],
)
async def test_list_parameters_out_of_range_are_refused(client: Any, query: dict[str, Any], message: str) -> None:
    reply = await client.get("/flow/get_execution_ids.json", {"service_id": "media:thumb", **query})
    assert (reply.status, reply.json["error"]) == (400, message)


async def test_counts_look_at_a_span_of_minutes(client: Any) -> None:
    client.service.summaries = summaries()
    query = {"service_id": "media:thumb", "end_time_offset": 0}
    reply = await client.get("/flow/get_execution_count.json", query)
    assert reply.json == {"dag": {"running": 0, "succeed": 2, "failed": 2}, "code": {}, "collect_time": NOW}
    reply = await client.get(
        "/flow/get_execution_count.json", {"service_id": "media:thumb", "type": "succeed", "code": "4001"}
    )
    assert reply.json == {"dag": {"succeed": 1}, "code": {"4001": 0}, "collect_time": NOW}


async def test_the_background_list_finds_one_execution_by_id(client: Any) -> None:
    item = {
        "id": 1,
        "execution_id": "media:thumb_c_1",
        "submit_time": NOW,
        "business_id": "media",
        "feature_id": "thumb",
        "status": "running",
    }
    for name in ("id", "execution_id"):
        reply = await client.get("/flow/bg/get_execution_ids.json", {name: "media:thumb_c_1"})
        assert reply.json == {"total": 1, "items": [item]}
    assert (await client.get("/flow/bg/get_execution_ids.json", {"id": "x"})).json == {"total": 0, "items": []}


async def test_the_background_list_filters_by_time_and_pages(client: Any) -> None:
    client.service.summaries = summaries()
    query = {"startTime": NOW - 5000, "endTime": NOW - 3000, "pageSize": 1, "page": 2}
    reply = await client.get("/flow/bg/get_execution_ids.json", query)
    assert reply.json["total"] == 2  # startTime is exclusive, endTime inclusive
    assert [(one["id"], one["execution_id"][-1]) for one in reply.json["items"]] == [(2, "2")]
    assert (await client.get("/flow/bg/get_execution_ids.json", {"pageSize": 1001})).status == 400


async def test_our_own_list_shows_counts_beside_its_filters(client: Any) -> None:
    client.service.summaries = summaries()
    reply = await client.get("/api/executions", {"status": "failed,terminated", "limit": 1})
    assert reply.json["total"] == 2
    assert reply.json["by_status"] == {"succeed": 2, "failed": 1, "terminated": 1}
    assert reply.json["items"] == [
        {
            "execution_id": "media:thumb_c_3",
            "business": "media",
            "feature": "thumb",
            "status": "terminated",
            "submitted_at": NOW - 3000,
            "family": "rill",
        }
    ]
    reply = await client.get("/api/executions", {"status": "sideways"})
    assert (reply.status, reply.json["code"]) == (400, "malformed_field")
