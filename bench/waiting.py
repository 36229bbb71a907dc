"""Figure 4: what executions cost that only wait, and whether they survive ``kill -9``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from bench.lab import Lab
from bench.processes import Server, memory_bytes
from bench.report import Figure, say
from bench.rill import Rill, waiting
from bench.wire import Request, answer, listen

TOGETHER = 128
SETTLE_S = 120.0
_ACK = answer(b"{}")
T = TypeVar("T")


async def measure(lab: Lab, stores: Sequence[str], executions: int) -> Figure:
    """Per store: let ``executions`` wait, kill the server, start it again, finish every one of them."""
    rows, verdicts = [], []
    for kind in stores:
        row = await _Trial(lab, kind, executions).run()
        rows.append(row)
        is_whole = row["executions"] == row["succeeded"] == executions
        verdicts.append((is_whole, f"{kind}: {row['succeeded']:,} of {executions:,} finished after kill -9"))
    title = f"{executions:,} executions waiting in an asynchronous task"
    return Figure("waiting", title, rows, verdicts, {"busy": lab.busy_starts})


class _Trial:
    """One store."""

    def __init__(self, lab: Lab, kind: str, executions: int) -> None:
        self._lab, self._store, self._executions = lab, lab.store(kind), executions
        self._called: dict[bytes, int] = {}
        self._ids: list[str] = []

    async def run(self) -> dict[str, Any]:
        lab, store = self._lab, self._store
        listener, port = await listen(self._acknowledge)
        server = lab.server(store)
        await lab.settle()
        try:
            await server.start()
            row: dict[str, Any] = {"store": store.kind, "executions": self._executions}
            row |= await self._fill(server, port)
            server.kill()
            row |= await self._restart(server)
            row |= await self._finish(server)
        finally:
            listener.close()
            server.stop()
            lab.clear(store)
        return row

    async def _fill(self, server: Server, port: int) -> dict[str, float]:
        with closing(Rill(server.port)) as rill:
            await rill.register("waiting", waiting(port))
            # what the first executions load for good is no price of waiting
            await _all(range(TOGETHER), lambda number: self._submit(rill, number))
            await self._until_called(TOGETHER)
            before, started = memory_bytes(server.pid), time.perf_counter()
            await _all(range(TOGETHER, self._executions), lambda number: self._submit(rill, number))
            await self._until_called(self._executions)
            took = time.perf_counter() - started
            await asyncio.sleep(1.0)  # the last acknowledgements are being committed
            after = memory_bytes(server.pid)
        say(f"{self._store.kind}: {len(self._ids):,} wait, {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB now")
        grown = self._executions - TOGETHER
        return {
            "submitted/s": grown / took,
            "MB before": before / 1e6,
            "MB after": after / 1e6,
            "bytes each": (after - before) / grown,
        }

    async def _restart(self, server: Server) -> dict[str, float]:
        calls = sum(self._called.values())
        ready = await server.start()
        await asyncio.sleep(2.0)  # what recovery sends again comes now
        again = sum(self._called.values()) - calls
        say(f"{self._store.kind}: ready {ready:.2f} s after the kill, {again:,} calls repeated")
        return {
            "ready again s": ready,
            "calls repeated": again,
            "MB after restart": memory_bytes(server.pid) / 1e6,
        }

    async def _finish(self, server: Server) -> dict[str, float]:
        with closing(Rill(server.port)) as rill:
            started = time.perf_counter()
            await _all(self._ids, lambda one: rill.finish(one, "job", b'{"done":true}'))
            took = time.perf_counter() - started
            counts = await rill.count_by_status()
            end = time.monotonic() + SETTLE_S
            while counts.get("succeed", 0) < self._executions and time.monotonic() < end:
                await asyncio.sleep(0.2)
                counts = await rill.count_by_status()
        return {"finished/s": len(self._ids) / took, "succeeded": counts.get("succeed", 0)}

    async def _submit(self, rill: Rill, number: int) -> None:
        self._ids.append(await rill.submit("waiting", b'{"number":%d}' % number))

    async def _until_called(self, count: int) -> None:
        async with asyncio.timeout(SETTLE_S):
            while len(self._called) < count:
                await asyncio.sleep(0.02)

    def _acknowledge(self, request: Request) -> bytes:
        execution_id = request.query(b"execution_id")
        self._called[execution_id] = self._called.get(execution_id, 0) + 1
        return _ACK


async def _all(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for every item, ``TOGETHER`` at one time; the first failure ends it."""
    rest = iter(items)

    async def worker() -> None:
        for item in rest:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(TOGETHER):
            group.create_task(worker())
