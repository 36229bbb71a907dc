"""Figure 6: a foreach over very many items: memory, price of an item, and whether people can look meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bench.bell import Bell
from bench.lab import Lab
from bench.processes import Server, cpu_seconds, peak_bytes, resident_bytes
from bench.report import Figure, median, percentile, say
from bench.rill import Refused, Rill, loop
from bench.wire import Request, answer, listen

ITEMS = (1_000, 10_000, 100_000)
AT_ONCE = 64
REPEATS = {1_000: 5}
"""A run of 1,000 items takes half a second: the median of five. The longer ones are run once."""
GROWTH_GOAL_MB = 400.0
RATIO_GOAL = 1.5
VIEW_GOAL_MS = 100.0
LOOK_EVERY_S = 1.0
RUN_TIMEOUT_S = 900.0


async def measure(lab: Lab, stores: Sequence[str], items: Sequence[int] = ITEMS) -> Figure:
    """Per store: one server, the loops from short to long."""
    rows, verdicts = [], []
    for kind in stores:
        found = await _measure(lab, kind, items)
        rows += found
        verdicts += _verdicts(kind, found)
    title = f"A foreach with a pass and an HTTP task per item, {AT_ONCE} at once"
    return Figure("groups", title, rows, verdicts, {"at_once": AT_ONCE, "busy": lab.busy_starts})


async def _measure(lab: Lab, kind: str, lengths: Sequence[int]) -> list[dict[str, Any]]:
    store, bell, worker = lab.store(kind), Bell(), _Worker()
    await bell.start()
    await worker.start()
    server = lab.server(store)
    await lab.settle()
    rows = []
    try:
        await server.start()
        with closing(Rill(server.port, timeout_s=60.0)) as rill:
            await rill.register("loop", loop(worker.port, AT_ONCE))
            before = resident_bytes(server.pid)
            trial = _Trial(server, rill, bell, worker)
            await trial.run(lengths[0])  # pays for loading the flow
            for length in lengths:
                runs = [await trial.run(length) for _ in range(REPEATS.get(length, 1))]
                rows.append({"store": kind, "items": length} | _row(runs, length, server, before))
                say(_progress(rows[-1]))
    finally:
        bell.close()
        worker.close()
        server.stop()
        lab.clear(store)
    return rows


@dataclass(slots=True)
class _Run:
    seconds: float
    cpu_s: float
    repeated: int
    looks: _Looks


class _Trial:
    """One server after one loop after another."""

    def __init__(self, server: Server, rill: Rill, bell: Bell, worker: _Worker) -> None:
        self._server, self._rill, self._bell, self._worker = server, rill, bell, worker

    async def run(self, items: int) -> _Run:
        """Run one loop and check what it gathered.

        Raises:
            Refused: it did not succeed, or its results are not those of its items in their order.
        """
        context = json.dumps({"items": list(range(items))}).encode()
        calls, cpu = self._worker.calls, cpu_seconds(self._server.pid)
        started = time.perf_counter()
        execution_id = await self._rill.submit("loop", context, callback=self._bell.url)
        async with _looking(self._rill, execution_id, items) as looks:
            ended = await self._bell.rung_for(execution_id, RUN_TIMEOUT_S)
        cpu = cpu_seconds(self._server.pid) - cpu
        await self._check(execution_id, items)
        return _Run(ended - started, cpu, self._worker.calls - calls - items, looks)

    async def _check(self, execution_id: str, items: int) -> None:
        view = await self._rill.view(execution_id, brief=False)
        results = view["context"].get("vs", [])
        if view["dag_status"] != "SUCCEED" or results != [_result(number) for number in range(items)]:
            message = view["dag_invoke_msg"]
            raise Refused(f"{execution_id}: {view['dag_status']} {message}, {len(results):,} results of {items:,}")


@dataclass(slots=True)
class _Looks:
    """How long the server took to show the execution while it ran, in ms."""

    whole_ms: list[float] = field(default_factory=list)
    group_ms: list[float] = field(default_factory=list)
    has_groups: bool = True

    async def look(self, rill: Rill, execution_id: str, items: int) -> None:
        """Ask once a second until cancelled."""
        chosen, quoted = random.Random(items), quote(execution_id, safe="")
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.whole_ms.append(await _timed(rill, f"/flow/get.json?execution_id={quoted}") or 0.0)
            if self.has_groups:
                where = f"execution_id={quoted}&parent=each&group_index={chosen.randrange(items)}"
                took = await _timed(rill, f"/flow/get_by_parent.json?{where}", optional=True)
                self.has_groups = took is not None
                if took is not None:
                    self.group_ms.append(took)


@asynccontextmanager
async def _looking(rill: Rill, execution_id: str, items: int) -> AsyncIterator[_Looks]:
    looks = _Looks()
    task = asyncio.create_task(looks.look(rill, execution_id, items))
    try:
        yield looks
    finally:
        task.cancel()
        failure = (await asyncio.gather(task, return_exceptions=True))[0]
    if failure is not None and not isinstance(failure, asyncio.CancelledError):
        raise failure
    if not looks.has_groups:
        say("get_by_parent.json does not answer: skipped")


async def _timed(rill: Rill, target: str, *, optional: bool = False) -> float | None:
    """Return the milliseconds until the whole answer was here; None where an optional operation is not there."""
    started = time.perf_counter()
    status, body = await rill.client.get(target)
    took = (time.perf_counter() - started) * 1e3
    if status == 404 and optional:
        return None
    if status != 200:
        raise Refused(f"{target} answered {status} {body[:300]!r}")
    return took


class _Worker:
    """The loopback executor: answers at once, with a value that depends on the item."""

    def __init__(self) -> None:
        self.port = self.calls = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server, self.port = await listen(self._handle)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _handle(self, request: Request) -> bytes:
        self.calls += 1
        return answer(b'{"v":%d}' % _result(int(json.loads(request.body)["y"])))


def _result(item: int) -> int:
    """At most two digits, so that 100,000 of them fit into the default limit of a context beside the items."""
    return item * 7 % 100


def _row(runs: Sequence[_Run], items: int, server: Server, before: int) -> dict[str, Any]:
    whole = [took for run in runs for took in run.looks.whole_ms]
    group = [took for run in runs for took in run.looks.group_ms]
    seconds = median([run.seconds for run in runs])
    row = {
        "s": seconds,
        "us/item": seconds / items * 1e6,
        "CPU us/item": median([run.cpu_s for run in runs]) / items * 1e6,
        "MB before": before / 1e6,
        "peak MB more": (peak_bytes(server.pid) - before) / 1e6,
        "calls repeated": sum(run.repeated for run in runs),
        "looks": len(whole),
    }
    for name, values in (("get", whole), ("by parent", group)):
        if values:
            row |= {f"{name} p50 ms": percentile(values, 0.5), f"{name} max ms": max(values)}
    return row


def _progress(row: dict[str, Any]) -> str:
    text = f"{row['store']}, {row['items']:,} items: {row['s']:.1f} s, {row['us/item']:.0f} us/item"
    return f"{text}, peak {row['peak MB more']:.0f} MB more, get.json max {row.get('get max ms', 0.0):.0f} ms"


def _verdicts(kind: str, rows: Sequence[dict[str, Any]]) -> list[tuple[bool, str]]:
    first, last = rows[0], rows[-1]
    verdicts = []
    text = f"{kind}: peak memory grows by {last['peak MB more']:.0f} MB, less than {GROWTH_GOAL_MB:g} asked"
    verdicts.append((last["peak MB more"] < GROWTH_GOAL_MB, text))
    ratio = last["us/item"] / first["us/item"]
    text = f"{kind}: an item of {last['items']:,} takes {ratio:.2f} times one of {first['items']:,}"
    verdicts.append((ratio <= RATIO_GOAL, f"{text}, at most {RATIO_GOAL:g} asked"))
    for name, column in (("get.json", "get max ms"), ("get_by_parent.json", "by parent max ms")):
        longest = max((row[column] for row in rows if column in row), default=None)
        if longest is not None:
            text = f"{kind}: {name} took {longest:.0f} ms at most, under {VIEW_GOAL_MS:g} asked"
            verdicts.append((longest < VIEW_GOAL_MS, text))
    return verdicts
