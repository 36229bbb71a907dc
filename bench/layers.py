"""Figure 7: a flow of 2,000 tasks in layers that join fully: registration, run, and the longest step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from bench.bell import Bell
from bench.lab import Lab
from bench.processes import run_alone
from bench.report import Figure, percentile, say
from bench.rill import Refused, Rill, layered
from bench.wire import answer, listen

LAYERS, WIDTH = 40, 50
REGISTER_GOAL_S = 2.0
STEP_GOAL_MS = 20.0
PING_EVERY_S = 0.002
RUN_TIMEOUT_S = 120.0
SCRIPT = Path(__file__).with_name("steps.py")
DEFAULT_LIMIT_BYTES = 645_120
_REPLY = answer(b'{"a":1}')


async def measure(lab: Lab, stores: Sequence[str], repeats: int) -> Figure:
    """In the engine alone once, then through a server per store; with pass tasks and with HTTP tasks."""
    listener, port = await listen(lambda request: _REPLY)
    texts = {
        "pass": layered("layers0pass", LAYERS, WIDTH),
        "http": layered("layers0http", LAYERS, WIDTH, f"http://127.0.0.1:{port}/"),
    }
    try:
        rows, verdicts = await _alone(lab, texts, repeats)
        for kind in stores:
            found = await _served(lab, kind, texts, repeats)
            rows += found
            verdicts += [verdict for row in found for verdict in _verdicts(row)]
    finally:
        listener.close()
    title = f"{LAYERS * WIDTH:,} tasks in {LAYERS} layers of {WIDTH} with full joins, fastest of {repeats}"
    return Figure("layers", title, rows, verdicts, {"repeats": repeats, "busy": lab.busy_starts})


# --- in the engine alone


async def _alone(lab: Lab, texts: dict[str, str], repeats: int) -> tuple[list[dict[str, Any]], list[tuple[bool, str]]]:
    rows: list[dict[str, Any]] = []
    verdicts = []
    for tasks, text in texts.items():
        await lab.settle()
        given = {"text": text, "repeats": repeats, "together": [1, WIDTH]}
        found = await run_alone(lab.python, lab.repo, SCRIPT, given, lab.folder("steps"))
        for together, turns in found["turns"].items():
            what = {"where": "engine", "tasks": tasks, "answers a turn": int(together)}
            times = {"parse ms": found["parse ms"], "compile ms": found["compile ms"]}
            rows.append(what | times | turns)
        longest = found["turns"]["1"]["longest step ms"]
        say(f"engine alone, {tasks} tasks: the longest step took {longest:.2f} ms")
        text = f"engine alone, {tasks} tasks: the longest step took {longest:.2f} ms, at most {STEP_GOAL_MS:g} asked"
        verdicts.append((longest <= STEP_GOAL_MS, text))
    return rows, verdicts


# --- through a server


async def _served(lab: Lab, kind: str, texts: dict[str, str], repeats: int) -> list[dict[str, Any]]:
    store, bell = lab.store(kind), Bell()
    await bell.start()
    server = lab.server(store, _settings(texts))
    await lab.settle()
    rows = []
    try:
        await server.start()
        with closing(Rill(server.port, timeout_s=60.0)) as rill:
            for tasks, text in texts.items():
                row = {"where": kind, "tasks": tasks} | await _run(rill, bell, f"layers0{tasks}", text, repeats)
                rows.append(row)
                say(f"{kind}, {tasks} tasks: registered in {row['registration ms']:.0f} ms, run in {row['run ms']:.0f}")
    finally:
        bell.close()
        server.stop()
        lab.clear(store)
    return rows


def _settings(texts: dict[str, str]) -> list[str]:
    """The names of 97,500 links alone are 400 kB: the text limit is raised where it must be, and nothing else."""
    longest = max(len(text) for text in texts.values())
    return [f"rill.descriptor_limit_bytes={longest}"] if longest > DEFAULT_LIMIT_BYTES else []


async def _run(rill: Rill, bell: Bell, feature: str, text: str, repeats: int) -> dict[str, Any]:
    """Runs with and without pings take turns, so that the pings do not count in the run time."""
    async with _pinging(rill) as gaps:
        started = time.perf_counter()
        await rill.register(feature, text)
        registered = time.perf_counter() - started
    at_registration = max(gaps)
    took, longest = [], []
    await _one(rill, bell, feature)  # pays for loading the flow
    for _ in range(repeats):
        took.append(await _one(rill, bell, feature))
        async with _pinging(rill) as gaps:
            await _one(rill, bell, feature)
        longest.append(max(gaps))
    return {
        "descriptor kB": len(text) / 1000,
        "registration ms": registered * 1e3,
        "gap at registration ms": at_registration * 1e3,
        "run ms": min(took) * 1e3,
        "us/task": min(took) / (LAYERS * WIDTH) * 1e6,
        "longest gap ms": min(longest) * 1e3,
        "longest gap of any run ms": max(longest) * 1e3,
        "gap p50 of the last run ms": percentile(gaps, 0.5) * 1e3,
    }


async def _one(rill: Rill, bell: Bell, feature: str) -> float:
    started = time.perf_counter()
    execution_id = await rill.submit(feature, b'{"a":1}', callback=bell.url)
    took = await bell.rung_for(execution_id, RUN_TIMEOUT_S) - started
    view = await rill.view(execution_id)
    keys = sum(1 for key, value in view["context"].items() if key.startswith("k") and value == 1)
    if view["dag_status"] != "SUCCEED" or keys != LAYERS * WIDTH:
        raise Refused(f"{execution_id}: {view['dag_status']} with {keys} keys")
    return took


@asynccontextmanager
async def _pinging(rill: Rill) -> AsyncIterator[list[float]]:
    """Ask ``/healthz`` every 2 ms; the list holds how long each answer took, in seconds."""
    gaps: list[float] = []

    async def ping() -> None:
        while True:
            started = time.perf_counter()
            await rill.client.get("/healthz")
            gaps.append(time.perf_counter() - started)
            await asyncio.sleep(max(0.0, PING_EVERY_S - gaps[-1]))

    task = asyncio.create_task(ping())
    try:
        await asyncio.sleep(10 * PING_EVERY_S)  # the connection is made
        gaps.clear()
        yield gaps
    finally:
        await asyncio.sleep(2 * PING_EVERY_S)
        task.cancel()
        failure = (await asyncio.gather(task, return_exceptions=True))[0]
    if failure is not None and not isinstance(failure, asyncio.CancelledError):
        raise failure


def _verdicts(row: dict[str, Any]) -> list[tuple[bool, str]]:
    name = f"{row['where']}, {row['tasks']} tasks"
    registered, gap = row["registration ms"] / 1e3, row["longest gap ms"]
    return [
        (registered < REGISTER_GOAL_S, f"{name}: registered in {registered:.2f} s, under {REGISTER_GOAL_S:g} asked"),
        (gap <= STEP_GOAL_MS, f"{name}: the server was silent for {gap:.1f} ms at most, {STEP_GOAL_MS:g} asked"),
    ]
