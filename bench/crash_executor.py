"""The executor of the crash figure: computes checkable values and calls back until it is heard."""

from __future__ import annotations

import asyncio
import json
import random
import re
from urllib.parse import urlsplit

from bench.wire import Broken, Client, Request, answer, listen

CALLBACK_DELAY_S = 0.1
"""A callback comes after a random time up to this."""
RETRY_PAUSE_S = 0.05
CALLBACK_TRIES = 2_400
CALLS_AT_ONCE = 64
_DONE = ("repeated finish", "is finished", "is over")
_FIRST = re.compile(rb"\D1$")
"""The idempotency key of a first attempt: its number comes last."""
_ACK = answer(b"{}")
_FAILED = answer(b'{"result_type":"FAILED","code":"again"}')


def expected(number: int) -> dict[str, int]:
    """Return what a submitted number must have become in the end."""
    a = number * 3 + 1
    b = a * 7 + number
    return {"number": number, "a": a, "b": b, "c": b * 5 + number}


class Executor:
    """``first`` answers a; ``second`` acknowledges and calls back with b; ``third`` fails once for every third number.

    It keeps nothing that a result depends on: every value comes from the body, so lost or mixed state shows.
    """

    def __init__(self, chance: random.Random) -> None:
        self.port = 0
        self.dispatches = 0
        self.repeated = 0
        self.callbacks_repeated = 0
        self.executions: dict[int, set[str]] = {}
        """Execution ids that were seen for each submitted number."""
        self.ended: set[int] = set()
        """Numbers whose last task was answered."""
        self.complaints: list[str] = []
        self._chance = chance
        self._keys: set[bytes] = set()
        self._callbacks: set[asyncio.Task[None]] = set()
        self._clients: dict[int, Client] = {}
        self._places = asyncio.Semaphore(CALLS_AT_ONCE)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server, self.port = await listen(self._handle)

    async def close(self) -> None:
        """Stop listening and give up what has not been called back."""
        if self._server is not None:
            self._server.close()
        for task in self._callbacks:
            task.cancel()
        await asyncio.gather(*self._callbacks, return_exceptions=True)
        for client in self._clients.values():
            client.close()

    def _handle(self, request: Request) -> bytes:
        body = json.loads(request.body)
        number = int(body["number"])
        self.executions.setdefault(number, set()).add(body["execution_id"])
        key = request.header(b"x-idempotency-key")
        self.dispatches += 1
        self.repeated += key in self._keys
        self._keys.add(key)
        task = request.target.split(b"?", 1)[0]
        if task == b"/first":
            return answer(b'{"a":%d}' % (number * 3 + 1))
        if task == b"/second":
            b = int(body["a"]) * 7 + number
            self._call_back_later(request.header(b"x-callback-url").decode(), b'{"result_type":"SUCCESS","b":%d}' % b)
            return _ACK
        if number % 3 == 0 and _FIRST.search(key):
            return _FAILED
        self.ended.add(number)
        return answer(b'{"c":%d}' % (int(body["b"]) * 5 + number))

    def _call_back_later(self, url: str, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._call_back(url, body))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def _call_back(self, url: str, body: bytes) -> None:
        await asyncio.sleep(self._chance.uniform(0, CALLBACK_DELAY_S))
        parts = urlsplit(url)
        client = self._clients.setdefault(int(parts.port or 80), Client(int(parts.port or 80), timeout_s=10.0))
        reason = ""
        for attempt in range(CALLBACK_TRIES):
            self.callbacks_repeated += attempt > 0
            try:
                async with self._places:
                    status, reply = await client.post(f"{parts.path}?{parts.query}", body)
            except Broken as error:
                reason = str(error)
            else:
                text = reply.decode("utf-8", "replace")
                if status == 200 or any(word in text for word in _DONE):
                    return
                reason = f"{status} {text[:200]}"
            await asyncio.sleep(RETRY_PAUSE_S)
        self.complaints.append(f"callback {url} was not taken: {reason}")
