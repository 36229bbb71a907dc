"""aiohttp's pool of connections, and what it does not tell: whether a connection was used before, and how much of an
answer has come.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError

from tornflow_task_http.resolver import PolicyResolver
from tornflow_task_http.settings import HttpSettings


class HeadTooLarge(HttpProcessingError):
    """The head of an answer exceeds a setting, which the message names."""


class AnswerReader(ResponseHandler):
    """The reading side of one connection. ``begin`` comes before each request.

    ``requests`` counts the requests so far, ``heard`` the bytes that came since the last one; ``is_in_head`` is for the
    caller to end when it has the head of the answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int, limit_headers: int) -> None:
        super().__init__(loop)
        self._limit_bytes = limit_bytes
        self._limit_headers = limit_headers
        self.requests = 0
        self.heard = 0
        self.is_in_head = False

    def begin(self) -> None:
        self.requests += 1
        self.heard = 0
        self.is_in_head = True
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=self._limit_bytes,
            max_field_size=self._limit_bytes,
            max_headers=self._limit_headers,
        )

    def data_received(self, data: bytes) -> None:
        self.heard += len(data)
        super().data_received(data)
        # The parser bounds each line. Many long ones are bounded here, to within one read: no head has come so far.
        if self.heard > self._limit_bytes and self.is_in_head and not len(self):
            self.set_exception(HeadTooLarge(message=self._too_many_bytes()))
            self.abort()

    def reason(self, error: HttpProcessingError) -> HttpProcessingError:
        """Return what an error of the parser means: a limit of ours, or no HTTP."""
        if error.message.startswith("Got more than"):
            return HeadTooLarge(message=self._too_many_bytes())
        if error.message.startswith("Too many headers"):
            limit = self._limit_headers
            return HeadTooLarge(message=f"the answer has more headers than outbound.answer_headers = {limit}")
        return error

    def _too_many_bytes(self) -> str:
        return f"the headers of the answer are larger than outbound.answer_header_bytes = {self._limit_bytes}"


class Pool:
    """Connections to reuse, and fresh ones. How many calls may be out is decided elsewhere (``slots``)."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        # The whole try is timed by the caller.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s)
        self._resolver = PolicyResolver(settings.policy)
        self._kept = self._connector(keepalive_timeout=settings.keep_alive_s)
        self._fresh = self._connector(force_close=True)

    def _connector(self, **fields: Any) -> aiohttp.TCPConnector:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=self._resolver,
            ttl_dns_cache=settings.dns_cache_s,
            use_dns_cache=settings.dns_cache_s > 0,
            **fields,
        )
        loop, limit_bytes, limit_headers = connector._loop, settings.answer_header_bytes, settings.answer_headers
        # There is no public way to have another reader; ``connect`` notices when this one has stopped to work.
        connector._factory = partial(AnswerReader, loop, limit_bytes, limit_headers)  # type: ignore[assignment]
        return connector

    async def connect(self, origin: aiohttp.ClientRequest, *, fresh: bool = False) -> tuple[Connection, AnswerReader]:
        """Return a connection: one that was kept, else a new one; ``fresh``: a new one that is not kept afterwards.

        The caller closes or releases it.

        Raises:
            AddressRefused: the policy closes every address of the host.
            aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError: it could not be made.
        """
        connector = self._fresh if fresh else self._kept
        try:
            connection = await connector.connect(origin, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(origin.host) from error
        reader = connection.protocol
        assert isinstance(reader, AnswerReader), "aiohttp makes its readers in another way"
        return connection, reader

    async def close(self) -> None:
        await self._kept.close()
        await self._fresh.close()
        await self._resolver.close()
