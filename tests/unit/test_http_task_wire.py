"""What a client session used to do for the http task type, on bare sockets: peers that a well-behaved server is not."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tornflow.spi.task_type import Answered, Failed, Outcome
from tornflow.testing.task_type import ScriptedHost, attempt_of
from tornflow_task_http import HttpTaskType

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}'
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, "Heard"], Awaitable[None]]


@dataclass
class Heard:
    """What the peer was sent: one entry per connection, one head per request."""

    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    url: str = ""

    async def request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.partition(b":")[2]))


@asynccontextmanager
async def peer(behave: Peer, settings: dict[str, int] | None = None) -> AsyncIterator[tuple[HttpTaskType, Heard]]:
    heard = Heard()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        try:
            await behave(reader, writer, heard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    heard.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    task_type = HttpTaskType()
    await task_type.start(ScriptedHost({"outbound": {"allow_loopback": True, **(settings or {})}}))
    try:
        yield task_type, heard
    finally:
        await task_type.stop()
        server.close()


async def call(
    task_type: HttpTaskType, heard: Heard, *, user: str = "", size: int = 1, method: str = "POST"
) -> Outcome:
    attempt = attempt_of(f"http://{user}{heard.url}/do", {"text": "x" * size}, request_type=method)
    return await asyncio.wait_for(task_type.execute(attempt), 5)


async def answers_always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
    while True:
        await heard.request(reader)
        writer.write(OK)


async def answers_once_per_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
    """Keeps the connection open, and drops it without a word when it is used again."""
    await heard.request(reader)
    writer.write(OK)
    await heard.request(reader)


async def test_calls_one_after_the_other_share_a_connection() -> None:
    async with peer(answers_always) as (task_type, heard):
        for _ in range(3):
            assert await call(task_type, heard) == Answered({"a": 1})
    assert (heard.connections, len(heard.heads)) == (1, 3)


async def test_the_head_names_host_and_length_once_and_the_host_first() -> None:
    async with peer(answers_always) as (task_type, heard):
        await call(task_type, heard, size=10)
    lines = heard.heads[0].decode().split("\r\n")
    assert lines[1] == f"Host: {heard.url}"
    names = [line.partition(":")[0].lower() for line in lines[1:-2]]
    assert len(names) == len(set(names))
    assert "content-length" in names and "user-agent" in names


async def test_credentials_of_the_url_become_a_header_and_leave_the_url() -> None:
    async with peer(answers_always) as (task_type, heard):
        await call(task_type, heard, user="bob:se%20cret@")
    expected = base64.b64encode(b"bob:se cret")
    assert b"\r\nAuthorization: Basic " + expected + b"\r\n" in heard.heads[0]
    assert b"bob" not in heard.heads[0].split(b"\r\n")[0]


async def test_credentials_in_both_places_are_refused_before_anything_is_sent() -> None:
    async with peer(answers_always) as (task_type, heard):
        attempt = attempt_of(f"http://bob:x@{heard.url}/do", {"header": {"authorization": "Bearer y"}})
        outcome = await task_type.execute(attempt)
    assert isinstance(outcome, Failed)
    assert outcome.message == (
        "dispatchTask http fails due to cannot be sent: the URL and the headers both hold credentials"
    )
    assert heard.heads == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_on_a_kept_connection_that_turns_out_dead_is_sent_again(method: str) -> None:
    async with peer(answers_once_per_connection) as (task_type, heard):
        for _ in range(3):
            assert await call(task_type, heard, method=method) == Answered({"a": 1})
    # The fresh connections are not kept, so every other call meets a dead one.
    assert (heard.connections, len(heard.heads)) == (3, 4)
    keys = [line for line in heard.heads[1].split(b"\r\n") if line.startswith(b"X-Idempotency-Key")]
    assert keys and keys[0] in heard.heads[2]


async def test_a_replaced_connection_is_not_replaced_again() -> None:
    async def answers_only_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)
        if heard.connections == 1:
            writer.write(OK)
            await heard.request(reader)

    async with peer(answers_only_the_first) as (task_type, heard):
        assert await call(task_type, heard) == Answered({"a": 1})
        outcome = await call(task_type, heard)
    assert isinstance(outcome, Failed)
    assert ("closed before an answer came" in outcome.message, outcome.code) == (True, "closed")
    assert (heard.connections, len(heard.heads)) == (2, 3)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_first_connection_that_breaks_is_not_replaced(method: str) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)

    async with peer(breaks) as (task_type, heard):
        outcome = await call(task_type, heard, method=method)
    assert isinstance(outcome, Failed) and outcome.code == "closed"
    assert len(heard.heads) == 1


@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 103 Hints\r\n\r\n"])
async def test_an_answer_that_has_begun_is_not_asked_for_again(beginning: bytes) -> None:
    async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)
        writer.write(OK)
        await heard.request(reader)
        writer.write(beginning)

    async with peer(breaks_off) as (task_type, heard):
        assert await call(task_type, heard) == Answered({"a": 1})
        outcome = await call(task_type, heard)
    assert isinstance(outcome, Failed) and outcome.code in ("closed", "not_http")
    assert (heard.connections, len(heard.heads)) == (1, 2)


def with_headers(*fields: bytes) -> Peer:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)
        writer.write(b"\r\n".join([OK.partition(b"\r\n\r\n")[0], *fields, b"", b'{"a":1}']))
        await reader.read()

    return answers


@pytest.mark.parametrize(
    "fields", [[b"X: " + b"a" * 100_000], [b"X-%d: b" % n for n in range(900)], [b"X" * 9000 + b": b"]]
)
async def test_large_heads_are_taken(fields: list[bytes]) -> None:
    async with peer(with_headers(*fields)) as (task_type, heard):
        assert await call(task_type, heard) == Answered({"a": 1})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([b"X: " + b"a" * 5000], "larger than outbound.answer_header_bytes = 4096"),
        ([b"X-%d: b" % n for n in range(20)], "more headers than outbound.answer_headers = 10"),
    ],
)
async def test_a_head_above_a_limit_fails_and_names_the_setting(fields: list[bytes], named: str) -> None:
    limits = {"answer_header_bytes": 4096, "answer_headers": 10}
    async with peer(with_headers(*fields), limits) as (task_type, heard):
        outcome = await call(task_type, heard)
    assert isinstance(outcome, Failed)
    assert (named in outcome.message, outcome.code) == (True, "too_large"), outcome
    assert len(heard.heads) == 1


async def test_a_head_that_never_ends_is_given_up() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X: " + b"a" * 1000 + b"\r\n")
            await writer.drain()

    async with peer(endless, {"answer_header_bytes": 1_000_000, "answer_headers": 1_000_000}) as (task_type, heard):
        outcome = await call(task_type, heard)
    assert isinstance(outcome, Failed) and "outbound.answer_header_bytes = 1000000" in outcome.message


async def test_hints_before_the_answer_are_not_taken_for_it() -> None:
    async def hints(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    async with peer(hints) as (task_type, heard):
        assert await call(task_type, heard) == Answered({"a": 1})


@pytest.mark.parametrize("noise", [b"SSH-2.0-server\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nA\r\n\r\n"])
async def test_an_answer_that_is_no_http_is_called_so(noise: bytes) -> None:
    async def babbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)
        writer.write(noise)
        await reader.read(1)

    async with peer(babbles) as (task_type, heard):
        outcome = await call(task_type, heard)
    assert isinstance(outcome, Failed)
    assert "the answer is not HTTP: " in outcome.message


async def test_who_refuses_a_large_body_half_way_is_heard() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        heard.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await reader.read()  # until the other side gives up, without taking more than a piece

    async with peer(refuses) as (task_type, heard):
        outcome = await call(task_type, heard, size=4_000_000)
    assert isinstance(outcome, Failed)
    assert "413 Too Large: [no body]" in outcome.message


async def test_a_cancelled_call_gives_its_connection_up() -> None:
    asked = asyncio.Event()

    async def stays_silent_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        await heard.request(reader)
        if len(heard.heads) == 1:
            asked.set()
            await reader.read()
        else:
            writer.write(OK)

    async with peer(stays_silent_first) as (task_type, heard):
        attempt = asyncio.create_task(call(task_type, heard))
        await asked.wait()
        attempt.cancel()
        await asyncio.wait([attempt])
        assert await call(task_type, heard) == Answered({"a": 1})
    assert heard.connections == 2
