"""Figure 1: two-task flows per second, alternating with the bare program in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lab import Lab, Store, watch
from bench.load import Bare, Greeter, Product, Verdict, Window, drive, verify
from bench.report import Figure, median, percentile, say
from bench.rill import Rill, two_tasks

GOALS = {"memory": 0.30, "sqlite": 0.30, "mongodb": 0.25}
"""Share of the bare program's flows/s that the server must reach."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """``in_flight`` flows at one time, ``seconds`` measured after ``warm_s``, ``rounds`` of A B."""

    in_flight: int = 256
    warm_s: float = 2.0
    seconds: float = 5.0
    rounds: int = 3


async def measure(lab: Lab, stores: Sequence[str], rhythm: Rhythm) -> Figure:
    """Run every store's rounds, bare program and server in turn."""
    rows, verdicts, raw = [], [], []
    for kind in stores:
        pairs = []
        for number in range(1, rhythm.rounds + 1):
            bare = await run_bare(lab, kind, rhythm)
            server, verdict = await run_server(lab, kind, rhythm)
            pairs.append((bare, server, verdict))
            raw.append(_raw(kind, number, bare, server, verdict))
            _tell(kind, number, bare, server, verdict)
        row = _row(kind, [one[:2] for one in pairs])
        rows.append(row)
        verdicts += _verdicts(kind, row["ratio"], [one[2] for one in pairs])
    more = {"rhythm": {name: getattr(rhythm, name) for name in Rhythm.__slots__}, "raw": raw, "busy": lab.busy_starts}
    title = f"Two-task flows per second, {rhythm.in_flight} in flight, one process on one core"
    return Figure("flows", title, rows, verdicts, more)


async def run_bare(lab: Lab, kind: str, rhythm: Rhythm) -> Window:
    """Measure the bare program once."""
    store, greeter = lab.store(kind), Greeter()
    await greeter.start()
    program = lab.bare(store, greeter.port)
    await lab.settle()
    try:
        await program.start()
        pids = {"server": program.process.pid, **store.watched()}
        with closing(Bare(program.port)) as subject:
            return await _drive(subject, pids, rhythm)
    finally:
        greeter.close()
        program.stop()
        lab.clear(store)


async def run_server(lab: Lab, kind: str, rhythm: Rhythm, repo: Path | None = None) -> tuple[Window, Verdict]:
    """Measure the server once, on an empty store, and check what it did. ``repo``: another checkout than the lab's."""
    store = lab.store(kind)
    return await _run(lab, store, rhythm, [], repo)


async def run_stand_in(lab: Lab, rhythm: Rhythm) -> Window:
    """Measure the stand-in: the most that the load generator can drive."""
    store = lab.store("memory")
    window, _ = await _run(lab, store, rhythm, [lab.python, "-m", "bench.standin", "{port}"])
    return window


async def _run(
    lab: Lab, store: Store, rhythm: Rhythm, command: Sequence[str], repo: Path | None = None
) -> tuple[Window, Verdict]:
    greeter = Greeter()
    await greeter.start()
    server = lab.server(store, command=command, repo=repo)
    await lab.settle()
    try:
        await server.start()
        with closing(Rill(server.port)) as rill:
            await rill.register("twoTasks", two_tasks(greeter.port))
            subject = Product(rill, greeter)
            window = await _drive(subject, {"server": server.pid, **store.watched()}, rhythm)
            verdict = await verify(rill, subject.accepted)
            return window, verdict
    finally:
        greeter.close()
        server.stop()
        lab.clear(store)


async def _drive(subject: Bare | Product, pids: dict[str, int], rhythm: Rhythm) -> Window:
    return await drive(
        subject, lambda: watch(pids), in_flight=rhythm.in_flight, warm_s=rhythm.warm_s, seconds=rhythm.seconds
    )


async def ceiling(lab: Lab, rhythm: Rhythm) -> Figure:
    """Measure the load generator itself."""
    say("stand-in")
    window = await run_stand_in(lab, rhythm)
    row = {
        "flows/s": window.flows_per_s,
        "load us/flow": window.cpu_us_per_flow("load"),
        "load CPU %": 100 * window.cpu_s["load"] / window.seconds,
        "stand-in CPU %": 100 * window.cpu_s["server"] / window.seconds,
    }
    return Figure("ceiling", "What the load generator can drive (a stand-in without an engine)", [row])


def _row(kind: str, pairs: Sequence[tuple[Window, Window]]) -> dict[str, Any]:
    bares, servers = [one[0] for one in pairs], [one[1] for one in pairs]
    ratios = [server.flows_per_s / bare.flows_per_s for bare, server in pairs]
    cpu_ratios = [server.cpu_us_per_flow("server") / bare.cpu_us_per_flow("server") for bare, server in pairs]
    submits = [value for one in servers for value in one.submit_ms]
    row = {
        "store": kind,
        "bare flows/s": median([one.flows_per_s for one in bares]),
        "tornflow flows/s": median([one.flows_per_s for one in servers]),
        "ratio": median(ratios),
        "ratio per round": " ".join(f"{one:.2f}" for one in ratios),
        "bare CPU us/flow": median([one.cpu_us_per_flow("server") for one in bares]),
        "tornflow CPU us/flow": median([one.cpu_us_per_flow("server") for one in servers]),
        "CPU ratio": median(cpu_ratios),
        "submit p50 ms": percentile(submits, 0.5),
        "submit p99 ms": percentile(submits, 0.99),
        "load CPU %": median([100 * one.cpu_s["load"] / one.seconds for one in servers]),
        "load CPU % (bare)": median([100 * one.cpu_s["load"] / one.seconds for one in bares]),
    }
    if "mongod" in servers[0].cpu_s:
        row["mongod us/flow"] = median([one.cpu_us_per_flow("mongod") for one in servers])
        row["mongod us/flow (bare)"] = median([one.cpu_us_per_flow("mongod") for one in bares])
    return row


def _verdicts(kind: str, ratio: float, found: Sequence[Verdict]) -> list[tuple[bool, str]]:
    accepted, succeeded = sum(one.accepted for one in found), sum(one.succeeded for one in found)
    wrong = [text for one in found for text in one.wrong]
    more = f"; wrong: {wrong[:3]}" if wrong else ""
    return [
        (ratio >= GOALS[kind], f"{kind}: {ratio:.2f} of the bare program's flows/s, at least {GOALS[kind]:.2f} asked"),
        (
            accepted == succeeded and not wrong,
            f"{kind}: {accepted} accepted, {succeeded} SUCCEED afterwards, contexts of a sample are right{more}",
        ),
    ]


def _raw(kind: str, number: int, bare: Window, server: Window, verdict: Verdict) -> dict[str, Any]:
    return {"store": kind, "round": number, "by_status": verdict.by_status} | {
        f"{name}_{what}": value
        for name, window in (("bare", bare), ("tornflow", server))
        for what, value in (
            ("flows", window.flows), ("seconds", window.seconds), ("cpu_s", window.cpu_s),
            ("submit_p50_ms", percentile(window.submit_ms, 0.5)), ("submit_p99_ms", percentile(window.submit_ms, 0.99)),
        )
    }  # fmt: skip


def _tell(kind: str, number: int, bare: Window, server: Window, verdict: Verdict) -> None:
    say(
        f"{kind} round {number}: bare {bare.flows_per_s:,.0f}/s {bare.cpu_us_per_flow('server'):,.0f} us, "
        f"tornflow {server.flows_per_s:,.0f}/s {server.cpu_us_per_flow('server'):,.0f} us, "
        f"ratio {server.flows_per_s / bare.flows_per_s:.3f}, {verdict.succeeded} of {verdict.accepted} SUCCEED"
    )
