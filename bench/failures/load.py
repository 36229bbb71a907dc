"""The mixed load: flows of all kinds at a rate, submitted until they are accepted, woken where they wait."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from urllib.parse import quote

from bench.failures import flows
from bench.failures.executor import OVER, Executor
from bench.failures.flows import Kind
from bench.failures.front import Front, Heard
from bench.rill import BUSINESS

OPEN_LIMIT = 400
"""Accepted flows without an end; more are not submitted."""
PATIENCE_S = 150.0
LOOKS, LOOK_PAUSE_S, CLOCKS_MS = 8, 1.0, 5_000
KEYLESS = 5
"""One in so many submissions has no key: after an unknown outcome it can only be looked up."""


@dataclass(slots=True)
class Load:
    """``rate``: flows per second that are begun."""

    front: Front
    executor: Executor
    chance: random.Random
    rate: float
    accepted: dict[int, str] = field(default_factory=dict)
    kinds: dict[int, Kind] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)
    """Submissions that nobody knows to be accepted, with the last answer."""
    unwoken: list[str] = field(default_factory=list)
    looked_up: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _found: set[str] = field(default_factory=set)

    async def register(self) -> None:
        base = self.executor.base
        for name, text in (("child", flows.child(base)), *((kind.name, kind.text(base)) for kind in flows.KINDS)):
            names = f"business_id={BUSINESS}&feature_name={name}&alias=release"
            target = f"/flow/bg/manage/descriptor/add_descriptor.json?{names}"
            heard = await self.front.post("register", target, text.encode())
            if heard.status != 200:
                raise ValueError(f"{name} was not registered: {heard.status} {heard.text[:600]}")

    async def run(self, until: float) -> None:
        """Begin flows until the moment (monotonic), then wait for what was begun to be accepted and woken."""
        number = 0
        try:
            while time.monotonic() < until:
                await asyncio.sleep(self.chance.expovariate(self.rate))
                if len(self.accepted) - len(self.executor.ends) > OPEN_LIMIT or len(self._tasks) > OPEN_LIMIT:
                    continue
                number += 1
                task = asyncio.create_task(self._one(number, flows.draw(self.chance)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            while self._tasks:
                done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, number: int, kind: Kind) -> None:
        self.kinds[number] = kind
        execution = await self._submit(number, kind)
        if execution is None:
            return
        self.accepted[number] = execution
        if kind.wake:
            await asyncio.sleep(self.chance.uniform(0.0, 2.0))
            await self._wake(number, kind, execution)

    async def _submit(self, number: int, kind: Kind) -> str | None:
        key = b"" if number % KEYLESS == 0 else b"Idempotency-Key: failures-%d\r\n" % number
        callback = quote(json.dumps({"resourceName": f"{self.executor.base}/end", "fullContext": True}), safe="")
        target = f"/flow/submit.json?descriptor_id={BUSINESS}:{kind.name}&callback={callback}"
        body = json.dumps(flows.context_of(kind, number)).encode()
        since_ms, end = int(time.time() * 1000), time.monotonic() + PATIENCE_S
        heard = Heard(0, "")
        while time.monotonic() < end:
            heard = await self.front.post("submit", target, body, key)
            if heard.status == 200:
                return str(heard.json()["execution_id"])
            if heard.is_unknown and not key:
                return await self._look_up(number, kind, since_ms, heard)
            await asyncio.sleep(self.chance.uniform(0.05, 0.4))
        self.unknown[number] = f"{heard.status} {heard.text[:200]}"
        return None

    async def _look_up(self, number: int, kind: Kind, since_ms: int, heard: Heard) -> str | None:
        """Look for it in the list of executions, as the answer says; what is not found in some seconds is unknown."""
        target = f"/flow/bg/get_execution_ids.json?business={BUSINESS}&feature={kind.name}&pageSize=1000&page=1"
        seen: set[str] = set()
        for _ in range(LOOKS):
            await asyncio.sleep(LOOK_PAUSE_S)
            listed = await self.front.get(f"{target}&startTime={since_ms - CLOCKS_MS}")
            items = (listed.json() or {}).get("items", []) if listed.status == 200 else []
            candidates = {str(item["execution_id"]) for item in items} - seen - set(self.accepted.values())
            for execution in candidates:
                view = await self.front.get(f"/flow/get.json?execution_id={quote(execution, safe='')}")
                if view.status != 200:
                    continue
                seen.add(execution)
                if view.json()["ret"]["context"].get("number") == number:
                    self.looked_up += 1
                    return execution
        self.unknown[number] = f"{heard.status} {heard.text[:200]}"
        return None

    async def wake_forgotten(self) -> None:
        """Wake what was begun although nobody was told: the executor has seen it, so somebody would find it."""
        for number in list(self.unknown):
            kind = self.kinds[number]
            for execution in self.executor.executions.get(number, ()) if kind.wake else ():
                if execution not in self._found:
                    self._found.add(execution)
                    await self._wake(number, kind, execution)

    async def _wake(self, number: int, kind: Kind, execution: str) -> None:
        id, body = quote(execution, safe=""), json.dumps({"go": f"go-{number}"}).encode()
        target = f"/flow/wakeup.json?execution_id={id}&task_name={flows.GATE}"
        if kind.wake == "event":
            target = f"/v1.0/workflows/dapr/{id}/raiseEvent/Go"
        end = time.monotonic() + PATIENCE_S
        heard = Heard(0, "")
        while time.monotonic() < end:
            heard = await self.front.post(kind.wake, target, body)
            if 200 <= heard.status < 300 or any(word in heard.text for word in OVER):
                return
            await asyncio.sleep(self.chance.uniform(0.05, 0.4))
        self.unwoken.append(f"{execution} ({kind.name}): {heard.status} {heard.text[:200]}")
