"""Figure 2: what a user waits for at low load: the answer to a submission, and the engine between two tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from bench.lab import Lab
from bench.load import Greeter, Product, verify
from bench.report import Figure, percentile, say
from bench.rill import Rill, two_tasks

SUBMIT_GOAL_MS = 10.0
TASK_GOAL_MS = 5.0
WARM_FLOWS = 50
PAUSE_S = 0.005
"""Between two flows, so that the last commit of one is not the first wait of the next."""


async def measure(lab: Lab, stores: Sequence[str], flows: int) -> Figure:
    """One flow in flight on a fresh server per store."""
    rows, verdicts = [], []
    for kind in stores:
        row, is_right = await _measure(lab, kind, flows)
        rows.append(row)
        say(f"{kind}: submit p50 {row['submit p50 ms']:.2f} ms, per task p50 {row['per task p50 ms']:.2f} ms")
        verdicts += [
            (row["submit p50 ms"] < SUBMIT_GOAL_MS, f"{kind}: submit p50 below {SUBMIT_GOAL_MS:g} ms"),
            (row["per task p50 ms"] < TASK_GOAL_MS, f"{kind}: added per task p50 below {TASK_GOAL_MS:g} ms"),
            (is_right, f"{kind}: every execution SUCCEED"),
        ]
    title = f"Latency at low load: one flow in flight, {flows} flows, {PAUSE_S * 1e3:g} ms between them"
    return Figure("latency", title, rows, verdicts, {"flows": flows, "pause_s": PAUSE_S, "busy": lab.busy_starts})


async def _measure(lab: Lab, kind: str, flows: int) -> tuple[dict[str, Any], bool]:
    store, stamps = lab.store(kind), _Stamps()
    greeter = Greeter(on_call=stamps.note)
    await greeter.start()
    server = lab.server(store)
    await lab.settle()
    try:
        await server.start()
        with closing(Rill(server.port)) as rill:
            await rill.register("twoTasks", two_tasks(greeter.port))
            subject = Product(rill, greeter)
            for number in range(WARM_FLOWS + flows):
                if number == WARM_FLOWS:
                    stamps.clear()
                    subject.submit_ms.clear()
                stamps.submitted = time.perf_counter()
                await subject.flow()
                await asyncio.sleep(PAUSE_S)
            verdict = await verify(rill, subject.accepted)
    finally:
        greeter.close()
        server.stop()
        lab.clear(store)
    is_right = verdict.succeeded == verdict.accepted == WARM_FLOWS + flows and not verdict.wrong
    return {"store": kind} | _spread("submit", subject.submit_ms) | stamps.row(), is_right


class _Stamps:
    """When the executor was called; it answers before it notes the time."""

    def __init__(self) -> None:
        self.submitted = 0.0
        self._answered: dict[bytes, float] = {}
        self._first_ms: list[float] = []
        self._between_ms: list[float] = []

    def note(self, task: bytes, execution_id: bytes) -> None:
        now = time.perf_counter()
        if task == b"Bob":
            self._first_ms.append((now - self.submitted) * 1e3)
            self._answered[execution_id] = now
        elif execution_id in self._answered:
            self._between_ms.append((now - self._answered.pop(execution_id)) * 1e3)

    def clear(self) -> None:
        self._first_ms.clear()
        self._between_ms.clear()

    def row(self) -> dict[str, float]:
        return _spread("first task", self._first_ms) | _spread("per task", self._between_ms)


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{name} p50 ms": percentile(values, 0.5), f"{name} p99 ms": percentile(values, 0.99)}
