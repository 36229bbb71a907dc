"""Descriptors and their names over HTTP, on a real catalog (rill-http-api 5.1, 8, 15.1, 15.2)."""

from __future__ import annotations

from typing import Any

import pytest

MANAGE = "/flow/bg/manage/descriptor/"
THUMB = """
workspace: media
dagName: thumb
type: flow
tasks:
  - {category: function, name: probe, next: shrink, pattern: task_sync, resourceName: "http://exec.local/probe"}
  - {category: pass, name: shrink}
"""
NAMES = {"business_id": "media", "feature_name": "thumb", "alias": "release"}


async def add(client: Any, text: str = THUMB, **names: str) -> str:
    reply = await client.post(MANAGE + "add_descriptor.json", {**NAMES, **names}, body=text)
    assert (reply.status, reply.json["ret"]) == (200, True)
    return str(reply.json["descriptor_id"])


async def test_everything_wrong_with_a_descriptor_is_30110(client: Any) -> None:
    reply = await client.post(
        MANAGE + "add_descriptor.json", NAMES, body="workspace: media\ndagName: thumb\ntype: other"
    )
    assert reply.status == 400
    answer = reply.json
    problems = answer.pop("problems")
    assert answer == {"error_code": 30110, "error": "dag type is invalid.", "pass_through": True}
    assert (problems[0]["code"], problems[0]["message"], problems[0]["line"]) == (30403, "dag type is invalid.", 3)
    reply = await client.post(MANAGE + "add_descriptor.json", {**NAMES, "business_id": "a-b"}, body=THUMB)
    assert (reply.status, reply.json["error_code"]) == (400, 30110)


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json"]
)
async def test_add_descriptor_takes_the_bytes_of_any_content_type(client: Any, media: str) -> None:
    reply = await client.post(MANAGE + "add_descriptor.json", NAMES, body=THUMB + "description: a & b=ü", media=media)
    assert reply.json["descriptor_id"].startswith("media:thumb:md5_")
    reply = await client.get(MANAGE + "get_descriptor.json", {"descriptor_id": "media:thumb"})
    assert "a & b=ü" in reply.json["descriptor"]


async def test_add_descriptor_needs_a_body(client: Any) -> None:
    assert (await client.post(MANAGE + "add_descriptor.json", NAMES)).status == 422


async def test_get_descriptor_echoes_id_and_uid(client: Any) -> None:
    await add(client)
    reply = await client.post(MANAGE + "get_descriptor.json", {"descriptor_id": "media:thumb"}, body={"uid": 7, "a": 1})
    assert (reply.json["descriptor_id"], reply.json["uid"]) == ("media:thumb", "7")
    assert "dagName" in reply.json["descriptor"]
    reply = await client.post(MANAGE + "get_descriptor.json", {"descriptor_id": "media:thumb"}, body={"uid": "x"})
    assert (reply.status, reply.json["error"]) == (422, "'uid' must be an integer")
    reply = await client.get(MANAGE + "get_descriptor.json", {"descriptor_id": "no:body"})
    assert (reply.status, reply.json) == (
        400,
        {"error_code": 30106, "error": "cannot find descriptor: no:body:release"},
    )
    reply = await client.get(MANAGE + "get_descriptor.json", {"descriptor_id": "no-body"})
    assert reply.json == {"error_code": 30109, "error": "dagDescriptorId:no-body format error", "pass_through": True}


async def test_names_versions_and_definitions_are_listed(client: Any) -> None:
    first, second = await add(client), await add(client, THUMB + "description: newer")
    assert (await client.get(MANAGE + "get_business.json")).json == {"business_ids": ["media"]}
    assert (await client.get("/flow/bg/get_business_options.json")).json == {
        "business_ids": [{"id": "media", "name": "media"}]
    }
    reply = await client.get(MANAGE + "get_feature.json", {"business_id": "media"})
    assert reply.json == {"business_id": "media", "features": ["thumb"]}
    reply = await client.get(MANAGE + "get_alias.json", NAMES)
    assert reply.json == {"business_id": "media", "feature": "thumb", "aliases": ["release"]}
    versions = (await client.get(MANAGE + "get_version.json", NAMES)).json["versions"]
    assert [one["descriptor_id"] for one in versions] == [second, first]
    line = (await client.get("/flow/bg/get_descriptor_ids.json", {"current": 1, "pageSize": 1})).json
    assert line == {
        "items": [
            {
                "business_id": "media",
                "feature_id": "thumb",
                "alias": "release",
                "descriptor_id": second,
                "create_time": versions[1]["create_time"],
                "update_time": versions[0]["create_time"],
            }
        ],
        "total": 1,
    }
    query = {"current": 1, "pageSize": 1, "business": "other"}
    assert (await client.get("/flow/bg/get_descriptor_ids.json", query)).json == {"items": [], "total": 0}


async def test_a_gray_rule_is_set_shown_and_removed(client: Any) -> None:
    alias = {**NAMES, "alias": "preview"}
    reply = await client.post(MANAGE + "modify_gray.json", {**alias, "add": True})
    assert (reply.status, reply.json["error"]) == (400, "gray_rule can not be empty when add gray")
    assert (await client.post(MANAGE + "modify_gray.json", {**alias, "add": True, "gray_rule": "yes"})).json == {
        "ret": True
    }
    reply = await client.get(MANAGE + "get_gray.json", NAMES)
    assert reply.json == {"business_id": "media", "feature": "thumb", "gray": {"preview": "yes"}}
    await client.post(MANAGE + "modify_gray.json", {**alias, "add": "false"})
    assert (await client.get(MANAGE + "get_gray.json", NAMES)).json["gray"] == {}


@pytest.mark.parametrize("name", ["business", "feature", "alias"])
async def test_a_bad_name_is_30109_where_names_are_modified(client: Any, name: str) -> None:
    reply = await client.post(f"{MANAGE}modify_{name}.json", {**NAMES, "business_id": "a_b", "add": True})
    assert (reply.status, reply.json) == (
        400,
        {"error_code": 30109, "error": "error data format", "pass_through": True},
    )


async def test_the_background_definition_has_its_tasks_by_name(client: Any) -> None:
    exact = await add(client)
    for descriptor_id in ("media:thumb:release", exact, "media:thumb"):
        data = (await client.get("/flow/bg/get_descriptor.json", {"id": descriptor_id})).json["data"]
        assert data["alias"] == "release"
        assert data["tasks"]["probe"]["next"] == ["shrink"]
        assert data["tasks"]["probe"]["task"]["resourceProtocol"] == "http"
        assert "resourceProtocol" not in data["tasks"]["shrink"]["task"]
