"""The HTTP server under both families: what Tornado refuses without a word gets a status and a text here.

Tornado closes a connection whose request head is too large, and answers a malformed one with a bare status line. The
sender must see why (RFC 6585 5, dapr-http-api 1.2), also when it still sends: the connection is read on for a moment.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest, split_host_and_port
from tornado.iostream import IOStream, UnsatisfiableReadError

_DRAIN_BYTES = 1024 * 1024
_DRAIN_S = 2.0
_BARE_400 = b"HTTP/1.1 400 Bad Request\r\n\r\n"  # what Tornado writes
_drains: set[asyncio.Task[None]] = set()


def _refusal(status: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nServer: tornflow\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(status)}\r\nConnection: close\r\n\r\n{status}".encode()


_BAD_REQUEST = _refusal("400 Bad Request")
_HEAD_TOO_LARGE = _refusal("431 Request Header Fields Too Large")


class EdgeServer(HTTPServer):
    """Tornado's server with answers to requests that never reach a handler."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if type(stream) is IOStream:  # TLS ends in front of this server
            limits = {"max_buffer_size": self.max_buffer_size, "read_chunk_size": self.read_chunk_size}
            stream = EdgeStream(stream.socket, **limits)
        super().handle_stream(stream, address)


class EdgeStream(IOStream):
    """One connection."""

    _reads_head = False
    _was_refused = False

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._reads_head = True  # nothing else is read this way
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._reads_head = False
        return super().read_until(delimiter, max_bytes)

    def write(self, data: bytes | memoryview) -> asyncio.Future[None]:
        if data == _BARE_400:
            self._was_refused = True
            data = _BAD_REQUEST
        return super().write(data)

    def close(self, exc_info: Any = False) -> None:
        if not self.closed():
            is_too_large = self._reads_head and isinstance(exc_info, UnsatisfiableReadError)
            if is_too_large or self._was_refused:
                _end_gently(self.socket, _HEAD_TOO_LARGE if is_too_large else b"")
        super().close(exc_info)


def to_origin_form(request: HTTPServerRequest) -> None:
    """Turn an absolute-form target, which clients of proxies send, into its path (RFC 9112 3.2.2)."""
    scheme, mark, rest = request.path.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        return
    authority, _, path = rest.partition("/")
    request.path = "/" + path
    request.uri = f"{request.path}?{request.query}" if request.query else request.path
    request.host = authority.rpartition("@")[2]  # it counts, the header does not
    request.host_name = split_host_and_port(request.host.lower())[0]


def _end_gently(connection: socket.socket, answer: bytes) -> None:
    """Say the last word and read on: closing on unread bytes resets the connection and destroys the answer."""
    try:
        if answer:
            connection.send(answer)
        connection.shutdown(socket.SHUT_WR)
        rest = connection.dup()  # outlives the stream
    except OSError:
        return  # the other side is gone
    drain = asyncio.get_running_loop().create_task(_drain(rest))
    _drains.add(drain)
    drain.add_done_callback(_drains.discard)


async def _drain(connection: socket.socket) -> None:
    loop, left = asyncio.get_running_loop(), _DRAIN_BYTES
    with connection, suppress(OSError, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while left > 0 and (chunk := await loop.sock_recv(connection, 65_536)):
                left -= len(chunk)
