"""The Dapr family on the wire (dapr-http-api 1 to 5, 10)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tornflow.api import EdgeLimits
from tornflow.api.dapr.sidecar import DAPR_VERSION
from tornflow.components import Component, Components
from tornflow.errors import ExecutionExists, ExecutionNotFinished, LimitExceeded
from tornflow.model.status import FlowStatus
from tornflow.spi.component import WorkflowBinding

ONE = "/v1.0/workflows/dapr/media:thumb_c_1"
START = "/v1.0/workflows/dapr/ship_order/start"
NOBODY = {
    "errorCode": "ERR_DIRECT_INVOKE",
    "message": "failed getting app id either from the URL path or the header dapr-app-id",
}


@pytest.mark.parametrize("prefix", ["v1.0", "v1.0-beta1", "v1.0-alpha1"])
@pytest.mark.parametrize("port", ["rill", "dapr"])
async def test_start_is_served_under_three_prefixes_on_both_ports(start: Any, prefix: str, port: str) -> None:
    client = start(port=port)
    reply = await client.post(
        f"/{prefix}/workflows/dapr/ship_order/start", {"instanceID": "order-17"}, body=b'{"a": 1 }'
    )
    assert (reply.status, reply.body) == (202, b'{"instanceID":"order-17"}')
    assert reply.headers["Content-Type"] == "application/json"
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert client.service.calls == [("start_workflow", "ship_order", "order-17", '{"a": 1 }', "dapr")]


@pytest.mark.parametrize("query", [None, {"instanceID": ""}])
async def test_the_server_makes_an_id_when_none_is_given(client: Any, query: Any) -> None:
    reply = await client.post(START, query)
    assert (reply.status, len(reply.json["instanceID"])) == (202, 36)
    assert client.service.calls[0][2:4] == (None, "")


@pytest.mark.parametrize(
    "media", [None, "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"]
)
async def test_the_input_is_taken_byte_by_byte(client: Any, media: str | None) -> None:
    body = ' {"a" : "ü&instanceID=x"} '
    assert (await client.post(START, {"instanceID": "a"}, body=body, media=media)).status == 202
    assert client.service.calls[0][2:4] == ("a", body)


@pytest.mark.parametrize("instance_id", ["a" * 64, "测试-1", "A_b-9", "٣"])
async def test_ids_of_letters_digits_dash_and_underscore_may_start(client: Any, instance_id: str) -> None:
    assert (await client.post(START, {"instanceID": instance_id})).json == {"instanceID": instance_id}


@pytest.mark.parametrize("instance_id", ["a" * 65, "测" * 22])
async def test_a_too_long_id_is_refused(client: Any, instance_id: str) -> None:
    reply = await client.post(START, {"instanceID": instance_id})
    assert reply.status == 400
    assert reply.json == {
        "errorCode": "ERR_INSTANCE_ID_TOO_LONG",
        "message": "workflow instance ID exceeds the max length of 64 characters",
    }


@pytest.mark.parametrize("instance_id", ["a.b", "a b", "a|b", "a:b", " ", "½", "a/b"])
async def test_an_id_with_other_characters_is_refused(client: Any, instance_id: str) -> None:
    reply = await client.post(START, {"instanceID": instance_id})
    assert reply.status == 400
    rule = "only alphanumeric and underscore characters are allowed"
    message = f"workflow instance ID '{instance_id}' is invalid: {rule}"
    assert reply.json == {"errorCode": "ERR_INSTANCE_ID_INVALID", "message": message}
    assert client.service.calls == []


async def test_an_id_in_use_says_so(client: Any) -> None:
    client.service.states["busy"] = client.service.states["media:thumb_c_1"]
    reply = await client.post(START, {"instanceID": "busy"})
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_START_WORKFLOW")
    assert reply.json["message"] == (
        "error starting workflow 'ship_order': unable to start workflow: failed to start workflow: rpc error: "
        "code = AlreadyExists desc = an active workflow with ID 'busy' already exists"
    )


async def test_input_that_is_not_utf8_creates_nothing(client: Any) -> None:
    reply = await client.post(START, body=b"\xff")
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_START_WORKFLOW")
    assert client.service.calls == []
    reply = await client.post(ONE + "/raiseEvent/e", body=b"\xff")
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_RAISE_EVENT_WORKFLOW")


@pytest.mark.parametrize("body", [b"[" * 300 + b"]" * 300, b'{"a":"\\ud800","n":1234567890123456789012}'])
@pytest.mark.parametrize("path", [START, ONE + "/raiseEvent/e"])
async def test_json_that_could_not_be_written_again_creates_nothing(client: Any, path: str, body: bytes) -> None:
    reply = await client.post(path, body=body)
    assert reply.status == 500
    assert reply.json["errorCode"] == ("ERR_START_WORKFLOW" if path == START else "ERR_RAISE_EVENT_WORKFLOW")
    assert "JSON parse error" in reply.json["message"]
    assert client.service.calls == []


async def test_text_with_many_brackets_is_still_text(client: Any) -> None:
    assert (await client.post(START, body=b"[" * 300)).status == 202
    assert client.service.calls[0][3] == "[" * 300


async def test_get_shows_the_instance_in_the_published_order(client: Any) -> None:
    state = client.service.states["media:thumb_c_1"]
    state.workflow_name, state.raw_input, state.created_at = "ship_order", '{"a": 1 }', 1_718_600_000_000
    reply = await client.get(ONE)
    assert reply.status == 200
    assert list(reply.json.items()) == [
        ("instanceID", "media:thumb_c_1"),
        ("workflowName", "ship_order"),
        ("createdAt", "2024-06-17T04:53:20Z"),
        ("lastUpdatedAt", "2024-06-17T04:53:21Z"),
        ("runtimeStatus", "RUNNING"),
        ("properties", {"dapr.workflow.input": '{"a": 1 }'}),
    ]


async def test_an_execution_of_the_other_family_has_no_input(client: Any) -> None:
    view = (await client.get(ONE)).json
    assert (view["workflowName"], view["createdAt"]) == ("media:thumb", "2024-06-17T04:53:20.123Z")
    assert "properties" not in view


async def test_an_empty_input_is_present(client: Any) -> None:
    client.service.states["media:thumb_c_1"].raw_input = ""
    assert (await client.get(ONE)).json["properties"] == {"dapr.workflow.input": ""}


@pytest.mark.parametrize(
    ("status", "is_paused", "word"),
    [
        (FlowStatus.NOT_STARTED, False, "PENDING"),
        (FlowStatus.RUNNING, True, "SUSPENDED"),
        (FlowStatus.KEY_SUCCEED, False, "RUNNING"),
        (FlowStatus.TERMINATED, True, "TERMINATED"),
    ],
)
async def test_statuses_have_their_words(client: Any, status: FlowStatus, is_paused: bool, word: str) -> None:
    state = client.service.states["media:thumb_c_1"]
    state.status, state.is_paused = status, is_paused
    view = (await client.get(ONE)).json
    assert view["runtimeStatus"] == word
    assert "properties" not in view


async def test_a_completed_instance_shows_its_context_as_output(client: Any) -> None:
    state = client.service.states["media:thumb_c_1"]
    state.status, state.context = FlowStatus.SUCCEED, {"n": 2**70, "t": "ü"}
    view = (await client.get(ONE)).json
    assert view["runtimeStatus"] == "COMPLETED"
    assert view["properties"] == {"dapr.workflow.output": f'{{"n":{2**70},"t":"ü"}}'}


@pytest.mark.parametrize(
    ("error_type", "expected"), [("WorkflowNotRegistered", "WorkflowNotRegistered"), (None, "4001")]
)
async def test_a_failed_instance_shows_type_and_message(client: Any, error_type: str | None, expected: str) -> None:
    state = client.service.states["media:thumb_c_1"]
    state.status, state.code, state.msg, state.error_type = FlowStatus.FAILED, "4001", "no stock", error_type
    assert (await client.get(ONE)).json["properties"] == {
        "dapr.workflow.failure.error_message": "no stock",
        "dapr.workflow.failure.error_type": expected,
    }


# --- commands


async def test_a_command_is_answered_with_two_bytes(client: Any) -> None:
    for name in ("pause", "terminate"):
        for body in (b"", b"{}", b'{"anything":[1]}', b'{"instanceID":"x","instanceId":5}'):
            reply = await client.post(f"{ONE}/{name}/", body=body)
            assert (reply.status, reply.body) == (202, b"{}")
        assert client.service.calls[-1] == (name, "media:thumb_c_1")


@pytest.mark.parametrize(
    "body", [b"hello", b"[]", b'"x"', b"7", b'{"instanceID":5}', b'{"workflow_component":{}}', b"\xff"]
)
@pytest.mark.parametrize("name", ["pause", "resume", "terminate", "purge"])
async def test_a_command_refuses_a_body_that_is_no_message(client: Any, name: str, body: bytes) -> None:
    reply = await client.post(f"{ONE}/{name}", body=body)
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")
    assert reply.json["message"].startswith("failed deserializing HTTP body: ")
    assert client.service.calls == []


async def test_get_refuses_a_malformed_body(client: Any) -> None:
    assert (await client.get(ONE, body=b"hello")).json["errorCode"] == "ERR_MALFORMED_REQUEST"


@pytest.mark.parametrize("name", ["get", "terminate", "purge"])
async def test_a_missing_instance_is_404_for_three_operations(client: Any, name: str) -> None:
    path = "/v1.0/workflows/dapr/a%3Ab%7Cc%20d%40e"
    reply = await (client.get(path) if name == "get" else client.post(f"{path}/{name}"))
    assert reply.status == 404
    assert reply.json == {
        "errorCode": "ERR_INSTANCE_ID_NOT_FOUND",
        "message": "unable to find workflow with the provided instance ID: a:b|c d@e",
    }


MISSING = {
    "raiseEvent/go": (
        "ERR_RAISE_EVENT_WORKFLOW",
        "error raising event on workflow 'x': failed to raise event go on workflow x: ",
    ),
    "pause": (
        "ERR_PAUSE_WORKFLOW",
        "error pausing workflow x: failed to pause workflow x: failed to suspend workflow: ",
    ),
    "resume": (
        "ERR_RESUME_WORKFLOW",
        "error resuming workflow x: failed to resume workflow x: failed to resume workflow: ",
    ),
}


@pytest.mark.parametrize("name", list(MISSING))
async def test_a_missing_instance_is_500_for_the_others_unless_switched(start: Any, name: str) -> None:
    code, words = MISSING[name]
    reply = await start().post(f"/v1.0/workflows/dapr/x/{name}")
    assert (reply.status, reply.json["errorCode"]) == (500, code)
    assert reply.json["message"].startswith(words)
    assert reply.json["message"].endswith("no such instance exists")
    reply = await start(missing_instance_is_404=True).post(f"/v1.0/workflows/dapr/x/{name}")
    assert (reply.status, reply.json["errorCode"]) == (404, "ERR_INSTANCE_ID_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"", None),
        (b"null", None),
        (b'{"by": "lin", "n": 1e2}', {"by": "lin", "n": 100.0}),
        (b'"text"', "text"),
        (b"plain text", "plain text"),
        (b" ", " "),
        (b"{broken", "{broken"),
        (b"1" * 40, int("1" * 40)),
    ],
)
async def test_the_payload_of_an_event_is_json_or_else_text(client: Any, body: bytes, payload: Any) -> None:
    reply = await client.post(f"{ONE}/raiseEvent/odd%20name%2F%C3%BC+x", body=body)
    assert (reply.status, reply.body) == (202, b"{}")
    assert client.service.calls == [("raise_event", "media:thumb_c_1", "odd name/ü x", payload)]


async def test_too_many_events_are_refused_with_the_reason(client: Any) -> None:
    client.service.error = LimitExceeded("1000 events wait to be taken")
    reply = await client.post(f"{ONE}/raiseEvent/go")
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_RAISE_EVENT_WORKFLOW")
    assert reply.json["message"].endswith(": 1000 events wait to be taken")


async def test_purging_something_unfinished_says_so(client: Any) -> None:
    client.service.error = ExecutionNotFinished("still running")
    reply = await client.post(f"{ONE}/purge")
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_PURGE_WORKFLOW")
    assert reply.json["message"].endswith("orchestration has not yet completed")


async def test_a_start_waits_for_the_children_of_the_former_life(client: Any) -> None:
    client.service.error = ExecutionExists("its child runs", reason="children", child="one:2")
    reply = await client.post(START, {"instanceID": "one"})
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_START_WORKFLOW")
    assert reply.json["message"] == (
        "error starting workflow 'ship_order': unable to start workflow: failed to start workflow: rpc error:"
        " code = AlreadyExists desc = cannot recreate workflow with ID 'one': child workflow 'one:2':"
        " orchestration has not yet completed"
    )


async def test_an_unexpected_error_is_logged_and_not_shown(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    client.service.error = KeyError("secret detail")
    reply = await client.post(START)
    assert (reply.status, reply.json) == (500, {"errorCode": "ERROR", "message": "internal server error"})
    assert "secret detail" in caplog.text


# --- paths


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", START),
        ("DELETE", ONE),
        ("OPTIONS", START),
        ("HEAD", ONE),
        ("GET", ONE + "/pause"),
        ("POST", ONE + "/Pause"),
        ("POST", ONE),
        ("POST", ONE + "/raiseEvent"),
        ("POST", "/v1.0/workflows/dapr//terminate"),
        ("GET", "/v1.0"),
        ("GET", "/v1.0/nope/a/b"),
        ("GET", "/v1.0-beta1/healthz"),
        ("BREW", START),
    ],
)
async def test_unknown_routes_and_wrong_methods_are_404(client: Any, method: str, path: str) -> None:
    reply = await client.ask(method, path)
    assert reply.status == 404
    if method != "HEAD":
        assert reply.json == NOBODY


async def test_the_dapr_port_speaks_nothing_else(start: Any) -> None:
    client = start(port="dapr")
    for path in ("/", "/flow/get.json", "/healthz"):
        reply = await client.get(path)
        assert (reply.status, reply.json) == (404, NOBODY)


async def test_repeated_slashes_collapse_and_a_trailing_one_is_tolerated(client: Any) -> None:
    assert (await client.get("//v1.0//workflows/dapr///media:thumb_c_1//")).status == 200


@pytest.mark.parametrize(
    "path", ["workflows/dapr/%zz/pause", "workflows/dapr/a%/pause", "workflows/dapr/%ff%f/start", "nothing/%zz", "%"]
)
async def test_a_malformed_escape_is_plain_text(client: Any, path: str) -> None:
    reply = await client.post(f"/v1.0/{path}")
    assert reply.status == 400
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert reply.body.startswith(b"failed to unescape request parameter")


@pytest.mark.parametrize(
    ("app_id", "status", "code"),
    [
        ("", 200, ""),
        ("tornflow", 200, ""),
        ("other-ü_1", 500, "ERR_GET_WORKFLOW"),
        ("a b", 400, "ERR_WORKFLOW_APP_ID_INVALID"),
    ],
)
async def test_only_the_own_app_id_is_served(client: Any, app_id: str, status: int, code: str) -> None:
    reply = await client.get(ONE, {"appID": app_id})
    assert (reply.status, reply.json.get("errorCode", "")) == (status, code)


async def test_a_strict_component_file_makes_unknown_names_an_error(start: Any) -> None:
    for is_strict, status in ((True, 400), (False, 202)):
        binding = WorkflowBinding(is_strict=is_strict)
        client = start(components=Components((Component("billing", "workflow.rill", binding=binding),)))
        assert (await client.post("/v1.0/workflows/other/x/start")).status == status
        assert (await client.post("/v1.0/workflows/billing/x/start")).status == 202
        assert (await client.post("/v1.0/workflows/dapr/x/start")).status == 202


async def test_a_too_large_body_is_a_body_read_error(start: Any) -> None:
    client = start(limits=EdgeLimits(body_bytes=1000))
    reply = await client.post(START, body=b"x" * 1001)
    assert reply.status == 400
    assert reply.json == {"errorCode": "ERR_BODY_READ", "message": "failed to read request body: stream too large"}
    assert (await client.post(START, body=b"x" * 1000)).status == 202


# --- sidecar


async def test_health_follows_readiness(start: Any) -> None:
    ready = start(port="dapr")
    for path in ("/v1.0/healthz", "/v1.0/healthz/outbound"):
        reply = await ready.get(path)
        assert (reply.status, reply.body) == (204, b"")
    draining = start(port="dapr", is_ready=lambda: "draining")
    reply = await draining.get("/v1.0/healthz")
    assert (reply.status, reply.json) == (
        500,
        {"errorCode": "ERR_HEALTH_NOT_READY", "message": "dapr is not ready: draining"},
    )
    reply = await draining.get("/v1.0/healthz/outbound")
    assert (reply.status, reply.json["errorCode"]) == (500, "ERR_OUTBOUND_HEALTH_NOT_READY")
    assert (await ready.get("/v1.0/healthz", {"appid": "tornflow"})).status == 204
    assert (await ready.get("/v1.0/healthz", {"appid": "x"})).json["errorCode"] == "ERR_HEALTH_APPID_NOT_MATCH"


async def test_metadata_names_app_and_components(start: Any) -> None:
    loaded = Components((Component("vault", "secretstores.local.env", ""), Component("billing", "workflow.rill")))
    reply = await start(version="1.2", components=loaded).get("/v1.0/metadata")
    assert reply.json == {
        "id": "tornflow",
        "runtimeVersion": DAPR_VERSION,
        "extended": {"daprRuntimeVersion": DAPR_VERSION, "tornflowVersion": "1.2"},
        "components": [
            {"name": "vault", "type": "secretstores.local.env"},
            {"name": "billing", "type": "workflow.rill", "version": "v1"},
        ],
        "workflows": {"connectedWorkers": 0},
    }


@pytest.mark.parametrize("port", ["rill", "dapr"])
async def test_a_token_is_asked_for_before_routing(start: Any, port: str) -> None:
    client = start(port=port, dapr_api_token="s3cret")
    for method, path in (
        ("GET", ONE),
        ("OPTIONS", START),
        ("GET", "/v1.0/nope"),
        ("POST", "/v1.0/healthz"),
        ("GET", "/v1.0/metadata"),
    ):
        reply = await client.ask(method, path)
        assert (reply.status, reply.body) == (401, b"invalid api token\n")
        assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert (await client.get("/v1.0/healthz")).status == 204
    assert (await client.get("/v1.0/metadata", headers={"dapr-api-token": "s3cret"})).status == 200
    assert (await client.get("/v1.0/metadata", headers={"dapr-api-token": "other"})).status == 401


async def test_every_error_has_exactly_two_members(client: Any) -> None:
    for path in ("/v1.0/workflows/dapr/x", "/v1.0/x"):
        assert set(json.loads((await client.get(path)).body)) == {"errorCode", "message"}
