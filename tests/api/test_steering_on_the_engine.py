"""Redo, degrade, complete, groups, events and purge on a real server (rill-http-api 7, 9; dapr-http-api 7.1)."""

from __future__ import annotations

from typing import Any

import pytest

from tornflow.api import EdgeLimits
from tornflow.api.edge import REFERENCE_CALLBACK_CHARS

GATED = """
  - {category: function, name: gate, next: costly, pattern: task_async,
     resourceName: "{server}/flow/service_check.json", requestType: get}
  - {category: pass, name: costly, next: after}
  - {category: pass, name: after}
"""
REDO, DEGRADE, COMPLETE, FINISH = (
    f"/flow/{name}.json" for name in ("redo", "task_degrade", "complete", "finish")
)
OK = {"result": "ok"}
LOOP = """
  - category: foreach
    name: rows
    inputMappings: [{source: $.context.grid, target: $.input.grid}]
    iterationMapping: {collection: $.input.grid, item: row, index: r, identity: $.iteration.element.id}
    tasks:
      - {category: function, name: hold, next: after, pattern: task_async,
         resourceName: "{server}/flow/service_check.json", requestType: get}
      - {category: choice, name: pick, inputMappings: [{source: $.context.r, target: $.input.r}], choices: [
           {condition: "$.input.[?(@.r == 0)]", tasks: [{category: pass, name: first}]},
           {condition: "$.input.[?(@.r > 0)]", tasks: [{category: pass, name: later}]}]}
      - {category: pass, name: after}
  - {category: pass, name: aside}
"""


async def degrade(flows: Any, execution_id: str, task: str, current: Any, following: Any) -> Any:
    query = {"execution_id": execution_id, "task_name": task}
    return await flows.post(
        DEGRADE, {**query, "degrade_current_task": current, "degrade_following_tasks": following}
    )


async def finish(flows: Any, execution_id: str, task: str, **body: Any) -> None:
    reply = await flows.post(FINISH, {"execution_id": execution_id, "task_name": task}, body=body)
    assert reply.json == OK


# --- redo


async def test_redo_runs_the_failed_part_again_with_new_data(flows: Any) -> None:
    await flows.add(GATED)
    one = await flows.submit({"kept": 1})
    await flows.until(one, gate="RUNNING")
    await finish(flows, one, "gate", result_type="FAILED")
    await flows.until(one, "FAILED")
    assert (await flows.post(REDO, {"execution_id": f" {one} "}, body={"new": 2, "gone": None})).json == OK
    view = await flows.until(one, gate="RUNNING")
    assert {name: view["context"].get(name) for name in ("kept", "new", "gone")} == {"kept": 1, "new": 2, "gone": None}
    await finish(flows, one, "gate")
    view = await flows.until(one, "SUCCEED")
    assert len(view["dag_invoke_msg"]["invoke_time_infos"]) == 2
    assert (await flows.post(REDO, {"execution_id": one})).json == OK
    assert (await flows.until(one))["dag_status"] == "SUCCEED"
    assert (await flows.post(REDO, {"execution_id": one, "task_names": "nobody, gate"})).json == OK
    await flows.until(one, "RUNNING", gate="RUNNING", costly="NOT_STARTED")


async def test_redo_of_nothing_known_is_refused(flows: Any) -> None:
    reply = await flows.post(REDO, {"execution_id": "shop:main_c_0"})
    assert (reply.status, reply.json) == (500, {"error_code": 30602, "error": "can not find dag info before redo."})


async def test_redo_with_too_much_data_is_refused(start: Any) -> None:
    client = start(limits=EdgeLimits(callback_chars=REFERENCE_CALLBACK_CHARS))
    reply = await client.post(REDO, {"execution_id": "x"}, body={"pad": "x" * 6144})
    assert (reply.status, reply.json["error"]) == (
        400, "context size nonsupport: more than 6144 characters (rill.callback_limit_chars)"
    )  # fmt: skip


# --- degrade


async def test_a_degraded_task_is_skipped_and_shown_so(flows: Any) -> None:
    await flows.add(GATED)
    one = await flows.submit()
    await flows.until(one, gate="RUNNING")
    assert (await degrade(flows, one, "costly", "true", "no")).json == OK
    view = await flows.until(one)
    assert view["tasks"]["costly"]["task"]["degrade"] == {"current": True, "followings": False}
    assert "degrade" not in view["tasks"]["gate"]["task"]
    await finish(flows, one, "gate")
    await flows.until(one, "SUCCEED", costly="SKIPPED", after="SUCCEEDED")
    other = await flows.submit()
    assert "degrade" not in (await flows.until(other))["tasks"]["costly"]["task"]


async def test_degrading_names_what_is_wrong(flows: Any) -> None:
    await flows.add(GATED)
    one = await flows.submit()
    reply = await degrade(flows, one, "nobody", True, True)
    assert (reply.status, reply.json["error_code"]) == (400, 30106)
    assert reply.json["error"] == f"can not find base task:nobody, executionId:{one}"
    reply = await degrade(flows, one, "costly", "maybe", True)
    assert (reply.status, "degrade_current_task" in reply.json["error"]) == (422, True)
    reply = await degrade(flows, "x", "costly", True, True)
    assert (reply.status, reply.json["error_code"]) == (500, 30605)


async def test_a_degrade_shows_in_the_definitions_inside_a_loop(flows: Any) -> None:
    await flows.add(LOOP)
    one = await flows.submit({"grid": []})
    await flows.until(one, "SUCCEED")
    await flows.post(REDO, {"execution_id": one, "task_names": "rows"}, body={"grid": [{"id": "a"}]})
    await flows.until(one, rows="RUNNING")
    assert (await degrade(flows, one, "rows_0-pick_0-first", False, True)).json == OK
    body = (await flows.until(one))["tasks"]["rows"]["task"]["tasks"]
    pick = next(task for task in body if task["name"] == "pick")
    assert pick["choices"][0]["tasks"][0]["degrade"] == {"current": False, "followings": True}
    assert "degrade" not in pick["choices"][1]["tasks"][0]


# --- complete


async def test_complete_answers_softly_with_a_text_for_code(flows: Any) -> None:
    await flows.add(GATED)
    one = await flows.submit()
    await flows.until(one, gate="RUNNING")
    assert (await flows.post(COMPLETE, {"execution_id": one})).json == {"code": "0", "message": "success"}
    view = await flows.until(one, "SUCCEED", gate="RUNNING")
    assert view["process"] == 100
    reply = await flows.post(COMPLETE, {"execution_id": one, "success": "yes"})
    assert (reply.status, reply.json) == (
        200,
        {"code": "-1", "message": "status is SUCCEED now, and cannot be set to SUCCEED"},
    )
    assert (await flows.post(COMPLETE, {"execution_id": one, "success": "false"})).json["code"] == "0"
    await flows.until(one, "FAILED")
    for unknown in ("shop:main_c_0", " "):
        reply = await flows.post(COMPLETE, {"execution_id": unknown})
        assert reply.status == 200
        assert reply.json == {"code": "-1", "message": f"executionId not found {unknown.strip()}"}


# --- groups


async def by_parent(flows: Any, one: str, parent: str, index: Any) -> Any:
    query = {"execution_id": one, "parent": parent, "group_index": index}
    reply = await flows.get("/flow/get_by_parent.json", query)
    assert reply.status == 200
    return reply.json["ret"]["tasks"]


async def sub_context(flows: Any, one: str, parent: str, index: Any) -> Any:
    query = {"execution_id": one, "parent": parent, "group_index": index}
    return (await flows.get("/flow/get_sub_context.json", query)).json


async def test_groups_are_shown_with_status_identity_and_share_of_the_progress(flows: Any) -> None:
    await flows.add(LOOP)
    one = await flows.submit({"grid": [{"id": "a"}, {"id": "b"}, {"other": 1}, {"id": 7}]})
    await flows.until(one, rows="RUNNING", aside="SUCCEEDED")
    while "hold" not in str(await by_parent(flows, one, "rows", 3)):
        pass  # the groups are stored one after the other; the test's timeout is the patience
    for name, word in (("rows_1-hold", "SUCCESS"), ("rows_2-hold", "FAILED")):
        while (await by_parent(flows, one, "rows", int(name[5])))[name]["status"] != "RUNNING":
            pass
        await finish(flows, one, name, result_type=word)
    view = await flows.until(one)
    while view["tasks"]["rows"]["sub_group_index_to_status"]["2"] == "RUNNING":
        view = await flows.until(one)
    rows = view["tasks"]["rows"]
    assert rows["contains_sub"] is True
    assert rows["sub_group_index_to_status"] == {"0": "RUNNING", "1": "SUCCEED", "2": "FAILED", "3": "RUNNING"}
    assert rows["sub_group_index_to_identity"] == {"0": "a", "1": "b", "3": "7"}
    assert view["process"] == 75
    assert "sub_group_index_to_status" not in view["tasks"]["aside"]
    tasks = await by_parent(flows, one, "rows", 2)
    assert set(tasks) == {"rows_2-hold", "rows_2-pick", "rows_2-after"}
    assert tasks["rows_2-hold"]["next"] == ["rows_2-after"]
    assert (tasks["rows_2-hold"]["status"], tasks["rows_2-after"]["status"]) == ("FAILED", "NOT_STARTED")


async def test_nested_groups_and_branches_not_taken_are_found(flows: Any) -> None:
    await flows.add(LOOP)
    one = await flows.submit({"grid": [{"id": "a"}]})
    await flows.until(one, rows="RUNNING")
    while (await by_parent(flows, one, "rows", 0))["rows_0-pick"]["status"] != "SUCCEEDED":
        pass
    assert (await by_parent(flows, one, "rows_0-pick", 0))["rows_0-pick_0-first"]["status"] == "SUCCEEDED"
    assert (await by_parent(flows, one, "rows_0-pick", 1))["rows_0-pick_1-later"]["status"] == "SKIPPED"
    assert (await sub_context(flows, one, "rows", 0))["ret"] == {"row": {"id": "a"}, "r": 0}
    assert await sub_context(flows, one, "rows_0-pick", 1) == {"ret": {}}


@pytest.mark.parametrize(
    ("parent", "index", "expected"),
    [
        ("rows", 1, {}),
        ("rows", -1, {}),
        ("rows", 2**62, {}),
        ("aside", 0, {}),
        ("rows_0-hold", 0, {}),
        ("nobody", 0, "{}"),
        ("rows_9-pick", 0, "{}"),
        ("rows_x-pick", 0, "{}"),
        ("-", 0, "{}"),
        ("", 0, "{}"),
    ],
)
async def test_an_unknown_parent_is_a_text_an_unknown_group_an_object(
    flows: Any, parent: str, index: int, expected: Any
) -> None:
    await flows.add(LOOP)
    one = await flows.submit({"grid": [{"id": "a"}]})
    await flows.until(one, rows="RUNNING")
    assert await by_parent(flows, one, parent, index) == expected
    assert await by_parent(flows, "x", parent, index) == "{}"
    if parent:
        assert await sub_context(flows, one, parent, index) == {"ret": {}}


async def test_a_group_is_asked_for_by_all_three_names(flows: Any) -> None:
    soft = {"code": -1, "msg": "executionId or parent is empty or missing group_index!"}
    for query in (None, {"execution_id": "x", "parent": "y"}, {"execution_id": "x", "parent": "y", "group_index": ""}):
        reply = await flows.get("/flow/get_sub_context.json", query)
        assert (reply.status, reply.json) == (200, soft)
    reply = await flows.get("/flow/get_by_parent.json", {"execution_id": "x", "parent": "y"})
    assert (reply.status, reply.json["error_code"]) == (422, 30109)


# --- a look changes nothing


async def test_head_of_the_callback_url_completes_nothing(flows: Any) -> None:
    await flows.add(GATED)
    one = await flows.submit()
    await flows.until(one, gate="RUNNING")
    query = {"execution_id": one, "task_name": "gate"}
    reply = await flows.ask("HEAD", "/flow/trigger.json", query)
    assert (reply.status, reply.body) == (422, b"")
    await flows.until(one, gate="RUNNING")
    assert (await flows.get("/flow/trigger.json", query)).json == OK
    await flows.until(one, "SUCCEED")


# --- the other family


EVENT = """
  - {category: suspense, name: approval, event: [Approval, Veto], next: tell,
     outputMappings: [{source: $.output.event, target: $.context.got}]}
  - {category: pass, name: tell}
"""


async def test_an_event_reaches_its_task_whatever_started_the_flow(flows: Any) -> None:
    await flows.add(EVENT)
    one = await flows.submit()
    await flows.until(one, approval="RUNNING")
    path = f"/v1.0/workflows/dapr/{one}"
    assert (await flows.post(f"{path}/raiseEvent/APPROVAL", body=b'{"by":"lin"}')).body == b"{}"
    view = await flows.until(one, "SUCCEED")
    assert view["context"]["got"] == {"by": "lin"}
    late = await flows.post(f"{path}/raiseEvent/veto", body=b"late")
    assert (late.status, late.body) == (202, b"{}")
    assert (await flows.until(one))["context"] == view["context"]


async def test_purge_removes_what_is_finished_and_nothing_else(flows: Any) -> None:
    await flows.add(EVENT)
    one = await flows.submit()
    path = f"/v1.0/workflows/dapr/{one}"
    reply = await flows.post(f"{path}/purge")
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_PURGE_WORKFLOW")
    assert "orchestration has not yet completed" in reply.json["message"]
    await flows.post(f"{path}/terminate")
    assert (await flows.post(f"{path}/purge")).status == 202
    assert (await flows.get(path)).json["errorCode"] == "ERR_INSTANCE_ID_NOT_FOUND"
    assert (await flows.post(f"{path}/purge")).status == 404
    gone = await flows.post(f"{path}/raiseEvent/veto")
    assert (gone.status, "no such instance exists" in gone.json["message"]) == (500, True)


# --- operation x state (dapr-http-api 7.1)

_STATES = ("missing", "RUNNING", "SUSPENDED", "TERMINATED", "COMPLETED")
_TABLE = {
    "get": (404, 200, 200, 200, 200),
    "terminate": (404, 202, 202, 202, 202),
    "raiseEvent/other": (500, 202, 202, 202, 202),
    "pause": (500, 202, 202, 202, 202),
    "resume": (500, 202, 202, 202, 202),
    "purge": (404, 500, 500, 202, 202),
    "start": (202, 500, 500, 202, 202),
}
_AFTER = {
    ("terminate", "RUNNING"): "TERMINATED",
    ("terminate", "SUSPENDED"): "TERMINATED",
    ("pause", "RUNNING"): "SUSPENDED",
    ("resume", "SUSPENDED"): "RUNNING",
    **{("start", state): "RUNNING" for state in ("missing", "TERMINATED", "COMPLETED")},
    **{("purge", state): None for state in ("TERMINATED", "COMPLETED")},
    ("get", "missing"): None,
}


@pytest.mark.parametrize("before", _STATES)
@pytest.mark.parametrize("operation", list(_TABLE))
async def test_every_operation_in_every_state(flows: Any, operation: str, before: str) -> None:
    await flows.add(EVENT)
    path = "/v1.0/workflows/dapr/order-17"
    start = ("/v1.0/workflows/dapr/shop:main/start", {"instanceID": "order-17"})
    steps = {"SUSPENDED": "pause", "TERMINATED": "terminate", "COMPLETED": "raiseEvent/veto"}
    if before != "missing":
        assert (await flows.post(*start)).status == 202
        await flows.until("order-17", approval="RUNNING")
    if before in steps:
        assert (await flows.post(f"{path}/{steps[before]}")).status == 202
        assert await runtime_status(flows, path) == before
    if operation == "get":
        reply = await flows.get(path)
    else:
        reply = await (flows.post(*start) if operation == "start" else flows.post(f"{path}/{operation}"))
    assert reply.status == _TABLE[operation][_STATES.index(before)], reply.body
    same = None if before == "missing" else before
    assert await runtime_status(flows, path) == _AFTER.get((operation, before), same)


async def runtime_status(flows: Any, path: str) -> str | None:
    """Return the status of an instance, None when there is none."""
    found: str | None = (await flows.get(path)).json.get("runtimeStatus")
    return found


async def test_two_reports_at_one_moment_are_both_seen(flows: Any) -> None:
    """Commands twice: pause and resume are idempotent, an event is not (dapr-http-api 7.4)."""
    await flows.add(EVENT + "  - {category: suspense, name: second, event: approval}\n")
    one = await flows.submit()
    await flows.until(one, approval="RUNNING", second="RUNNING")
    path = f"/v1.0/workflows/dapr/{one}"
    for _ in range(2):
        assert (await flows.post(f"{path}/pause")).status == 202
        assert (await flows.post(f"{path}/raiseEvent/approval")).status == 202
    for _ in range(2):
        assert (await flows.post(f"{path}/resume")).status == 202
    await flows.until(one, "SUCCEED", approval="SUCCEEDED", second="SUCCEEDED")
