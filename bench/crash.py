"""Figure 5: ``kill -9`` under load, again and again; nothing that was accepted may be lost, doubled or wrong.

Also a program of its own, for tests: ``python bench/crash.py --kills 5 --seconds 10`` exits 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: the folder above is the import root
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.crash_executor import Executor, expected
from bench.lab import STORES, Lab, open_lab
from bench.processes import LOAD_CPU, REPO, NotRunning, Server, pin, stop_on_signals
from bench.report import Figure, say, table
from bench.rill import Refused, Rill, checkable
from bench.wire import Broken

SETTINGS = ("engine.node_heartbeat_s=0.25", "engine.node_timeout_s=1")
"""A killed node of a shared store is given up after a second, so that 50 kills leave work to each next one."""
PAUSE_S = 0.05
RUNNING_S = (0.2, 1.2)
"""A kill comes at a random moment of this span after the server became ready."""
DRAIN_S = 120.0
FLOWS_LIMIT = 200_000
OPEN_LIMIT = 1_000
"""Flows that were accepted and have not reached their last task; more are not submitted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``seconds``: the load goes on at least so long; ``seed`` repeats the moments of the kills, not the races."""

    kills: int = 50
    seconds: float = 0.0
    in_flight: int = 64
    seed: int = 1


async def measure(lab: Lab, stores: Sequence[str], plan: Plan) -> Figure:
    """One trial per store."""
    rows, verdicts, losses = [], [], {}
    for kind in stores:
        trial = _Trial(lab, kind, plan)
        row = await trial.run()
        rows.append(row)
        losses[kind] = trial.complaints[:20]
        verdicts += _verdicts(kind, row)
        for text in trial.complaints[:5]:
            say(f"{kind}: {text}")
    title = f"kill -9, {plan.kills} times under load, {plan.in_flight} flows in flight"
    return Figure("crash", title, rows, verdicts, {"seed": plan.seed, "complaints": losses})


def _verdicts(kind: str, row: dict[str, Any]) -> list[tuple[bool, str]]:
    accepted, finished = row["accepted"], row["finished"]
    return [
        (accepted == finished > 0, f"{kind}: {accepted} accepted, {finished} finished"),
        (row["wrong contexts"] == 0, f"{kind}: {row['wrong contexts']} final contexts are wrong"),
        (row["duplicates"] == 0, f"{kind}: {row['duplicates']} executions too many for their idempotency keys"),
        (row["in store"] == accepted, f"{kind}: the store holds {row['in store']} executions"),
    ]


@dataclass(slots=True)
class _Trial:
    lab: Lab
    kind: str
    plan: Plan
    accepted: dict[int, str] = field(default_factory=dict)
    """Execution id by submitted number: what the server has promised."""
    complaints: list[str] = field(default_factory=list)
    repeated_submits: int = 0
    refused_submits: int = 0
    finished: int = 0
    wrong: int = 0
    duplicates: int = 0
    _next: int = 0
    _is_over: bool = False

    async def run(self) -> dict[str, Any]:
        store, executor = self.lab.store(self.kind), Executor(random.Random(self.plan.seed))
        await executor.start()
        server = self.lab.server(store, SETTINGS)
        try:
            await server.start()
            with closing(Rill(server.port, timeout_s=10.0)) as rill:
                await rill.register("checkable", checkable(executor.port))
                downtimes = await self._kill_under_load(server, rill, executor)
                started = time.perf_counter()
                await self._drain(rill)
                drained = time.perf_counter() - started
                await self._check(rill, executor)
                counts = await rill.count_by_status()
        finally:
            await executor.close()
            server.stop()
            self.lab.clear(store)
        self.complaints += executor.complaints
        return {
            "store": self.kind,
            "kills": self.plan.kills,
            "accepted": len(self.accepted),
            "finished": self.finished,
            "wrong contexts": self.wrong,
            "duplicates": self.duplicates,
            "in store": sum(counts.values()),
            "submits repeated": self.repeated_submits,
            "submits refused": self.refused_submits,
            "dispatches": executor.dispatches,
            "dispatches repeated": executor.repeated,
            "callbacks repeated": executor.callbacks_repeated,
            "ready again, mean s": sum(downtimes) / max(1, len(downtimes)),
            "drained s": drained,
        }

    async def _kill_under_load(self, server: Server, rill: Rill, executor: Executor) -> list[float]:
        """Return how long each restart took to be ready."""
        moments = random.Random(self.plan.seed)
        slots = [asyncio.create_task(self._slot(rill, executor)) for _ in range(self.plan.in_flight)]
        began, downtimes = time.monotonic(), []
        try:
            for number in range(1, self.plan.kills + 1):
                await asyncio.sleep(moments.uniform(*RUNNING_S))
                server.kill()
                downtimes.append(await server.start())
                if number % 10 == 0 or number == self.plan.kills:
                    say(f"{self.kind}: {number} kills, {len(self.accepted):,} accepted")
            await asyncio.sleep(max(0.5, self.plan.seconds - (time.monotonic() - began)))
            self._is_over = True
            async with asyncio.timeout(DRAIN_S):
                await asyncio.gather(*slots)
        finally:
            for slot in slots:
                slot.cancel()
            await asyncio.gather(*slots, return_exceptions=True)
        return downtimes

    async def _slot(self, rill: Rill, executor: Executor) -> None:
        """Submit numbers until it is over. What was begun is repeated until it is accepted."""
        while not self._is_over and self._next < FLOWS_LIMIT:
            if len(self.accepted) - len(executor.ended) > OPEN_LIMIT:
                await asyncio.sleep(PAUSE_S)
                continue
            self._next += 1
            number = self._next
            self.accepted[number] = await self._submit(rill, number)
            await asyncio.sleep(PAUSE_S)

    async def _submit(self, rill: Rill, number: int) -> str:
        key = b"Idempotency-Key: crash-%d\r\n" % number
        for attempt in range(int(DRAIN_S / PAUSE_S)):
            self.repeated_submits += attempt > 0
            try:
                return await rill.submit("checkable", b'{"number":%d}' % number, headers=key)
            except Broken:
                await asyncio.sleep(PAUSE_S)
            except Refused as error:
                self.refused_submits += 1
                self.complaints.append(f"number {number}: {error}")
                await asyncio.sleep(PAUSE_S)
        raise Refused(f"number {number} was not accepted within {DRAIN_S:g} s")

    async def _drain(self, rill: Rill) -> None:
        """Wait until the store shows no unfinished execution, or for ``DRAIN_S``."""
        end = time.monotonic() + DRAIN_S
        while True:
            counts = await rill.count_by_status()
            if sum(counts.values()) == counts.get("succeed", 0) + counts.get("failed", 0) or time.monotonic() > end:
                return
            await asyncio.sleep(0.2)

    async def _check(self, rill: Rill, executor: Executor) -> None:
        """Compare every accepted execution with what its number must have become, and with what the executor saw."""
        rest = iter(sorted(self.accepted.items()))

        async def worker() -> None:
            for number, execution_id in rest:
                view = await rill.view(execution_id)
                self.finished += view.get("dag_status") in ("SUCCEED", "FAILED")
                context = {key: view.get("context", {}).get(key) for key in ("number", "a", "b", "c")}
                if view.get("dag_status") != "SUCCEED" or context != expected(number):
                    self.wrong += 1
                    self.complaints.append(f"{execution_id}: {view.get('dag_status')} {json.dumps(context)}")

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(worker())
        for number, ids in executor.executions.items():
            if ids != {self.accepted.get(number)}:
                self.duplicates += max(1, len(ids) - 1)
                self.complaints.append(
                    f"number {number} was run as {sorted(ids)}, accepted {self.accepted.get(number)}"
                )


def main() -> int:
    """Return 0 when nothing was lost, doubled or wrong, 1 when something was, 2 when it could not be tried."""
    parser = argparse.ArgumentParser("bench/crash.py", description="Kill the server under load; lose nothing.")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.0, help="the load goes on at least so long")
    parser.add_argument("--store", choices=STORES[1:], default="sqlite")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repo", type=Path, default=REPO, help="checkout whose server is tried; default: this one")
    options = parser.parse_args()
    pin(LOAD_CPU)
    stop_on_signals()
    plan = Plan(options.kills, options.seconds, options.in_flight, options.seed)
    try:
        with open_lab(python=sys.executable, bare_home=REPO, repo=options.repo) as lab:
            figure = asyncio.run(measure(lab, [options.store], plan))
    except (NotRunning, Refused, Broken, TimeoutError) as error:
        say(f"lost or not measured: {type(error).__name__}: {error}")
        return 2
    say(table(figure.rows))
    for met, text in figure.verdicts:
        say(f"{'met' if met else 'NOT MET'}: {text}")
    return 0 if figure.is_met else 1


if __name__ == "__main__":
    sys.exit(main())
