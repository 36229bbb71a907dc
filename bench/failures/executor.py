"""The executor of the failure runs: answers, calls any node back until it is heard, and remembers every call."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.failures.flows import MODULUS
from bench.failures.front import Front, Heard
from bench.wire import Request, answer, listen

CALLBACK_DELAY_S = (0.02, 1.5)
SLOW_S = (0.2, 2.0)
LATE_S = 1.0
"""After an attempt was reported as failed, a report of success comes late: it must change nothing."""
CALLBACK_PATIENCE_S = 150.0
CHILD = ":child_c_"
"""In the id of every execution that was started as a sub-flow."""
OVER = ("repeated finish", "is finished", "is over")
_ACK = answer(b"{}")


@dataclass(slots=True)
class Attempt:
    """One idempotency key, and what came under it."""

    key: str
    execution: str
    number: int
    instance: str
    prev: Any
    calls: int = 0
    stamps: set[str] = field(default_factory=set)
    """Of calls whose answer may have been taken."""
    acknowledged: set[str] = field(default_factory=set)
    """Stamps of callbacks that a node answered with 200."""
    failed: bool = False
    open_on: dict[int, float] = field(default_factory=dict)
    """Port of the node by which it was called and not answered yet, with the moment."""


@dataclass(slots=True)
class Ends:
    """What the completion callbacks of one execution said."""

    calls: int = 0
    said: set[str] = field(default_factory=set)


class Executor:
    """``/sync`` answers at once, ``/slow`` after a while, ``/async`` acknowledges and calls back, ``/flaky`` fails at
    first, ``/end`` takes completion callbacks."""

    def __init__(self, chance: random.Random, front: Front) -> None:
        self.port = 0
        self.dispatches = 0
        self.attempts: dict[str, Attempt] = {}
        self.executions: dict[int, set[str]] = {}
        """Ids of the root executions that were seen for each submitted number."""
        self.ends: dict[str, Ends] = {}
        self.doubled: list[str] = []
        self.complaints: list[str] = []
        self.early: list[str] = []
        self.refused_late = 0
        self.watches: list[Watch] = []
        self.answered_at: dict[tuple[str, str], float] = {}
        self._chance, self._front = chance, front
        self._stamps = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls_per_attempt(self) -> float:
        return self.dispatches / max(1, len(self.attempts))

    @property
    def most_calls(self) -> int:
        return max((one.calls for one in self.attempts.values()), default=0)

    async def start(self) -> None:
        self._server, self.port = await listen(self._handle)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def pending(self) -> int:
        """Callbacks and answers that are still to be given."""
        return len(self._tasks)

    def watch(self, port: int) -> Watch:
        """A node has just died: note when the attempts that it had in hand are sent out by another."""
        held = {attempt.key for attempt in self.attempts.values() if port in attempt.open_on}
        for key in held:
            self.attempts[key].open_on.pop(port, None)
        self.watches.append(Watch(time.monotonic(), held))
        return self.watches[-1]

    def _handle(self, request: Request) -> bytes | None:
        path, _, query = request.target.decode().partition("?")
        body = json.loads(request.body or b"{}")
        if path == "/end":
            return self._end(body)
        self.dispatches += 1
        attempt = self._attempt(request, body, query)
        attempt.calls += 1
        for watch in self.watches:
            watch.note(attempt.key)
        stamp = f"{next(self._stamps)}"
        result = {"v": (int(body["v"]) * 7 + attempt.number) % MODULUS, "stamp": stamp}
        callback = request.header(b"x-callback-url").decode()
        return self._MODES[path](self, request, attempt, result, callback)

    def _attempt(self, request: Request, body: dict[str, Any], query: str) -> Attempt:
        key = request.header(b"x-idempotency-key").decode()
        number, prev = int(body["number"]), body.get("prev")
        attempt = self.attempts.get(key)
        if attempt is None:
            execution, instance = key.rsplit("/", 2)[0], key.rsplit("/", 2)[1]
            attempt = self.attempts[key] = Attempt(key, execution, number, instance, prev)
            if CHILD not in execution:
                self.executions.setdefault(number, set()).add(execution)
        elif (attempt.number, attempt.prev) != (number, prev):
            self.doubled.append(f"{key}: sent with {attempt.number, attempt.prev}, then with {number, prev}")
        return attempt

    def _sync(self, request: Request, attempt: Attempt, result: dict[str, Any], callback: str) -> bytes:
        attempt.stamps.add(result["stamp"])
        self.answered_at.setdefault((attempt.execution, attempt.instance), time.monotonic())
        return answer(json.dumps(result).encode())

    def _later(self, request: Request, attempt: Attempt, result: dict[str, Any], callback: str) -> bytes:
        """A task that waits two seconds after task ``a``."""
        answered = self.answered_at.get((attempt.execution, "a"))
        if answered is not None and time.monotonic() - answered < 1.9:
            self.early.append(f"{attempt.key}: {time.monotonic() - answered:.2f} s instead of 2")
        return self._sync(request, attempt, result, callback)

    def _slow(self, request: Request, attempt: Attempt, result: dict[str, Any], callback: str) -> None:
        attempt.stamps.add(result["stamp"])
        port = urlsplit(callback).port or 0
        attempt.open_on[port] = time.monotonic()

        async def reply() -> None:
            await asyncio.sleep(self._chance.uniform(*SLOW_S))
            attempt.open_on.pop(port, None)
            request.connection.send(answer(json.dumps(result).encode()))

        self._later_on(reply())

    def _flaky(self, request: Request, attempt: Attempt, result: dict[str, Any], callback: str) -> bytes:
        """Fail the first ``number % 3`` attempts."""
        if attempt_number(attempt.key) <= attempt.number % 3:
            attempt.failed = True
            return answer(b'{"result_type":"FAILED","error_code":"again"}')
        return self._sync(request, attempt, result, callback)

    def _async(self, request: Request, attempt: Attempt, result: dict[str, Any], callback: str) -> bytes | None:
        is_failing = attempt.number % 4 == 0 and attempt_number(attempt.key) == 1
        self._later_on(self._report(attempt, result, callback, is_failing))
        return _ACK

    _MODES = {"/sync": _sync, "/slow": _slow, "/flaky": _flaky, "/async": _async, "/later": _later}

    async def _report(self, attempt: Attempt, result: dict[str, Any], url: str, is_failing: bool) -> None:
        await asyncio.sleep(self._chance.uniform(*CALLBACK_DELAY_S))
        if not is_failing:
            attempt.stamps.add(result["stamp"])
            if await self._call_back(attempt, {"result_type": "SUCCESS", **result}, url):
                attempt.acknowledged.add(result["stamp"])
            if len(attempt.acknowledged) > 1:
                self.doubled.append(f"{attempt.key}: callbacks {sorted(attempt.acknowledged)} were all taken")
            return
        attempt.failed = True
        await self._call_back(attempt, {"result_type": "FAILED", "error_code": "again"}, url)
        await asyncio.sleep(LATE_S)
        late = {"result_type": "SUCCESS", "v": result["v"], "stamp": f"late-{result['stamp']}"}
        if await self._call_back(attempt, late, url):
            self.doubled.append(f"{attempt.key}: its late callback was taken after it had failed")
        else:
            self.refused_late += 1

    async def _call_back(self, attempt: Attempt, body: dict[str, Any], url: str) -> bool:
        """Tell some node; True when one took it, False when one said that it is over."""
        parts = urlsplit(url)
        end = time.monotonic() + CALLBACK_PATIENCE_S
        heard = Heard(0, "")
        while time.monotonic() < end:
            heard = await self._front.post("callback", f"{parts.path}?{parts.query}", json.dumps(body).encode())
            if heard.status == 200:
                return True
            if any(word in heard.text for word in OVER):
                return False
            await asyncio.sleep(self._chance.uniform(0.02, 0.3))
        self.complaints.append(f"callback of {attempt.key} was not taken: {heard.status} {heard.text[:200]}")
        return False

    def _end(self, body: dict[str, Any]) -> bytes:
        ends = self.ends.setdefault(str(body.get("execution_id")), Ends())
        ends.calls += 1
        ends.said.add(json.dumps([body.get("dag_status"), body.get("data")], sort_keys=True))
        return _ACK

    def _later_on(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(slots=True)
class Watch:
    """Since when a node is dead, and which of its attempts have come again."""

    at: float
    held: set[str]
    again: Counter[str] = field(default_factory=Counter)
    first_s: float | None = None
    last_s: float | None = None

    def note(self, key: str) -> None:
        if key in self.held and key not in self.again:
            self.again[key] += 1
            self.last_s = time.monotonic() - self.at
            if self.first_s is None:
                self.first_s = self.last_s


def attempt_number(key: str) -> int:
    """Return the number at the end of an idempotency key."""
    found = re.search(r"(\d+)$", key)
    return int(found[1]) if found else 1
