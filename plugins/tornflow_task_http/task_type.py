"""The http task type: shape, send, read; a second try only where it cannot do harm (decision 10)."""

from __future__ import annotations

import asyncio
from typing import Any

from tornflow.spi.task_type import NO_ANSWER, Answered, Attempt, Failed, Host, Outcome
from tornflow_task_http.exchange import Again, Broken, Exchange
from tornflow_task_http.payload import NotJson, decode
from tornflow_task_http.request import OutboundRequest, Unsendable, preview, shape
from tornflow_task_http.settings import HttpSettings, read_settings


class HttpTaskType:
    """Calls ``http://`` and ``https://`` resources. Settings: docs/task-types.md."""

    protocols: tuple[str, ...] = ("http", "https")
    title = "Call an executor over HTTP"

    def __init__(self) -> None:
        self._settings = HttpSettings()
        self._exchange: Exchange | None = None
        self._slots = asyncio.Semaphore(0)

    async def start(self, host: Host) -> None:
        self._settings = read_settings(host.settings)
        self._exchange = Exchange(self._settings)
        # One slot per connection: the time spent waiting for a free one must not count as the executor's slowness.
        self._slots = asyncio.Semaphore(self._settings.connections)

    async def execute(self, attempt: Attempt) -> Outcome:
        """Answer with the JSON of a 2xx answer; a blank or unreadable one is NO_ANSWER."""
        if self._exchange is None:
            return Failed("dispatchTask http fails due to the task type not being started")
        try:
            request = shape(attempt, self._settings.server_url, self._settings.secret)
        except Unsendable as error:
            return Failed(f"dispatchTask http fails due to {error}")
        async with self._slots:
            found = await self._try(self._exchange, request)
        if isinstance(found, Broken):
            return Failed(f"dispatchTask http fails due to {found.reason}")
        try:
            return Answered(decode(found))
        except NotJson:
            return NO_ANSWER

    def preview(self, attempt: Attempt) -> dict[str, Any]:
        """Return ``{"url": str, "body": object}`` as ``execute`` would send them; nothing is sent.

        Raises:
            Unsendable
        """
        return preview(attempt, self._settings.server_url)

    async def stop(self) -> None:
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            await exchange.close()

    async def _try(self, exchange: Exchange, request: OutboundRequest) -> bytes | Broken:
        found = await exchange.send(request)
        if isinstance(found, bytes) or found.again is Again.NO:
            return found
        if found.again is Again.IF_STRICT and not self._settings.strict:
            return found
        return await exchange.send(request)
