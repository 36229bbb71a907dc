"""``profile``: where the server's CPU time goes during figure 1.

A sampler from outside (py-spy) if it is installed, else the profiler of the standard library, which slows the
server down and sees its main thread only. On a pinned core a sampler cannot tell a thread that runs from one that
would like to; so the samples of each thread are scaled to the CPU time that the kernel says the thread had.
"""

from __future__ import annotations

import asyncio
import json
import pstats
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.flows import Rhythm
from bench.lab import Lab, Store, watch
from bench.load import Greeter, Product, Window, drive
from bench.processes import NotRunning, Server, thread_seconds
from bench.report import Figure, say
from bench.rill import Rill, two_tasks

RATE_HZ = 200
TOP = 40
Stack = tuple[str, ...]
"""Frames from the outermost in, each ``file:function``."""

_THREAD = re.compile(r"thread \((\d+)\)")
WAITS = frozenset(
    (
        "concurrent/futures/thread.py:_worker",
        "tornflow_store_sqlite/writer.py:Writer._run",
        "pymongo/periodic_executor.py:PeriodicExecutor._run",
    )
)
"""Where idle threads of the server wait for work; samples there say nothing."""

PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("JSON", ("tornflow/model/jsontext", "json/", "orjson")),
    ("mapping", ("tornflow/engine/mapping", "tornflow/engine/jsonpath", "tornflow/engine/expressions")),
    ("engine", ("tornflow/engine",)),
    ("commit", ("tornflow_store_", "tornflow/runtime/codec", "pymongo", "motor", "bson", "sqlite3")),
    ("dispatch", ("tornflow_task_http", "aiohttp", "yarl", "multidict", "tornflow/runtime/dispatcher")),
    ("HTTP in", ("tornado", "tornflow/api", "http/")),
    ("runtime", ("tornflow/runtime",)),
)
"""Part and the files that belong to it. The innermost frame that belongs to a part decides; C code counts for its
caller, so orjson is found under the module that calls it."""


async def measure(lab: Lab, stores: Sequence[str], rhythm: Rhythm) -> Figure:
    """One profiled run per store."""
    rows: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    for kind in stores:
        window, stacks = await _profile(lab, kind, rhythm)
        rows.append(_split(kind, window, stacks))
        more[kind] = {"own": _top(stacks, is_own=True), "cumulative": _top(stacks, is_own=False)}
        _print(kind, more[kind])
    tool = "py-spy" if _sampler() else "cProfile"
    title = f"CPU us per flow by part, {rhythm.in_flight} in flight, under {tool}"
    return Figure("profile", title, rows, (), {"tool": tool, **more})


async def _profile(lab: Lab, kind: str, rhythm: Rhythm) -> tuple[Window, Counter[Stack]]:
    store = lab.store(kind)
    output = lab.folder("profile") / "samples"
    server = _server(lab, store, output)
    greeter = Greeter()
    await greeter.start()
    await lab.settle()
    try:
        await server.start()
        with closing(Rill(server.port)) as rill:
            await rill.register("twoTasks", two_tasks(greeter.port))
            pids = {"server": server.pid, **store.watched()}
            window = await drive(
                Product(rill, greeter), lambda: watch(pids), in_flight=rhythm.in_flight, warm_s=rhythm.warm_s,
                seconds=rhythm.seconds, during=lambda: _sample(server.pid, rhythm.seconds, output),
            )  # fmt: skip
    finally:
        greeter.close()
        server.stop()
        lab.clear(store)
    return window, _read_samples(output) if _sampler() else _read_calls(output)


def _server(lab: Lab, store: Store, output: Path) -> Server:
    server = lab.server(store)
    if not _sampler():
        plain = server.command
        server.command = [plain[0], "-m", "cProfile", "-o", str(output), *plain[1:]]
    return server


def _sampler() -> str | None:
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if beside.exists() else shutil.which("py-spy")


async def _sample(pid: int, seconds: float, output: Path) -> None:
    """Sample the server, and keep what each thread used meanwhile beside the samples."""
    sampler = _sampler()
    if sampler is None:
        return
    before = thread_seconds(pid)
    process = await asyncio.create_subprocess_exec(
        sampler, "record", "--pid", str(pid), "--duration", str(max(1, int(seconds))), "--rate", str(RATE_HZ),
        "--format", "raw", "--output", str(output), "--full-filenames", "--threads",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode or not output.exists():
        raise NotRunning(f"the sampler failed: {said.decode('utf-8', 'replace')[-500:]}")
    used = {thread: after - before.get(thread, 0.0) for thread, after in thread_seconds(pid).items()}
    output.with_suffix(".threads").write_text(json.dumps(used), "utf-8")


def _read_samples(path: Path) -> Counter[Stack]:
    """Read collapsed stacks, ``thread (id): name;function (file:line);... count`` per line, as CPU microseconds."""
    used = {int(thread): took for thread, took in json.loads(path.with_suffix(".threads").read_text("utf-8")).items()}
    seen: dict[int, Counter[Stack]] = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        text, _, count = line.rpartition(" ")
        thread, *frames = text.split(";")
        stack = tuple(_frame(one) for one in frames if "(" in one)
        found = _THREAD.match(thread)
        if found and stack and stack[-1] not in WAITS:
            seen.setdefault(int(found.group(1)), Counter())[stack] += int(count)
    stacks: Counter[Stack] = Counter()
    for thread_id, took in used.items():
        samples = seen.get(thread_id) or Counter({("?:not sampled",): 1})
        price = took * 1e6 / sum(samples.values())
        for stack, number in samples.items():
            stacks[stack] += round(number * price)
    return stacks


def _frame(text: str) -> str:
    function, _, place = text.rpartition(" (")
    return f"{_short(place.rstrip(')').rpartition(':')[0])}:{function}"


def _read_calls(path: Path) -> Counter[Stack]:
    """Own times of functions as stacks of one frame, in microseconds; callers are not known."""
    stacks: Counter[Stack] = Counter()
    table: dict[tuple[str, int, str], tuple[Any, ...]] = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    for (file, _, function), (_, _, own, _, _) in table.items():
        stacks[(f"{_short(file)}:{function}",)] += int(own * 1e6)
    return stacks


def _short(path: str) -> str:
    """The part of a path below its import root."""
    for root in ("/site-packages/", "/plugins/", "/storage/", "/lib/python3.11/", "/main/"):
        if root in path:
            return path.rpartition(root)[2]
    at = path.rfind("/tornflow/")
    return path[at + 1 :] if at >= 0 else path


def _split(kind: str, window: Window, stacks: Counter[Stack]) -> dict[str, Any]:
    whole = sum(stacks.values()) or 1
    cost = window.cpu_us_per_flow("server")
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        found[_part(stack)] += count
    row: dict[str, Any] = {"store": kind, "flows/s": window.flows_per_s, "CPU us/flow": cost}
    for name in [*(name for name, _ in PARTS), "rest"]:
        row[name] = found[name] / whole * cost
    return row


def _part(stack: Stack) -> str:
    for frame in reversed(stack):
        for name, beginnings in PARTS:
            if frame.startswith(beginnings):
                return name
    return "rest"


def _top(stacks: Counter[Stack], *, is_own: bool) -> list[dict[str, Any]]:
    """The functions that run (own) or are on the stack (cumulative) for the most CPU time, in percent."""
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        for frame in {stack[-1]} if is_own and stack else set(stack):
            found[frame] += count
    whole = sum(stacks.values()) or 1
    return [{"%": round(100 * count / whole, 1), "function": name} for name, count in found.most_common(TOP)]


def _print(kind: str, tops: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in tops.items():
        say(f"\n{kind}, {name} time:\n")
        for row in rows:
            say(f"{row['%']:6.1f} %  {row['function']}")
