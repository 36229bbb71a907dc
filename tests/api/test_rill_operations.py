"""What the Rill operations ask of the service and answer (rill-http-api 5 to 10, 15)."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.api.conftest import running_state
from tornflow.api import EdgeLimits
from tornflow.api.edge import REFERENCE_CALLBACK_CHARS
from tornflow.config.sections import RillSettings, ServerSettings
from tornflow.errors import AttemptOver
from tornflow.model.status import FlowStatus
from tornflow.server import callback_limit

NOW = 1_718_600_000_123
SUBMIT, FINISH, TRIGGER, WAKEUP = (f"/flow/{name}.json" for name in ("submit", "finish", "trigger", "wakeup"))
ONE = {"descriptor_id": "media:thumb"}
AT = {"execution_id": "media:thumb_c_1", "task_name": "shrink"}
OK = {"result": "ok"}


# --- submit


async def test_submit_passes_context_and_callback_and_answers_the_id(client: Any) -> None:
    reply = await client.post(SUBMIT, {**ONE, "callback": "http://hook/"}, body={"a": 1})
    assert (reply.status, reply.json) == (200, {"execution_id": "media:thumb_c_1"})
    assert client.service.calls == [("submit", "media:thumb", {"a": 1}, "http://hook/", None)]


async def test_submit_needs_no_body(client: Any) -> None:
    assert (await client.post(SUBMIT, {**ONE, "callback": " "})).status == 200
    assert client.service.calls == [("submit", "media:thumb", {}, None, None)]


@pytest.mark.parametrize(
    "text",
    [
        "{broken",
        "[]",
        "7",
        '{"check_type":"sometimes"}',
        '{"check_type":"skip","key_resources":7}',
        '{"check_type":[]}',
    ],
)
async def test_an_unreadable_resource_check_is_refused(client: Any, text: str) -> None:
    reply = await client.post(SUBMIT, {**ONE, "resource_check": text}, body={})
    assert reply.status == 400
    assert reply.json == {"error_code": 30109, "error": "resource_check content nonsupport", "pass_through": True}
    assert client.service.calls == []


async def test_a_readable_resource_check_is_accepted(client: Any) -> None:
    check = '{"check_type":"key_resource","key_resources":["http://x"]}'
    assert (await client.post(SUBMIT, {**ONE, "resource_check": check}, body={})).status == 200


async def test_an_idempotency_key_reaches_the_service(client: Any) -> None:
    assert (await client.post(SUBMIT, ONE, body={}, headers={"Idempotency-Key": "order 17"})).status == 200
    assert client.service.calls[0][-1] == "order 17"


@pytest.mark.parametrize("key", ["x" * 256, "ü"])
async def test_a_bad_idempotency_key_is_422(client: Any, key: str) -> None:
    reply = await client.post(SUBMIT, ONE, body={}, headers={"Idempotency-Key": key})
    assert (reply.status, reply.json["error_code"]) == (422, 30109)
    assert "Idempotency-Key" in reply.json["error"]


# --- finish, trigger, wakeup


async def test_finish_passes_the_whole_body(client: Any) -> None:
    body = {"result_type": "SUCCESS", "thumb": "t"}
    assert (await client.post(FINISH, AT, body=body)).json == OK
    assert client.service.calls == [("finish", "media:thumb_c_1", "shrink", body, True)]


@pytest.mark.parametrize(
    ("result", "success"),
    [("success", True), ("FAIL", False), ("FAILED", False), ("", False), (None, True), (1, False)],
)
async def test_only_the_word_success_is_one(client: Any, result: Any, success: bool) -> None:
    await client.post(FINISH, AT, body={"result_type": result})
    assert client.service.calls[0][-1] is success


async def test_finish_takes_the_documented_spellings(client: Any) -> None:
    reply = await client.post(FINISH, {"executionId": "media:thumb_c_1", "taskName": "shrink"}, body={})
    assert reply.json == OK
    body = {
        "passthrough": {"execution_id": "media:thumb_c_1", "task_name": "shrink"},
        "response": {"x": 1, "y": 2},
        "y": 3,
    }
    assert (await client.post(FINISH, body=body)).json == OK
    assert client.service.calls[1] == ("finish", "media:thumb_c_1", "shrink", {**body, "x": 1, "y": 3}, True)


async def test_a_response_without_its_envelope_stays_wrapped(client: Any) -> None:
    await client.post(FINISH, AT, body={"response": {"x": 1}})
    assert client.service.calls[0][3] == {"response": {"x": 1}}


async def test_finish_needs_a_body_and_both_names(client: Any) -> None:
    for query, body in (
        (AT, None),
        ({"execution_id": "x"}, {}),
        ({"task_name": "x"}, {"passthrough": {"execution_id": 5}}),
    ):
        reply = await client.post(FINISH, query, body=body, media="application/json")
        assert (reply.status, reply.json["error_code"]) == (422, 30109)
    reply = await client.post(FINISH, {**AT, "task_name": " "}, body={})
    assert (reply.status, reply.json["error_code"]) == (500, 30606)


async def test_finish_of_something_unknown_is_a_500(client: Any) -> None:
    reply = await client.post(FINISH, {**AT, "execution_id": "x"}, body={})
    assert (reply.status, reply.json["error_code"]) == (500, 30605)
    reply = await client.post(FINISH, {**AT, "task_name": "ghost"}, body={})
    assert (reply.status, reply.json) == (500, {"error_code": 30503, "error": "storage can not get taskInfo:ghost"})


@pytest.mark.parametrize("path", [FINISH, TRIGGER, WAKEUP])
async def test_payloads_have_a_limit_in_characters_of_compact_json(start: Any, path: str) -> None:
    client = start(limits=EdgeLimits(callback_chars=REFERENCE_CALLBACK_CHARS), strict=True)
    client.service.states["media:thumb_c_1"] = running_state()
    fits = {"pad": "ü" * (6144 - len('{"pad":""}'))}
    assert (await client.post(path, AT, body=fits)).status == 200
    reply = await client.post(path, AT, body={"pad": fits["pad"] + "x"})
    assert reply.status == 400
    assert reply.json == {"error_code": 30109, "error": "context size nonsupport", "pass_through": True}


async def test_a_refusal_for_size_names_the_limit_and_is_logged(start: Any) -> None:
    client = start(limits=EdgeLimits(callback_chars=100, submit_chars=50))
    with capture_logs() as logs:
        reply = await client.post(FINISH, AT, body={"pad": "x" * 100})
        assert reply.json["error"] == (
            "context size nonsupport: more than 100 characters (rill.callback_limit_chars)"
        )
        reply = await client.post(SUBMIT, ONE, body={"pad": "x" * 50})
        assert reply.json["error"].endswith("more than 50 characters (rill.submit_limit_chars)")
    told = [one for one in logs if one["event"] == "a payload is too large"]
    assert [(one["path"], one["task"]) for one in told] == [(FINISH, "shrink"), (SUBMIT, None)]
    assert told[0]["execution_id"] == "media:thumb_c_1"


@pytest.mark.parametrize("path", [FINISH, TRIGGER, WAKEUP])
async def test_a_payload_may_be_as_large_as_a_body(client: Any, path: str) -> None:
    large = {"pad": "x" * 4_000_000}
    assert (await client.post(path, AT, body=large)).status == 200
    assert client.service.calls[0][3] == large


def test_strict_restores_the_limit_of_the_reference() -> None:
    assert callback_limit(RillSettings()) == ServerSettings().body_limit_bytes
    assert callback_limit(RillSettings(strict=True)) == REFERENCE_CALLBACK_CHARS
    assert callback_limit(RillSettings(strict=True, callback_limit_chars=100)) == 100


@pytest.mark.parametrize("path", [FINISH, TRIGGER, WAKEUP])
async def test_a_token_names_the_attempt_and_is_part_of_nothing_else(client: Any, path: str) -> None:
    for given in ({"token": "2.0f1e2d3c4b5a"}, {"token": " "}, {}):
        assert (await client.post(path, {**AT, **given}, body={"a": 1})).json == OK
    assert client.service.tokens == ["2.0f1e2d3c4b5a", None, None]
    assert {tuple(call[3]) for call in client.service.calls} == {("a",)}


@pytest.mark.parametrize("path", [FINISH, TRIGGER, WAKEUP])
async def test_a_completion_of_an_attempt_that_is_over_is_refused_with_the_reason(client: Any, path: str) -> None:
    client.service.error = AttemptOver("attempt 1 of shrink is over")
    reply = await client.post(path, {**AT, "token": "1.0f1e2d3c4b5a"}, body={})
    assert (reply.status, reply.json) == (500, {"error_code": 30601, "error": "attempt 1 of shrink is over"})


async def test_trigger_lays_the_context_over_the_body(client: Any) -> None:
    await client.post(TRIGGER, {**AT, "context": '{"a":2,"b":3}', "ts": "1", "sign": "x"}, body={"a": 1, "c": 4})
    assert client.service.calls == [("trigger", "media:thumb_c_1", "shrink", {"a": 2, "b": 3, "c": 4}, True)]


async def test_trigger_by_get_needs_nothing_else_and_ignores_a_broken_context(client: Any) -> None:
    assert (await client.get(TRIGGER, {**AT, "context": "{no", "status": "failed"})).json == OK
    assert client.service.calls == [("trigger", "media:thumb_c_1", "shrink", {}, False)]


@pytest.mark.parametrize(
    ("status", "result", "ignores", "success"),
    [
        (None, "FAILED", False, False),
        (None, "FAILED", True, True),
        ("success", "FAILED", False, True),
        ("FAIL", None, False, False),
        (None, None, False, True),
    ],
)
async def test_the_result_in_the_body_of_a_trigger_counts_without_a_status(
    start: Any, status: str | None, result: str | None, ignores: bool, success: bool
) -> None:
    client = start(trigger_ignores_body_result=ignores)
    query = {**AT, "status": status} if status else AT
    await client.post(TRIGGER, query, body={"result_type": result} if result else {})
    assert client.service.calls[0][-1] is success


@pytest.mark.parametrize("change", [{"execution_id": "x"}, {"task_name": "ghost"}])
async def test_trigger_of_something_unknown_is_a_400(client: Any, change: dict[str, str]) -> None:
    query = {**AT, **change}
    reply = await client.post(TRIGGER, query, body={})
    assert reply.status == 400
    assert reply.json["error"] == f"task not exists {query['execution_id']}:{query['task_name']}"


async def test_wakeup_passes_the_body_and_needs_a_task_name(client: Any) -> None:
    assert (await client.post(WAKEUP, AT, body={"a": 1})).json == OK
    assert client.service.calls == [("wakeup", "media:thumb_c_1", "shrink", {"a": 1})]
    reply = await client.post(WAKEUP, {**AT, "task_name": ""})
    assert (reply.status, reply.json["error"]) == (400, "task_name is empty")


# --- get


async def test_get_shows_a_running_flow(client: Any) -> None:
    view = (await client.get("/flow/get.json", {"execution_id": "media:thumb_c_1"})).json["ret"]
    tasks = view.pop("tasks")
    assert view == {
        "workspace": "media",
        "dag_name": "thumb",
        "version": "0.3",
        "type": "flow",
        "execution_id": "media:thumb_c_1",
        "dag_status": "RUNNING",
        "process": 50,
        "invoke_summary": {},
        "dag_invoke_msg": {"dag_execution_routes": [], "invoke_time_infos": [{"start_time": NOW}]},
        "context": {"url": "u", "flow_execution_id": "media:thumb_c_1"},
    }
    assert list(tasks) == ["probe", "shrink"]
    assert tasks["probe"]["status"] == "SUCCEEDED"
    assert tasks["probe"]["invoke_msg"] == {
        "input": {"url": "u"},
        "output": {"width": 9},
        "invoke_time_infos": [{"start_time": NOW, "end_time": NOW + 5}],
    }
    assert tasks["shrink"] == {
        "name": "shrink",
        "status": "NOT_STARTED",
        "contains_sub": False,
        "next": [],
        "task": {"name": "shrink", "category": "pass", "tolerance": False, "keyCallback": False},
    }


@pytest.mark.parametrize(
    ("status", "word"),
    [(FlowStatus.SUCCEED, "SUCCEED"), (FlowStatus.FAILED, "FAILED"), (FlowStatus.TERMINATED, "FAILED")],
)
async def test_a_finished_flow_is_at_100_percent(client: Any, status: FlowStatus, word: str) -> None:
    state = client.service.states["media:thumb_c_1"]
    state.status, state.code = status, "4001"
    view = (await client.get("/flow/get.json", {"execution_id": "media:thumb_c_1"})).json["ret"]
    assert (view["dag_status"], view["process"]) == (word, 100)
    assert view["dag_invoke_msg"]["code"] == ("terminated" if status is FlowStatus.TERMINATED else "4001")


async def test_a_paused_flow_says_so(client: Any) -> None:
    client.service.states["media:thumb_c_1"].is_paused = True
    view = (await client.get("/flow/get.json", {"execution_id": "media:thumb_c_1"})).json["ret"]
    assert (view["dag_status"], view["paused"]) == ("RUNNING", True)


async def test_an_unknown_execution_is_not_an_error(client: Any) -> None:
    nothing = {"tasks": "{}", "context": {}, "invoke_summary": {}}
    assert (await client.get("/flow/get.json", {"execution_id": "x"})).json == {"ret": nothing}
    assert (await client.get("/flow/get_context.json", {"execution_id": "x"})).json == {"ret": {}}
    background = await client.get("/flow/bg/get_execution.json", {"id": "x"})
    assert background.json == {"data": {**nothing, "trace_url": ""}, "message": "", "success": True}


@pytest.mark.parametrize("query", [None, {"execution_id": ""}])
async def test_get_context_without_an_id_is_a_soft_error(client: Any, query: Any) -> None:
    reply = await client.get("/flow/get_context.json", query)
    assert (reply.status, reply.json) == (200, {"code": -1, "msg": "executionId is empty!"})


async def test_a_trace_url_is_a_text_even_without_a_trace(start: Any, client: Any) -> None:
    reply = await client.get("/flow/bg/get_execution.json", {"id": "media:thumb_c_1"})
    assert reply.json["data"]["trace_url"] == ""
    traced = start(trace_query_host="http://trace")
    traced.service.states = client.service.states
    reply = await traced.get("/flow/bg/get_execution.json", {"id": "media:thumb_c_1"})
    assert reply.json["data"]["trace_url"] == "http://trace/trace/null"


# --- user, samples


async def test_login_always_succeeds_but_needs_a_body(client: Any) -> None:
    reply = await client.post("/flow/bg/user/login.json", body={"username": "a", "password": "b"})
    assert (reply.json["token"], reply.json["userId"]) == ("fakeToken1", "1")
    assert (await client.post("/flow/bg/user/login.json")).status == 422
    user = (await client.get("/flow/bg/user/currentUser.json")).json
    assert (user["homePath"], user["token"]) == ("/flow-definition/list", "fakeToken1")


async def test_the_sample_nodes_add_and_compare(client: Any) -> None:
    reply = await client.post("/flow/sample/start_node.json", body={"left": "20", "right": 22.5, "execution_id": "x"})
    assert reply.json == {"result_number": 42.5}
    reply = await client.post("/flow/sample/end_node.json", body={"result_number": 42, "expect_number": "42"})
    assert reply.json == {"result": True, "result_number": 42, "expect_number": 42}


@pytest.mark.parametrize("value", ["x", None, True, [1], "inf", "9" * 5000])
async def test_a_sample_node_names_the_field_that_is_no_number(client: Any, value: Any) -> None:
    reply = await client.post("/flow/sample/start_node.json", body={"left": 1, "right": value})
    assert (reply.status, reply.json["error"]) == (400, "'right' must be a number or a numeric string")
