"""Receives completion callbacks, so that the end of a flow is seen without polling."""

from __future__ import annotations

import asyncio
import json
import time

from bench.wire import Request, answer, listen

_OK = answer(b"{}")


class Bell:
    """Its few milliseconds count in every run alike. ``url`` is what a submission is given as ``callback``."""

    def __init__(self) -> None:
        self.url = ""
        self._server: asyncio.Server | None = None
        self._rung: dict[str, float] = {}
        self._news = asyncio.Event()

    async def start(self) -> None:
        self._server, port = await listen(self._handle)
        self.url = f"http://127.0.0.1:{port}/done"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def rung_for(self, execution_id: str, timeout_s: float) -> float:
        """Return when (``time.perf_counter``) the callback of this execution came.

        Raises:
            TimeoutError: not within ``timeout_s``.
        """
        async with asyncio.timeout(timeout_s):
            while execution_id not in self._rung:
                self._news.clear()
                await self._news.wait()
        return self._rung.pop(execution_id)

    def _handle(self, request: Request) -> bytes:
        now = time.perf_counter()
        self._rung[str(json.loads(request.body)["execution_id"])] = now
        self._news.set()
        return _OK
