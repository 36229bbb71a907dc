"""What callers hear from a server that is starting, draining or overloaded, or whose store has failed."""

from __future__ import annotations

from typing import Any

import pytest

from tornflow.errors import AdmissionRefused, IdempotencyKeyReused, ServerNotReady, StorageUnavailable

SUBMIT, COMPLETE = "/flow/submit.json", "/flow/complete.json"
START = "/v1.0/workflows/dapr/ship_order/start"
AT = {"execution_id": "media:thumb_c_1", "task_name": "shrink"}
ONE = {"descriptor_id": "media:thumb"}
CLOSED = "the server is starting: nothing was done, try again"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", SUBMIT),
        ("GET", "/2/flow/get.json"),
        ("POST", "/flow/finish.json"),
        ("POST", COMPLETE),
        ("POST", "/flow/sample/start_node.json"),
        ("GET", "/flow/service_check.json"),
        ("GET", "/no/such/path"),
    ],
)
async def test_a_closed_server_answers_nothing_before_it_looks_at_the_request(
    start: Any, method: str, path: str
) -> None:
    client = start(closed=lambda: "starting")
    for body in ("{broken", "x" * 5_000_000) if method == "POST" else (None,):
        reply = await client.ask(method, path, body=body)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert reply.json == {"error_code": 30101, "error": CLOSED}
    assert client.service.calls == []


@pytest.mark.parametrize("port", ["rill", "dapr"])
async def test_a_closed_server_answers_dapr_clients_in_their_words(start: Any, port: str) -> None:
    client = start(closed=lambda: "draining", port=port)
    for path, code, subject in (
        (START, "ERR_START_WORKFLOW", "error starting workflow 'ship_order': "),
        ("/v1.0-beta1/workflows/dapr/one/pause", "ERR_PAUSE_WORKFLOW", "error pausing workflow one: "),
        ("/v1.0/nope", "ERROR", ""),
    ):
        reply = await client.post(path)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        message = f"{subject}the server is draining: nothing was done, try again"
        assert reply.json == {"errorCode": code, "message": message}
    assert (await client.get("/v1.0/metadata")).status == 503
    assert client.service.calls == []


async def test_a_closed_server_answers_our_own_paths_too(start: Any) -> None:
    reply = await start(closed=lambda: "starting").get("/api/executions")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json == {"code": "server_not_ready", "message": CLOSED}


async def test_probes_and_pages_are_answered_by_a_closed_server(start: Any) -> None:
    client = start(closed=lambda: "starting", is_ready=lambda: "starting")
    for path in ("/healthz", "/metrics", "/actuator/prometheus", "/openapi.json", "/swagger-ui.html"):
        assert (await client.get(path)).status == 200, path
    assert (await client.get("/readyz")).json == {"status": "not ready", "reason": "starting"}
    for path in ("/v1.0/healthz", "/v1.0/healthz/outbound"):
        assert (await client.get(path)).status == 500
    assert (await client.ask("HEAD", "/healthz")).status == 200


async def test_a_server_that_opens_is_open_for_the_next_request(start: Any) -> None:
    reasons = ["starting"]
    client = start(closed=lambda: reasons[0])
    assert (await client.get("/flow/service_check.json")).status == 503
    reasons[0] = ""
    assert (await client.get("/flow/service_check.json")).status == 200


@pytest.mark.parametrize("error", [AdmissionRefused("100000 tasks wait"), ServerNotReady("the server is draining")])
async def test_who_asks_too_early_or_too_much_is_told_to_come_again(client: Any, error: Exception) -> None:
    client.service.error = error
    for path, query in ((SUBMIT, ONE), ("/flow/finish.json", AT)):
        reply = await client.post(path, query, body={})
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert reply.json == {"error_code": 30101, "error": str(error)}
    reply = await client.post(START)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json["errorCode"] == "ERR_START_WORKFLOW"
    assert reply.json["message"].endswith(f": {error}")


async def test_a_key_of_another_flow_is_refused_in_the_familys_words(client: Any) -> None:
    client.service.error = IdempotencyKeyReused("the Idempotency-Key belongs to a submission of media:other")
    reply = await client.post(SUBMIT, ONE, body={}, headers={"Idempotency-Key": "k"})
    assert reply.status == 400
    assert reply.json == {
        "error_code": 30109,
        "error": "the Idempotency-Key belongs to a submission of media:other",
        "pass_through": True,
    }


# --- a store that fails


async def test_a_store_that_took_nothing_says_so(client: Any) -> None:
    client.service.error = StorageUnavailable("disk full")
    reply = await client.post(SUBMIT, ONE, body={})
    text = "storage unavailable: disk full; nothing was stored, try again"
    assert (reply.status, reply.json) == (500, {"error_code": 30101, "error": text})
    reply = await client.post(START)
    assert reply.json == {
        "errorCode": "ERR_START_WORKFLOW",
        "message": f"error starting workflow 'ship_order': {text}",
    }


@pytest.mark.parametrize(
    ("path", "query", "details", "look"),
    [
        ("/flow/finish.json", AT, {}, "ask GET /flow/get.json?execution_id=media:thumb_c_1"),
        (COMPLETE, {"execution_id": " a&b "}, {}, "ask GET /flow/get.json?execution_id=a%26b"),
        (SUBMIT, ONE, {"execution_id": "media:thumb_c_2"}, "ask GET /flow/get.json?execution_id=media:thumb_c_2"),
        (SUBMIT, ONE, {}, "submit again with the same Idempotency-Key"),
    ],
)
async def test_an_unknown_outcome_says_how_to_find_out(
    client: Any, path: str, query: dict[str, str], details: dict[str, str], look: str
) -> None:
    client.service.error = StorageUnavailable("no answer", is_unknown=True, **details)
    reply = await client.post(path, query, body={})
    assert (reply.status, reply.json["error_code"]) == (500, 30101)
    assert reply.json["error"].startswith(f"storage unavailable: no answer; outcome unknown: {look}")


@pytest.mark.parametrize(
    ("path", "query", "look"),
    [
        (START, {"instanceID": "one"}, "ask GET /v1.0/workflows/dapr/one"),
        ("/v1.0/workflows/a%2Fb/media:thumb_c_1/pause", {}, "ask GET /v1.0/workflows/a%2Fb/media:thumb_c_1"),
        (START, {}, "look whether it took effect before you try again"),
    ],
)
async def test_an_unknown_outcome_tells_dapr_clients_where_to_look(
    client: Any, path: str, query: dict[str, str], look: str
) -> None:
    client.service.error = StorageUnavailable("no answer", is_unknown=True)
    reply = await client.post(path, query)
    assert reply.status == 500
    assert reply.json["message"].endswith(f": storage unavailable: no answer; outcome unknown: {look}")


async def test_completing_by_force_tells_a_refusal_from_a_store_that_failed(client: Any) -> None:
    query = {"execution_id": "media:thumb_c_1"}
    assert (await client.post(COMPLETE, query)).json == {"code": "0", "message": "success"}
    reply = await client.post(COMPLETE, {"execution_id": "x"})
    assert (reply.status, reply.json) == (200, {"code": "-1", "message": "executionId not found x"})
    client.service.error = StorageUnavailable("disk full")
    reply = await client.post(COMPLETE, query)
    assert (reply.status, reply.json["error_code"]) == (500, 30101)
    assert reply.json["error"].endswith("nothing was stored, try again")
