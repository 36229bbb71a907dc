"""Task templates and the forms of the graph editor (rill-http-api 14), over a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

ROOT = "/flow/template/"
RESIZE = {"name": "resize", "type": 0, "category": "function", "task_yaml": "pattern: task_sync"}


async def create(flows: Any, **values: Any) -> int:
    reply = await flows.post(ROOT + "create_task_template.json", body={**RESIZE, **values})
    assert reply.status == 200, reply.body
    return int(reply.json["data"]["id"])


async def listed(flows: Any, **query: Any) -> list[Any]:
    found: list[Any] = (await flows.get(ROOT + "get_task_templates.json", query)).json["data"]
    return found


async def test_a_template_is_created_changed_disabled_and_enabled(flows: Any) -> None:
    number = await create(flows, taskYaml="pattern: task_async")
    (shown,) = await listed(flows, id=number)
    assert (shown["id"], shown["name"], shown["enable"]) == (number, "resize", 1)
    assert (shown["task_yaml"], shown["schema"]) == ("pattern: task_async", "{}")
    assert shown["type_str"] == "function template"
    change = {"id": number, "icon": "ant-design:picture-outlined", "name": None}
    assert (await flows.post(ROOT + "update_task_template.json", body=change)).json == {"code": 0}
    assert (await flows.post(ROOT + "disable_task_template.json", {"id": number}, body={})).json == {"code": 0}
    assert await listed(flows, id=number, enable=1) == []
    (shown,) = await listed(flows, id=number, enable=0)
    assert (shown["name"], shown["icon"]) == ("resize", "ant-design:picture-outlined")
    assert (await flows.post(ROOT + "enable_task_template.json", {"id": number})).json == {"code": 0}
    assert (await listed(flows, id=number))[0]["enable"] == 1


@pytest.mark.parametrize("path", ["enable_task_template.json", "disable_task_template.json"])
@pytest.mark.parametrize("number", [999, -1, 2**62])
async def test_a_template_that_is_not_there_answers_1(flows: Any, path: str, number: int) -> None:
    assert (await flows.post(ROOT + path, {"id": number})).json == {"code": 1}
    assert (await flows.post(ROOT + "update_task_template.json", body={"id": number, "icon": "x"})).json == {"code": 1}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": ""}, "'name' must have 1 to 64"),
        ({"name": "n" * 65}, "'name' must have 1 to 64"),
        ({"name": None}, "'name' is missing"),
        ({"type": 3}, "'type' must be 0"),
        ({"type": True}, "'type' must be 0"),
        ({"type": "x"}, "'type' must be 0"),
        ({"category": "pigeon"}, "'category' must be one of function"),
        ({"category": ["function"]}, "'category' must be a text"),
        ({"schema": {"type": "object"}}, "'schema' must be a text"),
        ({"task_yaml": "y" * 1_100_000}, "template too long"),
    ],
)
async def test_a_template_that_cannot_be_is_refused_with_its_field(flows: Any, values: Any, said: str) -> None:
    reply = await flows.post(ROOT + "create_task_template.json", body={**RESIZE, **values})
    assert said in reply.json["error"]
    assert [one["name"] for one in await listed(flows, node_type="template") if "id" in one] == []


async def test_two_templates_cannot_have_one_name(flows: Any) -> None:
    first, second = await create(flows), await create(flows, name="crop")
    assert second > first
    reply = await flows.post(ROOT + "create_task_template.json", body=RESIZE)
    assert (reply.status, reply.json["error_code"]) == (400, 30109)
    assert str(first) in reply.json["error"]
    reply = await flows.post(ROOT + "update_task_template.json", body={"id": second, "name": "resize"})
    assert reply.status == 400
    assert (await flows.post(ROOT + "update_task_template.json", body={"id": first, "name": "resize"})).status == 200


async def test_the_list_has_categories_then_task_types_then_rows_and_is_paged(flows: Any) -> None:
    names = [f"t{number:02d}" for number in range(12)]
    for name in names:
        await create(flows, name=name)
    everything = [one["name"] for one in await listed(flows)]
    categories = ["function", "pass", "suspense", "switch", "return", "foreach"]
    assert everything[:6] == categories
    assert set(everything[6:-12]) == {"http", "python", "rillflow"}
    assert everything[-12:] == names
    assert [one["name"] for one in await listed(flows, page=2, page_size=10)] == everything[10:20]
    assert len(await listed(flows, page_size=501)) == 10
    assert len(await listed(flows, pageSize=3)) == len(everything)
    assert [one["name"] for one in await listed(flows, page=-5, pageSize=10)] == everything[:10]
    reply = await flows.get(ROOT + "get_task_templates.json", {"page_size": 10})
    assert reply.json["total"] == len(everything)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"node_type": "meta", "type": 0}, ["function"]),
        ({"node_type": "meta", "type": 1}, []),
        ({"node_type": "meta", "type": 2, "name": "s"}, ["pass", "suspense", "switch"]),
        ({"node_type": "meta", "category": "return"}, ["return"]),
        ({"node_type": "meta", "category": "unknown", "name": "foreach"}, ["foreach"]),
        ({"node_type": "meta", "enable": 0}, []),
        ({"node_type": "meta", "id": 7}, []),
        ({"node_type": "pigeon"}, []),
        ({"type": 0}, ["function", "resize"]),
        ({"category": "pass"}, ["pass"]),
        ({"name": "esiz"}, ["resize"]),
    ],
)
async def test_filters_follow_the_reference(flows: Any, query: Any, names: list[str]) -> None:
    await create(flows)
    assert [one["name"] for one in await listed(flows, **query)] == names


async def test_prototypes_carry_the_form_of_the_category_and_the_template(flows: Any) -> None:
    number = await create(flows, schema='{"type":"object"}')
    found = (await flows.get(ROOT + "get_template_prototypes.json", {"enable": 1})).json["data"]
    by_id = {one["id"]: one for one in found}
    assert "template" not in by_id["pass"]
    assert by_id["pass"]["node_category"] == 0
    row = by_id[str(number)]
    assert (row["node_category"], row["icon"]) == (1, "ant-design:api-outlined")
    assert row["meta_data"]["category"] == "function"
    assert row["template"]["schema"] == '{"type":"object"}'
    assert "meta_data" not in row["template"]


async def test_a_task_type_that_ships_a_form_is_offered_with_its_icon(flows: Any) -> None:
    found = (await flows.get(ROOT + "get_template_prototypes.json", {"type": 1})).json["data"]
    http = next(one for one in found if one["id"] == "http")
    assert http["icon"] == "ant-design:cloud-server-outlined"
    assert "query" in json.loads(http["template"]["schema"])["properties"]
    assert http["template"]["task_yaml"] == "resourceName: http://\n"
    assert "https" not in [one["id"] for one in found]


async def test_every_form_names_its_required_fields(flows: Any) -> None:
    found = (await flows.get(ROOT + "get_meta_data_list.json")).json["data"]
    assert [one["category"] for one in found] == ["function", "pass", "suspense", "switch", "return", "foreach"]
    for form in found:
        required = {name for name, field in form["fields"].items() if field["required"]}
        assert "name" in required
        assert all(field["type"] and field["title"] for field in form["fields"].values())
    function = found[0]["fields"]
    assert function["inputMappings"]["items"]["requiredGroup"] == [["source", "target"], ["reference"]]
