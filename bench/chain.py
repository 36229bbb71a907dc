"""Figure 3: whether the price of a task grows with the length of its flow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from bench.bell import Bell
from bench.lab import Lab
from bench.report import Figure, say
from bench.rill import Refused, Rill, chain

LENGTHS = (10, 100, 1_000, 10_000)
RATIO_GOAL = 1.5
RUN_TIMEOUT_S = 120.0
SETTINGS = (
    "engine.max_tasks_per_flow=20000",
    "rill.descriptor_limit_bytes=4000000",
    "descriptors.nodes=1000000",
    "descriptors.mappings=100000",
)
"""The longest mapped chain is a descriptor of 1.6 MB; the limits are raised for it and nothing else."""


async def measure(lab: Lab, stores: Sequence[str], repeats: int, lengths: Sequence[int] = LENGTHS) -> Figure:
    """Per store and variant: the fastest of ``repeats`` runs of each length."""
    rows: list[dict[str, Any]] = []
    verdicts = []
    for kind in stores:
        for mapped in (True, False):
            found = await _measure(lab, kind, mapped, repeats, lengths)
            rows += found
            verdicts += _verdicts(kind, mapped, found)
    more = {"repeats": repeats, "settings": list(SETTINGS), "busy": lab.busy_starts}
    title = f"Chains of pass tasks: submit to the callback of SUCCEED, fastest of {repeats}"
    return Figure("chain", title, rows, verdicts, more)


async def _measure(lab: Lab, kind: str, mapped: bool, repeats: int, lengths: Sequence[int]) -> list[dict[str, Any]]:
    store, bell = lab.store(kind), Bell()
    await bell.start()
    server = lab.server(store, SETTINGS)
    await lab.settle()
    rows = []
    try:
        await server.start()
        with closing(Rill(server.port, timeout_s=60.0)) as rill:
            for length in lengths:
                row = {"store": kind, "mappings": mapped, "tasks": length}
                row |= await _measure_length(rill, bell, length, mapped, repeats)
                rows.append(row)
                say(f"{kind} {'with' if mapped else 'without'} mappings, {length} tasks: {row['us/task']:.1f} us/task")
    finally:
        bell.close()
        server.stop()
        lab.clear(store)
    return rows


async def _measure_length(rill: Rill, bell: Bell, length: int, mapped: bool, repeats: int) -> dict[str, Any]:
    feature = f"chain{length}"
    text = chain(feature, length, mapped=mapped)
    started = time.perf_counter()
    await rill.register(feature, text)
    registered = time.perf_counter() - started
    took = []
    for _ in range(repeats + 1):  # the first run pays for loading the flow
        started = time.perf_counter()
        execution_id = await rill.submit(feature, b'{"seed":"x"}', callback=bell.url)
        ended = await bell.rung_for(execution_id, RUN_TIMEOUT_S)
        took.append(ended - started)
    await _check(rill, execution_id, length, mapped)
    return {
        "fastest ms": min(took[1:]) * 1e3,
        "first ms": took[0] * 1e3,
        "us/task": min(took[1:]) / length * 1e6,
        "registration ms": registered * 1e3,
        "descriptor kB": len(text) / 1000,
    }


async def _check(rill: Rill, execution_id: str, length: int, mapped: bool) -> None:
    view = await rill.view(execution_id)
    keys = sum(1 for key in view["context"] if key.startswith("k"))
    if view["dag_status"] != "SUCCEED" or keys != (length if mapped else 0):
        raise Refused(f"{execution_id}: {view['dag_status']} with {keys} keys, {length} tasks")


def _verdicts(kind: str, mapped: bool, rows: Sequence[dict[str, Any]]) -> list[tuple[bool, str]]:
    price = {row["tasks"]: row["us/task"] for row in rows}
    if not {100, 10_000} <= price.keys():
        return []
    ratio = price[10_000] / price[100]
    name = f"{kind}, {'with' if mapped else 'without'} mappings"
    text = f"{name}: a task among 10,000 costs {ratio:.2f} times one among 100, at most {RATIO_GOAL:g} asked"
    if 1_000 in price:
        inner = (price[1_000] * 1_000 - price[100] * 100) / 900
        outer = (price[10_000] * 10_000 - price[1_000] * 1_000) / 9_000
        text += f" (each further task: {inner:.1f} us up to 1,000, {outer:.1f} us up to 10,000)"
    return [(ratio <= RATIO_GOAL, text)]
