"""The http task type against a real executor: the shipped suite, then decisions 10 and 11 and the limits."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tornflow.spi.task_type import NO_ANSWER, Answered, Attempt, Failed, Outcome
from tornflow.testing.executor import Reply, ScriptedExecutor
from tornflow.testing.task_type import ScriptedHost, TaskTypeCase, TaskTypeConformance, attempt_of
from tornflow_task_http import HttpTaskType

LOOPBACK = {"outbound": {"allow_loopback": True}}


class TestHttpConformance(TaskTypeConformance):
    @asynccontextmanager
    async def case(self) -> AsyncIterator[TaskTypeCase]:
        async with ScriptedExecutor() as executor:
            executor.script("/good", Reply(json={"n": 1}))
            executor.script("/bad", Reply(status=500))
            yield TaskTypeCase(
                HttpTaskType(),
                ScriptedHost(LOOPBACK),
                good=attempt_of(f"{executor.url}/good", {"a": [1, {"b": 2}], "query": {"q": "x"}, "generate_auth": 1}),
                failing=attempt_of(f"{executor.url}/bad"),
                bad_settings=(
                    {"conections": 3},
                    {"read_timeout_s": "long"},
                    {"connections": 0},
                    {"secret": 7},
                ),
            )


@asynccontextmanager
async def started(settings: Mapping[str, Any] = LOOPBACK) -> AsyncIterator[tuple[HttpTaskType, ScriptedExecutor]]:
    async with ScriptedExecutor() as executor:
        task_type = HttpTaskType()
        await task_type.start(ScriptedHost(settings))
        try:
            yield task_type, executor
        finally:
            await task_type.stop()


async def outcome_of(*replies: Reply, settings: Mapping[str, Any] = LOOPBACK) -> tuple[Outcome, int]:
    async with started(settings) as (task_type, executor):
        executor.script("/do", *replies)
        outcome = await task_type.execute(attempt_of(f"{executor.url}/do", {"a": 1}))
        return outcome, len(executor.calls("/do"))


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed), outcome
    prefix = "dispatchTask http fails due to "
    assert outcome.message.startswith(prefix)
    return outcome.message.removeprefix(prefix)


def code(outcome: Outcome) -> str | None:
    assert isinstance(outcome, Failed), outcome
    return outcome.code


def refused_url() -> str:
    """A URL of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/x"


STRICT = {**LOOPBACK, "strict": True}


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_an_answer_that_says_nothing_was_done_is_tried_once_more(status: int) -> None:
    assert await outcome_of(Reply(status=status), Reply(json={"n": 2})) == (Answered({"n": 2}), 2)
    outcome, calls = await outcome_of(Reply(status=status, json={"n": 1}))
    assert (reason(outcome)[:5], code(outcome), calls) == (f"{status} :", f"http_{status}", 2)


@pytest.mark.parametrize("status", [500, 404, 429, 304])
async def test_any_other_status_is_tried_once_by_default_and_twice_when_strict(status: int) -> None:
    outcome, calls = await outcome_of(Reply(status=status), Reply())
    assert (reason(outcome)[:5], code(outcome), calls) == (f"{status} :", f"http_{status}", 1)
    assert await outcome_of(Reply(status=status), Reply(), settings=STRICT) == (Answered({}), 2)


async def test_a_dropped_connection_may_have_been_processed_and_is_not_repeated() -> None:
    outcome, calls = await outcome_of(Reply(drop=True), Reply())
    assert (reason(outcome), calls) == ("the connection was closed before an answer came", 1)
    assert await outcome_of(Reply(drop=True), Reply(), settings=STRICT) == (Answered({}), 2)


async def test_both_tries_carry_the_same_idempotency_key_and_body() -> None:
    async with started() as (task_type, executor):
        executor.script("/do", Reply(status=503), Reply())
        await task_type.execute(attempt_of(f"{executor.url}/do", {"a": 1}, idempotency_key="x:y_c_1/job/3"))
        first, second = executor.calls("/do")
        assert first.headers["X-Idempotency-Key"] == second.headers["X-Idempotency-Key"] == "x:y_c_1/job/3"
        assert first.body == second.body


async def test_a_refused_connection_names_the_place() -> None:
    async with started() as (task_type, _):
        url = refused_url()
        assert reason(await task_type.execute(attempt_of(url))).startswith(f"no connection to {url[7:-2]} (")


async def test_an_unknown_host_is_named() -> None:
    async with started() as (task_type, _):
        text = reason(await task_type.execute(attempt_of("http://no-such-host.invalid/x")))
        assert text.startswith("the host name 'no-such-host.invalid' could not be resolved")


async def test_a_silent_executor_ends_with_the_read_timeout() -> None:
    outcome, calls = await outcome_of(
        Reply(until=asyncio.Event()), settings={**LOOPBACK, "read_timeout_s": 0.2, "connect_timeout_s": 0.1}
    )
    assert (reason(outcome), calls) == ("no complete answer within 0.2 s", 1)


async def test_an_answer_that_drips_for_ever_ends_with_the_read_timeout() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server, started({**LOOPBACK, "read_timeout_s": 0.2, "connect_timeout_s": 0.1}) as (task_type, _):
        port = server.sockets[0].getsockname()[1]
        outcome = await task_type.execute(attempt_of(f"http://127.0.0.1:{port}/"))
        assert reason(outcome) == "no complete answer within 0.2 s"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("[1, 2]", [1, 2]),
        ("42", 42),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        ('{"n": -9223372036854775808, "x": 1.5}', {"n": -9223372036854775808, "x": 1.5}),
    ],
)
async def test_any_json_is_the_answer_and_integers_stay_exact(raw: str, value: Any) -> None:
    assert await outcome_of(Reply(raw=raw)) == (Answered(value), 1)


UNREADABLE = [
    "",
    "  ",
    "all good",
    '{"a": NaN, "n": 12345678901234567890}',
    '["\\ud800", 12345678901234567890]',
    "[1e400, 12345678901234567890]",
    "1" * 5000,
    "[" * 5000,
    b"\xff",
]


@pytest.mark.parametrize("raw", UNREADABLE)
async def test_a_blank_or_unreadable_answer_fails_a_task_sync_and_acknowledges_others(raw: str | bytes) -> None:
    async with started() as (task_type, executor):
        executor.script("/do", Reply(raw=raw))
        assert await task_type.execute(attempt_of(f"{executor.url}/do", pattern="task_async")) == NO_ANSWER
        assert await task_type.execute(attempt_of(f"{executor.url}/do", pattern="")) == NO_ANSWER
        failed = await task_type.execute(attempt_of(f"{executor.url}/do", pattern="task_sync"))
    assert reason(failed).startswith(f"200 : the answer is {'not JSON, ' if raw.strip() else 'empty, not JSON'}")
    assert len(reason(failed)) < 2048 + 200
    assert code(failed) == "not_json"


async def answer_of(reply: Reply) -> Outcome:
    async with started() as (task_type, executor):
        executor.script("/do", reply)
        return await task_type.execute(attempt_of(f"{executor.url}/do", pattern="task_sync"))


async def test_an_unreadable_answer_is_shown() -> None:
    page = Reply(raw="<html>\n<b>Grüße, bitte anmelden</b>", headers={"Content-Type": "text/html; charset=utf-8"})
    assert reason(await answer_of(page)).endswith(': "<html><EOL><b>Grüße, bitte anmelden</b>"')
    assert reason(await answer_of(Reply(status=204, raw=""))) == "204 : the answer is empty, not JSON"
    assert reason(await answer_of(Reply(raw='{"v": 1'))).endswith(': "{"v": 1"')


@pytest.mark.parametrize("charset", ["ISO-8859-1", '"utf-16"', "UTF-16LE", "windows-1252", "utf8"])
async def test_the_charset_of_an_answer_is_honoured(charset: str) -> None:
    raw = '{"text": "grün"}'.encode(charset.strip('"'))
    reply = Reply(raw=raw, headers={"Content-Type": f"application/json;charset={charset}"})
    assert await answer_of(reply) == Answered({"text": "grün"})


@pytest.mark.parametrize(
    ("charset", "complaint"),
    [
        ("klingon", "its charset 'klingon' is unknown"),
        ("punycode", "its charset 'punycode' is unknown"),
        ("zip", "its charset 'zip' is unknown"),
        ("utf-16", "it is no text in its charset utf-16: "),
    ],
)
async def test_an_answer_in_no_charset_that_we_know_says_so(charset: str, complaint: str) -> None:
    reply = Reply(raw="{ }", headers={"Content-Type": f"application/json; charset={charset}"})
    assert reason(await answer_of(reply)).startswith(f"200 : the answer is not JSON, {complaint}")


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=utf-16"])
async def test_a_byte_order_mark_is_skipped(charset: str) -> None:
    raw = "\ufeff{}".encode("utf-16-le") if "16" in charset else b"\xef\xbb\xbf{}"
    reply = Reply(raw=raw, headers={"Content-Type": f"application/json{charset}"})
    assert await answer_of(reply) == Answered({})


async def test_big_integers_are_sent_exactly() -> None:
    async with started() as (task_type, executor):
        executor.script("/do", Reply())
        await task_type.execute(attempt_of(f"{executor.url}/do", {"n": 2**100}))
        assert executor.calls("/do")[0].json["n"] == 2**100


SMALL = {"outbound": {"allow_loopback": True, "answer_limit_bytes": 1000}}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=b"1" * 1001),
        Reply(raw=gzip.compress(b"1" * 5_000_000), headers={"Content-Encoding": "gzip"}),
    ],
)
async def test_an_answer_above_the_limit_fails_and_names_the_limit(reply: Reply) -> None:
    outcome, calls = await outcome_of(reply, settings={**SMALL, "strict": True})
    assert (reason(outcome), calls) == ("the answer is larger than outbound.answer_limit_bytes = 1000", 1)


async def test_an_answer_of_exactly_the_limit_is_taken() -> None:
    outcome, _ = await outcome_of(Reply(raw=b'"' + b"1" * 998 + b'"'), settings=SMALL)
    assert outcome == Answered("1" * 998)


async def test_a_compressed_answer_is_read_although_it_was_not_asked_for() -> None:
    outcome, _ = await outcome_of(Reply(raw=gzip.compress(b'{"n": 1}'), headers={"Content-Encoding": "gzip"}))
    assert outcome == Answered({"n": 1})
    outcome, _ = await outcome_of(Reply(raw=b"no gzip", headers={"Content-Encoding": "gzip"}))
    assert reason(outcome).startswith("the compressed answer is damaged")


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
async def test_redirects_are_followed_as_http_says(status: int, method: str) -> None:
    async with started() as (task_type, executor):
        executor.script("/old", Reply(status=status, headers={"Location": "/new?x=1"}))
        executor.script("/new", Reply(json={"moved": True}))
        outcome = await task_type.execute(attempt_of(f"{executor.url}/old", {"a": 1}))
        call = executor.calls("/new")[0]
        assert outcome == Answered({"moved": True})
        assert (call.method, call.query) == (method, {"x": "1"})
        assert bool(call.body) == ("Content-Type" in call.headers) == (method == "POST")


async def test_a_redirect_to_another_origin_carries_no_credentials() -> None:
    async with started() as (task_type, executor), ScriptedExecutor() as other:
        executor.script("/old", Reply(status=307, headers={"Location": f"{other.url}/new"}))
        other.script("/new", Reply())
        headers = {"authorization": "Bearer t", "Cookie": "c=1", "X-T": "1"}
        await task_type.execute(attempt_of(f"{executor.url}/old", {"header": headers}))
        assert executor.calls("/old")[0].headers["Authorization"] == "Bearer t"
        seen = other.calls("/new")[0].headers
        assert ("Authorization" in seen, "Cookie" in seen, seen["X-T"]) == (False, False, "1")


async def test_endless_redirects_end_after_five() -> None:
    outcome, calls = await outcome_of(Reply(status=307, headers={"Location": "/do"}))
    assert (reason(outcome), calls) == ("more than 5 redirects", 6)


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/", "ftp://x/y"])
async def test_a_redirect_is_checked_like_the_first_request(target: str) -> None:
    outcome, calls = await outcome_of(Reply(status=307, headers={"Location": target}))
    text = reason(outcome)
    assert calls == 1
    assert "link-local addresses are closed" in text or "not an http or https URL" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_loopback_is_closed_unless_the_setting_opens_it(host: str) -> None:
    async with started({"outbound": {"allow_loopback": False}}) as (task_type, executor):
        executor.script("/do", Reply())
        text = reason(await task_type.execute(attempt_of(f"http://{host}:{executor.port}/do")))
        assert "outbound.allow_loopback" in text
        assert executor.calls() == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.0.0.1", "0177.0.0.1", "0"])
async def test_odd_spellings_of_loopback_reach_nothing(host: str) -> None:
    async with started({"outbound": {"allow_loopback": False}}) as (task_type, executor):
        executor.script("/do", Reply())
        assert reason(await task_type.execute(attempt_of(f"http://{host}:{executor.port}/do")))
        assert executor.calls() == []


async def test_a_name_that_resolves_to_loopback_works_when_loopback_is_open() -> None:
    async with started() as (task_type, executor):
        executor.script("/do", Reply(json={"n": 1}))
        outcome = await task_type.execute(attempt_of(f"http://localhost:{executor.port}/do"))
        assert outcome == Answered({"n": 1})


@pytest.mark.parametrize("limit", ["connections", "connections_per_host"])
async def test_waiting_for_a_free_connection_does_not_count_as_slowness(limit: str) -> None:
    gate = asyncio.Event()
    settings = {**LOOPBACK, limit: 1, "read_timeout_s": 5, "connect_timeout_s": 0.05}
    async with started(settings) as (task_type, executor):
        executor.script("/slow", Reply(until=gate))
        executor.script("/fast", Reply(json={"n": 1}))
        first = asyncio.ensure_future(task_type.execute(attempt_of(f"{executor.url}/slow")))
        await executor.wait_for_calls("/slow")
        second = asyncio.ensure_future(task_type.execute(attempt_of(f"{executor.url}/fast")))
        await asyncio.sleep(0.1)  # longer than a connection may take, which is what is tested
        assert executor.calls("/fast") == []
        gate.set()
        assert [await first, await second] == [Answered({}), Answered({"n": 1})]


async def test_a_host_that_never_answers_holds_no_other_host_up() -> None:
    settings = {**LOOPBACK, "connections": 4, "connections_per_host": 3}
    async with started(settings) as (task_type, executor), ScriptedExecutor() as other:
        executor.script("/do", Reply(until=asyncio.Event()))
        other.script("/do", Reply(json={"n": 1}))
        stuck = [asyncio.ensure_future(task_type.execute(attempt_of(f"{executor.url}/do"))) for _ in range(50)]
        await executor.wait_for_calls("/do", 3)
        for _ in range(5):
            assert await task_type.execute(attempt_of(f"{other.url}/do")) == Answered({"n": 1})
        assert len(executor.calls("/do")) == 3
        for one in stuck:
            one.cancel()
        await asyncio.wait(stuck)
        assert await task_type.execute(attempt_of(f"{other.url}/do")) == Answered({"n": 1})


async def test_the_failure_text_has_status_and_body_of_the_answer() -> None:
    async def said(reply: Reply) -> str:
        return reason((await outcome_of(reply))[0])

    body = '{"error_code":30109,"error":"left must be a number"}'
    assert await said(Reply(status=400, raw=body)) == f'400 : "{body}"'
    assert await said(Reply(status=500, raw="")) == "500 : [no body]"
    assert await said(Reply(status=500, raw="a\r\nb\nc\td\x00")) == '500 : "a<EOL>b<EOL>c?d?"'
    latin = Reply(status=418, raw="grün".encode("latin-1"), headers={"Content-Type": "text/plain; charset=ISO-8859-1"})
    assert await said(latin) == '418 : "grün"'
    packed = Reply(status=500, raw=gzip.compress(b"no paper"), headers={"Content-Encoding": "gzip"})
    assert await said(packed) == '500 : "no paper"'


@pytest.mark.parametrize("letter", ["x", "ü", "😀"])
async def test_the_body_in_a_failure_text_is_bounded(letter: str) -> None:
    outcome, _ = await outcome_of(Reply(status=500, raw=letter * 100_000))
    assert reason(outcome) == f'500 : "{letter * 2048}"'


async def test_every_kind_of_failure_has_its_code() -> None:
    async with started({**SMALL, "read_timeout_s": 0.2, "connect_timeout_s": 0.2}) as (task_type, executor):
        executor.script("/silent", Reply(until=asyncio.Event()))
        executor.script("/drop", Reply(drop=True))
        executor.script("/large", Reply(raw=b"1" * 1001))
        executor.script("/packed", Reply(headers={"Content-Encoding": "br"}))
        executor.script("/round", Reply(status=307, headers={"Location": "/round"}))
        executor.script("/gone", Reply(status=410))

        async def failed(url: str, **fields: Any) -> str | None:
            return code(await task_type.execute(attempt_of(url, fields)))

        found = {
            path: await failed(f"{executor.url}/{path}") for path in ("silent", "drop", "large", "packed", "round")
        }
        assert found == {
            "silent": "timeout", "drop": "closed", "large": "too_large", "packed": "encoding", "round": "redirect"
        }  # fmt: skip
        assert await failed(f"{executor.url}/gone") == "http_410"
        assert await failed(refused_url()) == "connect"
        assert await failed("http://no-such-host.invalid/x") == "connect"
        assert await failed("http://169.254.169.254/x") == "policy"
        assert await failed("http:///x") == "unsendable"
        assert await failed(executor.url, header={"Connection": "close"}) == "unsendable"
    assert code(await task_type.execute(attempt_of("http://x/"))) == "not_started"
    manual = (Path(__file__).parents[2] / "docs" / "task-types.md").read_text("utf-8")
    assert [
        one for one in {*found.values(), "connect", "policy", "unsendable", "not_json"} if f"| `{one}`" not in manual
    ] == []


@pytest.mark.parametrize(
    ("resource", "target"),
    [
        ("http://Host/a?b=c", "http://host:80"),
        ("https://host/a", "https://host:443"),
        ("http://user:secret@host:81/a", "http://host:81"),
        ("http://[::1]:8080/a", "http://::1:8080"),
        ("http:///nowhere", "http"),
        ("http://host:99999/", "http"),
    ],
)
def test_the_target_is_scheme_host_and_port(resource: str, target: str) -> None:
    assert HttpTaskType().target(resource) == target


async def test_the_async_protocol_reaches_the_callback_url() -> None:
    async with started() as (task_type, executor):
        executor.script("/work", Reply(json={"result_type": "SUCCESS"}, callback={"token": 9}))
        executor.script("/flow/trigger.json", Reply())
        back = f"{executor.url}/flow/trigger.json?execution_id=e&task_name=job&ts=1"
        attempt: Attempt = attempt_of(f"{executor.url}/work", pattern="task_async", callback_url=back)
        assert await task_type.execute(attempt) == Answered({"result_type": "SUCCESS"})
        call = (await executor.wait_for_calls("/flow/trigger.json"))[0]
        assert (call.json, call.query["task_name"]) == ({"token": 9}, "job")
        assert executor.calls("/work")[0].headers["X-Mode"] == "async"
