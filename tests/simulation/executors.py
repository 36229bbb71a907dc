"""Executors and what they remember: slow, doubled, late, silent, quicker than their own acknowledgement.

How an attempt ends follows from the resource of the task and the number of the attempt; when it ends, and what comes
back besides, from the seed. A call is remembered with its key: the same key must always mean the same attempt.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.simulation.loop import Process
from tornflow.spi.task_type import NO_ANSWER, Answered, Attempt, Failed, Host, Outcome

if TYPE_CHECKING:
    from tests.simulation.world import World

_PLAN = re.compile(r"(\w+)-fail(\d+)-never(\d+)-(\w+)")


@dataclass(frozen=True, slots=True)
class Call:
    at: float
    node: str
    attempt: Attempt


@dataclass(slots=True)
class Executors:
    """All executors of the world: they live outside of every node and forget nothing."""

    world: World
    pace_s: float
    is_moody: bool = True
    """False once the faults have stopped: everybody answers promptly and once."""
    calls: dict[str, list[Call]] = field(default_factory=dict)
    callbacks: dict[str, list[Attempt]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def note(self, attempt: Attempt, node: str) -> Random:
        known = self.calls.setdefault(attempt.idempotency_key, [])
        if known and not _is_same(known[0].attempt, attempt):
            self.problems.append(f"key {attempt.idempotency_key} means {known[0].attempt} and {attempt}")
        known.append(Call(self.world.loop.time(), node, attempt))
        self.world.trace("call", node, attempt.idempotency_key)
        return Random(f"call/{self.world.seed}/{attempt.idempotency_key}/{len(known)}")

    def latency(self, dice: Random) -> float:
        if not self.is_moody:
            return 0.01
        pace = self.pace_s * dice.choice([0.1, 1, 1, 1, 5])
        return pace if dice.random() < 0.97 else pace + dice.choice([2.0, 12.0])

    async def execute(self, attempt: Attempt, process: Process) -> Outcome:
        dice = self.note(attempt, process.name)
        if not attempt.task_name:
            return await self._take_callback(attempt, dice)
        found = _PLAN.match(attempt.rest)
        assert found is not None, attempt
        is_shaky = found[4] == "shaky" and dice.random() < 0.5
        is_failed = attempt.number <= int(found[2]) or is_shaky
        if attempt.pattern == "task_sync":
            await asyncio.sleep(self.latency(dice))
            return self._sync_outcome(attempt, dice, is_failed)
        is_silent = int(found[2]) < attempt.number <= int(found[2]) + int(found[3])
        self._promise(attempt, dice, is_failed=is_failed, is_silent=is_silent)
        await asyncio.sleep(self.latency(dice))
        if is_shaky and dice.random() < 0.3:
            return Failed("it said no, and went to work all the same")
        return dice.choice([NO_ANSWER, Answered({"invoke_id": "i"}), Answered([1]), Answered("received")])

    async def _take_callback(self, attempt: Attempt, dice: Random) -> Outcome:
        await asyncio.sleep(self.latency(dice))
        self.callbacks.setdefault(attempt.execution_id, []).append(attempt)
        return Failed("gone") if self.is_moody and dice.random() < 0.1 else NO_ANSWER

    def _sync_outcome(self, attempt: Attempt, dice: Random, is_failed: bool) -> Outcome:
        if is_failed:
            if dice.random() < 0.2:
                raise RuntimeError("planned")
            answer = Answered({"result_type": "FAILED", "nonce": self.world.nonce("s")})
            return dice.choice([Failed("planned", "planned"), answer])
        return Answered({"v": value_of(attempt), "nonce": self.world.nonce("s")})

    def _promise(self, attempt: Attempt, dice: Random, *, is_failed: bool, is_silent: bool) -> None:
        """Report the end of an asynchronous attempt some time from now, perhaps twice, perhaps far too late."""
        delays = [self.latency(dice) * dice.choice([0.2, 1, 2])]
        if is_silent:
            delays = [dice.choice([8.0, 20.0])] if dice.random() < 0.5 else []
        elif self.is_moody and dice.random() < 0.2:
            delays.append(delays[0] + dice.choice([0.0, 0.001, 3.0]))
        token = token_of(attempt.callback_url)
        payload = {} if is_failed else {"v": value_of(attempt)}
        for delay in delays:
            self.world.outside.report(attempt, token, payload, not is_failed, delay, dice.random())


def token_of(url: str) -> str | None:
    return parse_qs(urlsplit(url).query).get("token", [None])[0]


def value_of(attempt: Attempt) -> str:
    """Say which task did it to which input."""
    return value(attempt.task_name.rpartition("-")[2], attempt.input)


def value(task: str, task_input: Any) -> str:
    x = task_input.get("x", "")
    if not isinstance(x, str):
        x = hashlib.md5(json.dumps(x, sort_keys=True).encode()).hexdigest()[:6]
    return f"{task}({task_input.get('e', '')},{x})"


def _is_same(first: Attempt, second: Attempt) -> bool:
    def identity(one: Attempt) -> tuple[Any, ...]:
        return one.execution_id, one.task_name, one.number, one.input, token_of(one.callback_url), one.resource

    return identity(first) == identity(second)


@dataclass(slots=True)
class SimulatedTaskType:
    """What a node has installed: the way to the executors."""

    executors: Executors
    process: Process
    protocols: tuple[str, ...] = ("sim",)
    title: str = "Simulated executors"
    started: int = 0

    async def start(self, host: Host) -> None:
        self.started += 1

    async def execute(self, attempt: Attempt) -> Outcome:
        return await self.executors.execute(attempt, self.process)

    async def stop(self) -> None:
        self.started -= 1

