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

from tornflow_task_http.connections import AnswerReader, HeadTooLarge, Pool
from tornflow_task_http.settings import HttpSettings

_PLACES = 2048


class NotHttp(Exception):
    """What came back cannot be read as HTTP; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A URL without its query, parsed once. ``origin`` tells the pool where to connect to."""

    origin: aiohttp.ClientRequest
    site: str
    host: str
    host_header: str
    path: str
    authorization: str | None


class Wire:
    """All calls on one event loop."""

    def __init__(self, settings: HttpSettings) -> None:
        self._pool = Pool(settings)
        self._loop = asyncio.get_running_loop()
        self.place: Callable[[str], Place] = lru_cache(maxsize=_PLACES)(self._parsed)

    async def close(self) -> None:
        await self._pool.close()

    async def ask(
        self, place: Place, method: str, query: str, headers: CIMultiDict[str], body: bytes | None
    ) -> tuple[Connection, RawResponseMessage, StreamReader]:
        """Send one request; return its connection, the head of the answer, and the stream of its body as it came.

        A connection that was used before and ends before the first byte of an answer had been closed by the other side
        while it was idle (RFC 9112, 9.3 and 9.5). It is replaced, once, by a fresh one: every dispatch carries an
        idempotency key. A ``Host`` among the headers wins over that of the place. The caller closes or releases the
        connection.

        Raises:
            ValueError: a header cannot be written; nothing was sent.
            AddressRefused, HeadTooLarge, NotHttp, aiohttp.ClientError, OSError
        """
        connection, reader = await self._pool.connect(place.origin)
        try:
            return connection, *await self._exchange(reader, place, method, query, headers, body)
        except aiohttp.ClientConnectionError:
            connection.close()
            if reader.requests == 1 or reader.heard:
                raise
        except BaseException:
            connection.close()
            raise
        connection, reader = await self._pool.connect(place.origin, fresh=True)
        try:
            return connection, *await self._exchange(reader, place, method, query, headers, body)
        except BaseException:
            connection.close()
            raise

    async def _exchange(
        self,
        reader: AnswerReader,
        place: Place,
        method: str,
        query: str,
        headers: CIMultiDict[str],
        body: bytes | None,
    ) -> tuple[RawResponseMessage, StreamReader]:
        head = _head(place, headers, body)
        reader.begin()
        writer = StreamWriter(reader, self._loop)
        target = f"{place.path}?{query}" if query else place.path
        await writer.write_headers(f"{method} {target} HTTP/1.1", head)
        # Not drained: who refuses a large body half way has answered, and we must get to read that.
        await writer.write(body or b"", drain=False)
        try:
            message, content = await reader.read()
            while 100 <= message.code < 200 and message.code != 101:  # "go on" and hints before the answer itself
                message, content = await reader.read()
        except HttpProcessingError as error:
            found = reader.reason(error)
            raise found if isinstance(found, HeadTooLarge) else NotHttp(error.message) from error
        reader.is_in_head = False
        return message, content

    def _parsed(self, base: str) -> Place:
        url = URL(base, encoded=True)
        authorization = None
        if url.raw_user is not None or url.raw_password is not None:
            authorization = aiohttp.encode_basic_auth(url.user or "", url.password or "")
            url = url.with_user(None)
        origin = aiohttp.ClientRequest("GET", url, loop=self._loop)
        site = f"{url.scheme}://{url.host}:{url.port}"
        return Place(origin, site, url.host or "", origin.headers["Host"], url.raw_path, authorization)


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
