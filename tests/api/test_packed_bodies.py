"""Bodies with Content-Encoding: unpacked within the limit, or refused with the name of what is wrong."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from tornflow.api import EdgeLimits

FINISH, AT = "/flow/finish.json", {"execution_id": "media:thumb_c_1", "task_name": "shrink"}
START = "/v1.0/workflows/dapr/ship_order/start"
BODY = {"v": 1, "pad": "ü" * 2000}
TEXT = json.dumps(BODY).encode()
RAW_DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", RAW_DEFLATE.compress(TEXT) + RAW_DEFLATE.flush()),
        ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
        ("identity", TEXT),
        ("", TEXT),
    ],
)
async def test_a_packed_body_is_taken_as_what_it_was(client: Any, coding: str, packed: bytes) -> None:
    headers = {"Content-Encoding": coding}
    reply = await client.post(FINISH, AT, body=packed, media="application/json", headers=headers)
    assert (reply.status, reply.json) == (200, {"result": "ok"})
    assert client.service.calls[0][3] == BODY
    reply = await client.post(START, body=packed, headers=headers)
    assert (reply.status, client.service.calls[1][3]) == (202, TEXT.decode())


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "gzip, gzip, gzip"])
async def test_an_unknown_coding_is_415_and_named(client: Any, coding: str) -> None:
    headers = {"Content-Encoding": coding}
    text = f"Content-Encoding '{coding}' not supported: gzip, deflate are"
    reply = await client.post(FINISH, AT, body=b"x", headers=headers)
    assert (reply.status, reply.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    assert reply.json == {"error_code": 30105, "error": text}
    reply = await client.post(START, body=b"x", headers=headers)
    assert (reply.status, reply.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    assert reply.json == {"errorCode": "ERR_MALFORMED_REQUEST", "message": f"failed to read request body: {text}"}
    assert client.service.calls == []


@pytest.mark.parametrize(
    ("coding", "packed", "reason"),
    [
        ("gzip", TEXT, "the body is not gzip"),
        ("gzip", gzip.compress(TEXT)[:-9], "it ends too early"),
        ("gzip", gzip.compress(b"") * 17, "more than 16 members"),
        ("deflate", zlib.compress(TEXT) + b"more", "something follows it"),
    ],
)
async def test_a_body_that_is_not_what_it_says_is_named(client: Any, coding: str, packed: bytes, reason: str) -> None:
    reply = await client.post(FINISH, AT, body=packed, headers={"Content-Encoding": coding})
    assert (reply.status, reply.json["error_code"]) == (422, 30109)
    assert reason in reply.json["error"]
    reply = await client.post(START, body=packed, headers={"Content-Encoding": coding})
    assert (reply.status, reply.json["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")


@pytest.mark.parametrize("size", [1000, 1001])
async def test_the_limit_holds_for_what_is_unpacked(start: Any, size: int) -> None:
    client = start(limits=EdgeLimits(body_bytes=1000))
    packed = gzip.compress(b'"' + b"x" * (size - 2) + b'"')
    reply = await client.post(START, body=packed, headers={"Content-Encoding": "gzip"})
    assert reply.status == (202 if size == 1000 else 400)
    if size > 1000:
        assert reply.json == {"errorCode": "ERR_BODY_READ", "message": "failed to read request body: stream too large"}
        reply = await client.post(FINISH, AT, body=packed, headers={"Content-Encoding": "gzip"})
        assert reply.json["error"] == "the request body exceeds the limit of 1000 bytes"


async def test_a_bomb_is_unpacked_no_further_than_the_limit(client: Any) -> None:
    bomb = gzip.compress(b"0" * 50_000_000, 9)
    reply = await client.post(FINISH, AT, body=bomb, headers={"Content-Encoding": "gzip"})
    assert (reply.status, reply.json["error_code"]) == (400, 30109)
    assert client.service.calls == []
