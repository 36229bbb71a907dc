"""HTTP/1.1 on raw asyncio protocols, for one machine: cheap enough not to be what is measured.

Keep-alive only, ``Content-Length`` only, one request at a time per connection. Both ends are ours or the server
under test; nothing here would survive the open internet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

HOST = "127.0.0.1"
_END = b"\r\n\r\n"


class Broken(Exception):
    """The connection failed before a whole answer came: the request may or may not have been carried out."""


@dataclass(slots=True)
class Request:
    """``head`` holds the request line and the headers, without the blank line."""

    head: bytes
    body: bytes
    connection: Listener

    @property
    def target(self) -> bytes:
        """Path and query, as sent."""
        return self.head.split(b" ", 2)[1]

    def query(self, name: bytes) -> bytes:
        """One value of the query, still percent-encoded; empty when it is missing."""
        return query_value(self.target, name)

    def header(self, name: bytes) -> bytes:
        return header_value(self.head, name)


Handle = Callable[[Request], bytes | None]
"""Returns the whole answer (see ``answer``), or None and answers later with ``request.connection.send``."""


class Listener(asyncio.Protocol):
    """The server side of one connection."""

    __slots__ = ("_buffer", "_handle", "_transport")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(_END)) >= 0:
            head = buffer[:end]
            whole = end + 4 + content_length(head)
            if len(buffer) < whole:
                break
            body, buffer = buffer[end + 4 : whole], buffer[whole:]
            reply = self._handle(Request(head, body, self))
            if reply is not None:
                self.send(reply)
        self._buffer = buffer

    def send(self, reply: bytes) -> None:
        """Write an answer; silently nothing when the caller has gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(reply)


async def listen(handle: Handle, port: int = 0) -> tuple[asyncio.Server, int]:
    """Serve on the loopback interface; port 0 takes any free one. Returns the server and its port."""
    server = await asyncio.get_running_loop().create_server(lambda: Listener(handle), HOST, port, backlog=2048)
    return server, int(server.sockets[0].getsockname()[1])


def answer(body: bytes, status: int = 200) -> bytes:
    """Return a whole JSON answer."""
    head = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


class Client:
    """One origin; as many connections as there are callers at one time. The caller bounds those."""

    def __init__(self, port: int, timeout_s: float = 30.0) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._idle: list[_Caller] = []
        self._tail = f" HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n".encode()

    async def post(self, target: str, body: bytes, headers: bytes = b"") -> tuple[int, bytes]:
        """Send one request; ``headers`` are whole lines, each with its end.

        Raises:
            Broken: refused, cut off, or no answer within the timeout.
        """
        head = b"POST " + target.encode() + self._tail + headers + b"Content-Length: %d\r\n\r\n" % len(body)
        return await self._exchange(head + body)

    async def get(self, target: str) -> tuple[int, bytes]:
        """Raises: Broken."""
        return await self._exchange(b"GET " + target.encode() + self._tail + b"\r\n")

    def close(self) -> None:
        for caller in self._idle:
            caller.close()
        self._idle.clear()

    async def _exchange(self, message: bytes) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                caller = await self._caller()
                try:
                    reply = await caller.exchange(message)
                except BaseException:
                    caller.close()
                    raise
        except TimeoutError as error:
            raise Broken(f"no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise Broken(str(error)) from error
        self._idle.append(caller)
        return reply

    async def _caller(self) -> _Caller:
        while self._idle:
            caller = self._idle.pop()
            if caller.is_alive:
                return caller
        made: Any = await asyncio.get_running_loop().create_connection(_Caller, HOST, self._port)
        return cast(_Caller, made[1])


class _Caller(asyncio.Protocol):
    __slots__ = ("_pieces", "_reply", "_rest", "_transport", "is_alive")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of an answer that is not whole yet
        self._rest = 0  # bytes of it that are known to be missing
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self.is_alive = False

    def exchange(self, message: bytes) -> asyncio.Future[tuple[int, bytes]]:
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        if not self.is_alive:
            self._reply.set_exception(Broken("the connection was closed"))
        else:
            self._transport.write(message)
        return self._reply

    def close(self) -> None:
        self.is_alive = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_alive = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_alive = False
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(Broken(f"the connection broke: {error or 'closed by the server'}"))

    def data_received(self, data: bytes) -> None:
        if self._rest > len(data):
            self._rest -= len(data)
            self._pieces.append(data)
            return
        buffer = b"".join((*self._pieces, data)) if self._pieces else data
        end = buffer.find(_END)
        # Joining the pieces of a long answer once only: it may come in dozens of them.
        self._rest = 0 if end < 0 else end + 4 + content_length(buffer[:end]) - len(buffer)
        if end < 0 or self._rest > 0:
            self._pieces = [buffer]
            return
        self._pieces, self._rest = [], 0
        if b"connection: close" in buffer[:end].lower():
            self.is_alive = False
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((int(buffer[9:12]), buffer[end + 4 :]))


def content_length(head: bytes) -> int:
    """0 when there is none."""
    return int(header_value(head, b"content-length") or 0)


def header_value(head: bytes, name: bytes) -> bytes:
    """Return one header's value without blanks, empty when it is missing. ``name`` is in lower case."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return (head[start:] if end < 0 else head[start:end]).strip()


def query_value(target: bytes, name: bytes) -> bytes:
    """Return one value of a target's query, as written there; empty when it is missing."""
    at = target.find(name + b"=")
    while at > 0 and target[at - 1] not in b"?&":
        at = target.find(name + b"=", at + 1)
    if at < 1:
        return b""
    end = target.find(b"&", at)
    return target[at + len(name) + 1 :] if end < 0 else target[at + len(name) + 1 : end]
