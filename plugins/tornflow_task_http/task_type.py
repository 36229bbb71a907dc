"""The http task type: shape, send, read; a second try only where it cannot do harm (decision 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.spi.task_type import NO_ANSWER, Answered, Attempt, Failed, Host, Outcome
from tornflow_task_http.answers import Again, Broken, Whole
from tornflow_task_http.exchange import Exchange
from tornflow_task_http.payload import NotJson, decode
from tornflow_task_http.request import OutboundRequest, Unsendable, origin_of, preview, shape
from tornflow_task_http.settings import HttpSettings, read_settings


class HttpTaskType:
    """Calls ``http://`` and ``https://`` resources. Settings: docs/task-types.md."""

    protocols: tuple[str, ...] = ("http", "https")
    title = "Call an executor over HTTP"
    icon = "ant-design:cloud-server-outlined"
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "query": {"type": "object", "title": "Query parameters"},
            "header": {"type": "object", "title": "Headers"},
            "body": {"type": "object", "title": "Members of the body"},
        },
        "additionalProperties": True,
    }

    def __init__(self) -> None:
        self._settings = HttpSettings()
        self._exchange: Exchange | None = None

    async def start(self, host: Host) -> None:
        self._settings = read_settings(host.settings)
        self._exchange = Exchange(self._settings)

    async def execute(self, attempt: Attempt) -> Outcome:
        """Answer with the JSON of a 2xx answer. A blank or unreadable one fails a ``task_sync`` with the reason, and is
        NO_ANSWER for the other patterns, which only need an acknowledgement."""
        if self._exchange is None:
            return _failed("the task type not being started", "not_started")
        try:
            request = shape(
                attempt, self._settings.server_url, self._settings.secret, strict=self._settings.strict
            )
        except Unsendable as error:
            return _failed(str(error), "unsendable")
        found = await self._try(self._exchange, request)
        if isinstance(found, Broken):
            return _failed(found.reason, found.code)
        try:
            return Answered(decode(found.body, found.charset))
        except NotJson as error:
            if attempt.pattern != "task_sync":
                return NO_ANSWER
            return _failed(found.unreadable(str(error)), "not_json")

    def target(self, resource: str) -> str:
        """Return scheme, host and port; the protocol alone for what is no URL."""
        return origin_of(resource) or resource.partition("://")[0]

    def preview(self, attempt: Attempt) -> dict[str, Any]:
        """Return ``{"url": str, "body": object}`` as ``execute`` would send them; nothing is sent.

        Raises:
            Unsendable
        """
        return preview(attempt, self._settings.server_url, strict=self._settings.strict)

    async def stop(self) -> None:
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            await exchange.close()

    async def _try(self, exchange: Exchange, request: OutboundRequest) -> Whole | Broken:
        found = await exchange.send(request)
        if isinstance(found, Whole) or found.again is Again.NO:
            return found
        if found.again is Again.IF_STRICT and not self._settings.strict:
            return found
        return await exchange.send(request)


def _failed(reason: str, code: str) -> Failed:
    return Failed(f"dispatchTask http fails due to {reason}", code)
