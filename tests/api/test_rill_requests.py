"""How the Rill family reads requests and words errors (rill-http-api 2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tornflow.api import EdgeLimits
from tornflow.errors import LimitExceeded, MalformedCallback, TaskFinished

SUBMIT = "/flow/submit.json"
ONE = {"descriptor_id": "media:thumb"}
AT = {"execution_id": "media:thumb_c_1", "task_name": "shrink"}


@pytest.mark.parametrize("prefix", ["", "/2"])
@pytest.mark.parametrize("end", ["", "/"])
async def test_every_path_is_served_under_both_prefixes_and_with_a_trailing_slash(
    client: Any, prefix: str, end: str
) -> None:
    reply = await client.get(f"{prefix}/flow/service_check.json{end}")
    assert (reply.status, reply.json) == (200, {"ret": "ok"})


async def test_an_unknown_path_gets_the_frameworks_404(client: Any) -> None:
    reply = await client.get("/flow/nope.json")
    assert reply.status == 404
    assert reply.json == {
        "timestamp": "2024-06-17T04:53:20.123+00:00",
        "status": 404,
        "error": "Not Found",
        "path": "/flow/nope.json",
    }


@pytest.mark.parametrize("path", ["/flow/service_check.json", "/flow/nope.json", SUBMIT])
async def test_every_answer_carries_the_cors_headers(client: Any, path: str) -> None:
    reply = await client.get(path)
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "OPTIONS" in reply.headers["Access-Control-Allow-Methods"]
    assert reply.headers["Content-Type"] == "application/json"


async def test_options_is_answered_with_an_empty_200(client: Any) -> None:
    reply = await client.ask("OPTIONS", SUBMIT)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Access-Control-Max-Age"] == "3600"


async def test_head_works_where_get_works(client: Any) -> None:
    reply = await client.ask("HEAD", "/flow/service_check.json")
    assert (reply.status, reply.body) == (200, b"")
    assert (await client.ask("HEAD", SUBMIT)).status == 422


@pytest.mark.parametrize(
    ("method", "path"), [("GET", SUBMIT), ("DELETE", SUBMIT), ("POST", "/flow/get.json"), ("MOVE", SUBMIT)]
)
async def test_a_wrong_method_is_422(client: Any, method: str, path: str) -> None:
    reply = await client.ask(method, path, ONE)
    assert reply.status == 422
    assert reply.json == {"error_code": 30105, "error": f"Request method '{method}' not supported"}


async def test_a_missing_parameter_is_422_and_named(client: Any) -> None:
    reply = await client.post(SUBMIT, body={})
    assert reply.status == 422
    assert reply.json == {"error_code": 30109, "error": "Required request parameter 'descriptor_id' is not present"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{oops", "parse"),
        (b"[1]", "object"),
        (b"7", "object"),
        (b"null", "object"),
        (b'{"a": NaN}', "parse"),
        (b'{"a": "\xff"}', "parse"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "nested deeper"),
        (b'{"a": "\\ud800", "n": 1234567890123456789012}', "surrogate"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "parse"),
        (b'{"a": 1e999}', "parse"),
        (b'{"a": 1e999, "n": 1234567890123456789012}', "out of range"),
    ],
)
async def test_a_body_that_is_no_json_object_is_422(client: Any, body: bytes, word: str) -> None:
    reply = await client.post(SUBMIT, ONE, body=body, media="application/json")
    assert (reply.status, reply.json["error_code"]) == (422, 30109)
    assert word in reply.json["error"]
    assert client.service.calls == []


@pytest.mark.parametrize(
    "media",
    [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/json;charset=UTF-8",
        "application/vnd.x+json",
    ],
)
async def test_json_is_read_under_any_content_type(client: Any, media: str) -> None:
    reply = await client.post(SUBMIT, ONE, body='{"a":{"b":"c=d&descriptor_id=other"}}', media=media)
    assert reply.status == 200
    assert client.service.calls == [("submit", "media:thumb", {"a": {"b": "c=d&descriptor_id=other"}}, None, None)]


async def test_a_foreign_content_type_with_no_json_is_unsupported(client: Any) -> None:
    reply = await client.post(SUBMIT, ONE, body="a=b", media="application/x-www-form-urlencoded")
    assert (reply.status, reply.json["error_code"]) == (422, 30105)
    assert "Content type 'application/x-www-form-urlencoded' not supported" in reply.json["error"]


async def test_parameters_of_a_form_count(client: Any) -> None:
    path = "/flow/bg/manage/descriptor/modify_feature.json"
    form = "add=true&business_id=media&feature_name=thumb"
    reply = await client.post(path, body=form, media="application/x-www-form-urlencoded")
    assert (reply.status, reply.json) == (200, {"ret": True})
    assert await client.catalog.features("media") == ["thumb"]


async def test_a_body_in_another_charset_is_decoded(client: Any) -> None:
    body = json.dumps({"a": "缩略图"}, ensure_ascii=False).encode("gbk")
    assert (await client.post(SUBMIT, ONE, body=body, media="application/json; charset=GBK")).status == 200
    assert client.service.calls[0][2] == {"a": "缩略图"}
    reply = await client.post(SUBMIT, ONE, body=b"{}", media="application/json; charset=idna")
    assert (reply.status, reply.json["error_code"]) == (422, 30105)


async def test_integers_of_any_size_stay_exact(client: Any) -> None:
    big = 2**64 + 1
    await client.post(SUBMIT, ONE, body=f'{{"n": {big}, "m": [-{big}]}}', media="application/json")
    assert client.service.calls[0][2] == {"n": big, "m": [-big]}
    client.service.states["media:thumb_c_1"].context["n"] = big
    reply = await client.get("/flow/get_context.json", {"execution_id": "media:thumb_c_1"})
    assert reply.json["ret"]["n"] == big


@pytest.mark.parametrize(
    ("text", "is_brief"), [("true", True), ("ON", True), ("1", True), ("no", False), ("0", False), ("", False)]
)
async def test_booleans_have_many_spellings(client: Any, text: str, is_brief: bool) -> None:
    reply = await client.get("/flow/get.json", {"execution_id": "media:thumb_c_1", "brief": text, "_t": 1})
    assert ("tasks" in reply.json["ret"]) is not is_brief


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/flow/get.json", {"execution_id": "x", "brief": "maybe"}),
        ("/flow/get_execution_ids.json", {"service_id": "a:b", "page": "one"}),
        ("/flow/get_execution_ids.json", {"service_id": "a:b", "time": "9" * 40}),
        ("/flow/get_execution_ids.json", {"service_id": "a:b", "time": "9" * 19}),
    ],
)
async def test_a_parameter_that_cannot_be_converted_is_422_and_named(
    client: Any, path: str, query: dict[str, str]
) -> None:
    reply = await client.get(path, query)
    assert (reply.status, reply.json["error_code"]) == (422, 30109)
    assert f"'{list(query)[-1]}'" in reply.json["error"]


async def test_a_parameter_that_is_not_utf8_is_422(client: Any) -> None:
    reply = await client.get("/flow/get.json?execution_id=%ff")
    assert reply.status == 422
    assert "execution_id" in reply.json["error"]


async def test_identifiers_are_trimmed(client: Any) -> None:
    await client.post(SUBMIT, {"descriptor_id": " media:thumb "})
    assert client.service.calls[0][1] == "media:thumb"
    query = {"add": "on", "business_id": "media ", "feature_name": "thumb ", "alias": " release"}
    await client.post("/flow/bg/manage/descriptor/modify_alias.json", query)
    assert await client.catalog.aliases("media", "thumb") == ["release"]


async def test_nulls_are_omitted_at_any_depth(client: Any) -> None:
    client.service.states["media:thumb_c_1"].context = {"a": {"b": None, "c": [{"d": None}, None, "null"]}, "e": None}
    reply = await client.get("/flow/get_context.json", {"execution_id": "media:thumb_c_1"})
    assert reply.json == {"ret": {"a": {"c": [{}, None, "null"]}}}


@pytest.mark.parametrize(
    ("error", "status", "code", "passed"),
    [
        (LimitExceeded("context too long"), 500, 30507, None),
        (MalformedCallback("callback is nothing"), 500, 30603, None),
        (TaskFinished("repeated finish task x"), 500, 30601, None),
    ],
)
async def test_errors_of_the_service_get_number_and_status(
    client: Any, error: Exception, status: int, code: int, passed: bool | None
) -> None:
    client.service.error = error
    reply = await client.post(SUBMIT, ONE, body={})
    assert (reply.status, reply.json) == (status, {"error_code": code, "error": str(error)})


async def test_an_unexpected_error_is_logged_and_not_shown(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    client.service.error = KeyError("secret detail")
    reply = await client.post(SUBMIT, ONE, body={})
    assert (reply.status, reply.json) == (500, {"error_code": 30101, "error": "internal server error"})
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_too_large_body_is_answered_in_the_familys_words(start: Any, is_chunked: bool) -> None:
    client = start(limits=EdgeLimits(body_bytes=1000, drain_bytes=1_000_000))
    headers = {"Transfer-Encoding": "chunked"} if is_chunked else {}
    body = b"f423f\r\n" + b"x" * 999_999 + b"\r\n0\r\n\r\n" if is_chunked else b"x" * 1_000_000
    reply = await raw_post(client.base, SUBMIT, body, headers)
    assert reply[0] == 400
    assert json.loads(reply[1]) == {
        "error_code": 30109,
        "error": "the request body exceeds the limit of 1000 bytes",
        "pass_through": True,
    }
    assert client.service.calls == []


async def test_a_chunked_body_within_the_limit_is_read(client: Any) -> None:
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    reply = await raw_post(client.base, SUBMIT + "?descriptor_id=media:thumb", b'7\r\n{"a":1}\r\n0\r\n\r\n', headers)
    assert reply[0] == 200
    assert client.service.calls[0][2] == {"a": 1}


async def raw_post(base: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """POST bytes as they are and return (status, body); the body of a chunked request comes framed."""
    import asyncio

    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = headers if "Transfer-Encoding" in headers else {**headers, "Content-Length": str(len(body))}
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Connection: close", *(f"{k}: {v}" for k, v in sent.items())]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), answer
