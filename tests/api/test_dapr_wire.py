"""What a client of the Dapr family may send that ordinary clients do not (dapr-http-api 1.2, 2.1, 10.2)."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tornflow.api import EdgeLimits
from tornflow.api.dapr import sidecar

ONE = "/v1.0/workflows/dapr/media:thumb_c_1"
START = "/v1.0/workflows/dapr/ship_order/start"


async def talk(base: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read to the end of the connection; return status, headers (lower case) and body."""
    address = urlsplit(base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            raw = await reader.read()
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, body


def request(method: str, target: str, *headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


# --- bytes that are no text


@pytest.mark.parametrize(("query", "shown"), [("%FF", "�"), ("a%C3b", "a�b")])
async def test_an_id_to_start_that_is_not_utf8_is_invalid(client: Any, query: str, shown: str) -> None:
    reply = await client.post(f"{START}?instanceID={query}")
    assert (reply.status, reply.headers["Content-Type"]) == (400, "application/json")
    assert set(reply.json) == {"errorCode", "message"}
    assert reply.json["errorCode"] == "ERR_INSTANCE_ID_INVALID"
    assert reply.json["message"].startswith(f"workflow instance ID '{shown}' is invalid: ")
    assert client.service.calls == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1.0/workflows/dapr/nobody", 404, "ERR_INSTANCE_ID_NOT_FOUND"),
        ("POST", "/v1.0/workflows/dapr/nobody/pause", 500, "ERR_PAUSE_WORKFLOW"),
        ("POST", "/v1.0/workflows/dapr/nobody/purge", 404, "ERR_INSTANCE_ID_NOT_FOUND"),
        ("GET", "/v1.0/nothing", 404, "ERR_DIRECT_INVOKE"),
        ("PUT", START, 404, "ERR_DIRECT_INVOKE"),
    ],
)
async def test_elsewhere_such_an_id_is_as_if_it_were_not_there(
    client: Any, method: str, path: str, status: int, code: str
) -> None:
    reply = await client.ask(method, path + "?instanceID=%FF")
    assert (reply.status, reply.json["errorCode"]) == (status, code)
    plain = await client.ask(method, path)
    assert (plain.status, plain.body) == (reply.status, reply.body)


@pytest.mark.parametrize("name", ["get", "terminate", "raiseEvent/e", "pause", "resume", "purge", "start"])
async def test_an_app_id_that_is_not_utf8_is_invalid(client: Any, name: str) -> None:
    path = START if name == "start" else ONE if name == "get" else f"{ONE}/{name}"
    reply = await client.ask("GET" if name == "get" else "POST", path + "?appID=%FF")
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_WORKFLOW_APP_ID_INVALID")
    assert client.service.calls == []


@pytest.mark.parametrize("app_id", ["½", "a²", "a.b"])
async def test_digits_of_an_app_id_are_decimal_ones(client: Any, app_id: str) -> None:
    assert (await client.get(ONE, {"appID": app_id})).json["errorCode"] == "ERR_WORKFLOW_APP_ID_INVALID"


@pytest.mark.parametrize(
    ("segment", "shown"), [("%FF", "�"), ("%2525", "%25"), ("%25zz", "%zz"), ("x%2Fy", "x/y"), ("a+b", "a b")]
)
async def test_path_parameters_are_decoded_once(client: Any, segment: str, shown: str) -> None:
    reply = await client.get(f"/v1.0/workflows/dapr/{segment}")
    assert reply.status == 404
    assert reply.json["message"] == f"unable to find workflow with the provided instance ID: {shown}"


async def test_the_first_of_two_ids_wins_and_a_malformed_one_gets_an_answer(client: Any) -> None:
    assert (await client.post(START + "?instanceID=one&instanceID=two")).json == {"instanceID": "one"}
    for query in ("%zz", "a;b"):
        reply = await client.post(f"{START}?instanceID={query}")
        assert (reply.status, reply.json["errorCode"]) == (400, "ERR_INSTANCE_ID_INVALID")


# --- request lines and heads


@pytest.mark.parametrize("port", ["rill", "dapr"])
@pytest.mark.parametrize("target", ["http://host:1/v1.0/metadata", "HTTP://a@[::1]:2/v1.0//metadata/?instanceID=%FF"])
async def test_an_absolute_target_is_served_like_its_path(start: Any, port: str, target: str) -> None:
    status, headers, body = await talk(start(port=port).base, request("GET", target))
    assert (status, headers["content-type"], json.loads(body)["id"]) == (200, "application/json", "tornflow")


async def test_an_absolute_target_without_a_path_is_the_root(start: Any) -> None:
    base = start().base
    assert (await talk(base, request("GET", "http://host")))[::2] == (await talk(base, request("GET", "/")))[::2]
    status, _, body = await talk(start(port="dapr").base, request("GET", "http://host?x=1"))
    assert (status, json.loads(body)["errorCode"]) == (404, "ERR_DIRECT_INVOKE")


@pytest.mark.parametrize("size", [70_000, 3_000_000])
async def test_too_large_headers_are_431(start: Any, size: int) -> None:
    asked = [request("GET", "/v1.0/metadata", f"X-Large: {'x' * size}"), request("GET", f"/v1.0/{'x' * size}")]
    base = start(port="dapr").base
    for one in asked:
        status, headers, body = await talk(base, one)
        assert (status, body) == (431, b"431 Request Header Fields Too Large")
        assert (headers["content-type"], headers["connection"]) == ("text/plain; charset=utf-8", "close")
    assert (await talk(base, request("GET", "/v1.0/metadata", f"X-Large: {'x' * 30_000}")))[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1.0/metadata HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v1.0/metadata HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1.0/workflows/dapr/x/pause HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
        b"POST /v1.0/workflows/dapr/x/pause HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n",
        b"POST /v1.0/workflows/dapr/x/pause HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_request_that_is_no_http_gets_an_answer_with_a_body(start: Any, raw: bytes) -> None:
    status, headers, body = await talk(start(port="dapr").base, raw)
    assert (status, body) == (400, b"400 Bad Request")
    assert headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_malformed_escape_is_told_to_everybody(start: Any) -> None:
    client = start(port="dapr", dapr_api_token="s3cret")
    reply = await client.get("/v1.0/workflows/dapr/%zz", headers={"dapr-api-token": "s3cret"})
    assert (reply.status, reply.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert reply.body == b"failed to unescape request parameter /v1.0/workflows/dapr/%zz\n"


async def test_the_token_may_have_any_characters(start: Any) -> None:
    base = start(port="dapr", dapr_api_token="schlüssel").base
    right = request("GET", "/v1.0/metadata", "dapr-api-token: " + "schlüssel".encode().decode("latin-1"))
    assert (await talk(base, right))[0] == 200
    assert (await talk(base, request("GET", "/v1.0/metadata", "dapr-api-token: schlüssel")))[0] == 401


# --- bodies


async def test_chunks_and_a_length_are_equal(client: Any) -> None:
    head = request("POST", START + "?instanceID=chunked", "Transfer-Encoding: chunked")
    status, _, body = await talk(client.base, head + b'3\r\n{"a\r\n6\r\n": 1 }\r\n0\r\n\r\n')
    assert (status, json.loads(body)) == (202, {"instanceID": "chunked"})
    assert client.service.calls[-1][3] == '{"a": 1 }'


async def test_the_limit_holds_for_every_operation(start: Any) -> None:
    client = start(limits=EdgeLimits(body_bytes=1000))
    for name in ("terminate", "raiseEvent/e", "pause", "resume", "purge"):
        reply = await client.post(f"{ONE}/{name}", body=b"x" * 1001)
        assert (reply.status, reply.json["errorCode"]) == (400, "ERR_BODY_READ")
    assert client.service.calls == []


async def test_the_checks_of_a_start_have_an_order(client: Any) -> None:
    """Id before app id, both before the engine, all before anything is stored (dapr-http-api 2.4)."""
    both = await client.post(START, {"instanceID": "a.b", "appID": "a b"}, body=b"\xff")
    assert both.json["errorCode"] == "ERR_INSTANCE_ID_INVALID"
    app = await client.post(START, {"instanceID": "a", "appID": "a b"}, body=b"\xff")
    assert app.json["errorCode"] == "ERR_WORKFLOW_APP_ID_INVALID"
    malformed = await client.post(f"{ONE}/pause", {"appID": "a b"}, body=b"hello")
    assert malformed.json["errorCode"] == "ERR_MALFORMED_REQUEST"
    assert client.service.calls == []


# --- the metadata page


async def test_entries_of_clients_stand_on_the_metadata_page(client: Any) -> None:
    for key, text in (("colour", "red"), ("colour", "blue"), ("empty", ""), ("a%20b", "ü"), ("x%2Fy", "1")):
        reply = await client.ask("PUT", f"/v1.0/metadata/{key}", body=text.encode())
        assert (reply.status, reply.body) == (204, b"")
    extended = (await client.get("/v1.0/metadata")).json["extended"]
    assert extended["colour"] == "blue"
    assert (extended["empty"], extended["a b"], extended["x/y"]) == ("", "ü", "1")


async def test_our_own_entries_keep_their_values(start: Any) -> None:
    client = start(version="1.2")
    for key in ("daprRuntimeVersion", "tornflowVersion"):
        assert (await client.ask("PUT", f"/v1.0/metadata/{key}", body=b"mine")).status == 204
    extended = (await client.get("/v1.0/metadata")).json["extended"]
    assert extended == {"daprRuntimeVersion": sidecar.DAPR_VERSION, "tornflowVersion": "1.2"}


async def test_an_entry_has_no_page_of_its_own(client: Any) -> None:
    for method, path in (
        ("GET", "/v1.0/metadata/a"),
        ("DELETE", "/v1.0/metadata/a"),
        ("POST", "/v1.0/metadata"),
        ("PUT", "/v1.0/metadata"),
        ("PUT", "/v1.0/metadata/a/b"),
        ("PUT", "/v1.0-beta1/metadata/a"),
    ):
        reply = await client.ask(method, path)
        assert (reply.status, reply.json["errorCode"]) == (404, "ERR_DIRECT_INVOKE"), (method, path)


async def test_the_entries_are_bounded(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar, "ENTRIES_CHARS", 100)
    assert (await client.ask("PUT", "/v1.0/metadata/a", body=b"x" * 99)).status == 204
    assert (await client.ask("PUT", "/v1.0/metadata/a", body=b"y" * 99)).status == 204  # in its place
    reply = await client.ask("PUT", "/v1.0/metadata/b", body=b"")
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_BODY_READ")
    assert "100 characters" in reply.json["message"]
