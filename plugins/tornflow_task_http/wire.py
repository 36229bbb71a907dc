"""One request on a connection of aiohttp's pool.

Pool, TLS, name resolution, the writer and the parser are aiohttp's. Its client session is left out: cookies, proxies,
traces, three copies of the headers and a task for every body are half the price of a small call, and nothing here needs
them. ``tests/conformance/test_task_type_http*.py`` show that what a session does for us is still done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from yarl import URL

from tornflow_task_http.resolver import PolicyResolver
from tornflow_task_http.settings import HttpSettings

_PLACES = 2048


class NotHttp(Exception):
    """What came back cannot be read as HTTP; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A URL without its query, parsed once. ``origin`` tells the pool where to connect to."""

    origin: aiohttp.ClientRequest
    host: str
    host_header: str
    path: str
    authorization: str | None


class Wire:
    """A pool of connections; all calls on one event loop."""

    def __init__(self, settings: HttpSettings) -> None:
        self._connector = aiohttp.TCPConnector(
            limit=settings.connections,
            keepalive_timeout=settings.keep_alive_s,
            ttl_dns_cache=settings.dns_cache_s,
            use_dns_cache=settings.dns_cache_s > 0,
            resolver=PolicyResolver(settings.policy),
        )
        # The whole try is timed by the caller.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s)
        self._loop = asyncio.get_running_loop()
        self.place: Callable[[str], Place] = lru_cache(maxsize=_PLACES)(self._parsed)

    async def close(self) -> None:
        await self._connector.close()

    async def connect(self, place: Place) -> Connection:
        """Return a connection from the pool, or a new one. The caller closes or releases it.

        Raises:
            AddressRefused: the policy closes every address of the host.
            aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError: it could not be made.
        """
        try:
            return await self._connector.connect(place.origin, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(place.host) from error

    async def ask(
        self,
        connection: Connection,
        place: Place,
        method: str,
        query: str,
        headers: CIMultiDict[str],
        body: bytes | None,
    ) -> tuple[RawResponseMessage, StreamReader]:
        """Send one request and return the head of its answer, and the stream of its body as it came (not unpacked).

        A ``Host`` among the headers wins over that of the place.

        Raises:
            ValueError: a header cannot be written; nothing was sent.
            NotHttp, aiohttp.ClientError, OSError
        """
        protocol = connection.protocol
        assert protocol is not None, "a connection is used before it is released"
        head = _head(place, headers, body)
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        writer = StreamWriter(protocol, self._loop)
        target = f"{place.path}?{query}" if query else place.path
        await writer.write_headers(f"{method} {target} HTTP/1.1", head)
        # Not drained: who refuses a large body half way has answered, and we must get to read that.
        await writer.write(body or b"", drain=False)
        try:
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:  # "go on" and hints before the answer itself
                message, content = await protocol.read()
        except HttpProcessingError as error:
            raise NotHttp(error.message) from error
        return message, content

    def _parsed(self, base: str) -> Place:
        url = URL(base, encoded=True)
        authorization = None
        if url.raw_user is not None or url.raw_password is not None:
            authorization = aiohttp.encode_basic_auth(url.user or "", url.password or "")
            url = url.with_user(None)
        origin = aiohttp.ClientRequest("GET", url, loop=self._loop)
        return Place(origin, url.host or "", origin.headers["Host"], url.raw_path, authorization)


def _head(place: Place, headers: CIMultiDict[str], body: bytes | None) -> CIMultiDict[str]:
    head = CIMultiDict(Host=place.host_header)
    head.update(headers)
    if place.authorization is not None:
        if "Authorization" in head:
            raise ValueError("the URL and the headers both hold credentials")
        head["Authorization"] = place.authorization
    if body is not None:
        head["Content-Length"] = str(len(body))
    return head
