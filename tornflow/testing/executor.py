"""A real HTTP executor that plays a script: for the tests of task types, engines and flows.

    async with ScriptedExecutor() as executor:
        executor.script("/encode", Reply(status=503), Reply(json={"url": "s3://x"}))
        ...                                   # the server under test calls f"{executor.url}/encode"
        assert executor.calls("/encode")[0].json["quality"] == 3

Nothing here sleeps: a late answer waits for an ``asyncio.Event`` that the test sets, and ``wait_for_calls`` returns
with the call itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets

_UNSET: Any = object()
CALLS_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Reply:
    """How one call is answered.

    ``raw`` wins over ``json``. The answer waits for ``until``. ``drop`` closes the connection instead of answering.
    ``callback`` is posted as JSON to the call's ``X-Callback-Url``: after the answer, or, with ``callback_first``,
    before it.
    """

    json: Any = field(default_factory=dict)
    raw: bytes | str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    until: asyncio.Event | None = None
    drop: bool = False
    callback: Any = _UNSET
    callback_first: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came in; ``headers`` ignores case. ``query`` keeps the last value of a name."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: HTTPHeaders
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is empty."""
        return json.loads(self.body) if self.body else None


class ScriptedExecutor:
    """Listens on a free port of the loopback interface. Use it on one event loop, as an async context manager."""

    def __init__(self) -> None:
        self._replies: dict[str, list[Reply]] = {}
        self._calls: list[Call] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = HTTPServer(self._accept)
        self.port = 0
        self.callback_failures: list[str] = []

    async def __aenter__(self) -> Self:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        self._server.add_sockets(sockets)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.close_all_connections()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def script(self, path: str, *replies: Reply) -> None:
        """Answer calls of ``path`` with these in turn; the last one is used for ever. Unscripted paths get 404."""
        if not replies:
            raise ValueError(f"{path}: give at least one reply")
        self._replies[path] = list(replies)

    def calls(self, path: str | None = None) -> list[Call]:
        """Return the calls so far, all or those of one path, in order of arrival."""
        return [call for call in self._calls if path is None or call.path == path]

    async def wait_for_calls(self, path: str, count: int = 1, timeout_s: float = 10.0) -> list[Call]:
        """Return the calls of ``path`` as soon as there are ``count``.

        Raises:
            TimeoutError: there were fewer; the message says how many.
        """
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: len(self.calls(path)) >= count)
            except TimeoutError:
                raise TimeoutError(f"{path} was called {len(self.calls(path))} times, not {count}") from None
        return self.calls(path)

    def _accept(self, request: HTTPServerRequest) -> None:
        task = asyncio.get_running_loop().create_task(self._play(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, request: HTTPServerRequest) -> None:
        call = await self._record(request)
        reply = self._next_reply(call.path)
        if reply.until is not None:
            await reply.until.wait()
        if reply.callback is not _UNSET and reply.callback_first:
            await self._call_back(call, reply.callback)
        await self._answer(request, reply)
        if reply.callback is not _UNSET and not reply.callback_first:
            await self._call_back(call, reply.callback)

    async def _record(self, request: HTTPServerRequest) -> Call:
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        call = Call(request.method or "", request.path, query, request.headers, request.body)
        async with self._changed:
            if len(self._calls) < CALLS_LIMIT:
                self._calls.append(call)
            self._changed.notify_all()
        return call

    def _next_reply(self, path: str) -> Reply:
        replies = self._replies.get(path)
        if not replies:
            return Reply(status=404, json={"error": f"{path} is not scripted"})
        return replies.pop(0) if len(replies) > 1 else replies[0]

    async def _answer(self, request: HTTPServerRequest, reply: Reply) -> None:
        connection = request.connection
        assert connection is not None
        if reply.drop:
            request.connection.detach().close()  # type: ignore[union-attr]
            return
        raw = json.dumps(reply.json) if reply.raw is None else reply.raw
        body = raw.encode() if isinstance(raw, str) else raw
        if reply.status in (204, 304):  # HTTP allows them no body
            body = b""
        headers = HTTPHeaders({"Content-Type": "application/json", "Content-Length": str(len(body))})
        headers.update(reply.headers)
        try:
            await connection.write_headers(ResponseStartLine("HTTP/1.1", reply.status, ""), headers, body)
            connection.finish()
        except StreamClosedError:
            pass  # the caller hung up first, which some tests are about

    async def _call_back(self, call: Call, payload: Any) -> None:
        url = call.headers.get("X-Callback-Url", "")
        try:
            await AsyncHTTPClient().fetch(
                url, method="POST", body=json.dumps(payload), headers={"Content-Type": "application/json"}
            )
        except Exception as error:  # the test asks for it; a lost callback must not be silent
            self.callback_failures.append(f"{url}: {error}")
