"""One and two nodes on one MongoDB: flows per second, and how often a flow asks the database."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from contextlib import ExitStack, closing
from typing import Any

from bench.failures.stage import ANY_CORE
from bench.flows import Rhythm
from bench.lab import Lab, watch
from bench.load import Greeter, Product, Window, drive, verify
from bench.processes import Database
from bench.report import Figure, median, say
from bench.rill import Rill, two_tasks

NODES = (1, 2)
ROUND_TRIPS_GOAL = 4.0
NOISE = 0.05
"""What nodes ask now and then, and the idle seconds did not show."""
ALONE_FLOWS = 300
IDLE_S = 6.0
_NOT_OURS = ("hello", "isMaster", "ping", "serverStatus", "buildInfo", "endSessions", "dropDatabase", "repl", "_")
"""Commands of drivers, of this measurement and of the replica set itself."""


async def measure(lab: Lab, rhythm: Rhythm) -> Figure:
    """Rounds of one node and two nodes in turn; the round trips are counted with one flow at a time and with many."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    windows: dict[int, list[tuple[Window, float]]] = {nodes: [] for nodes in NODES}
    verdicts, alone = [], dict[int, tuple[float, dict[str, float]]]()
    for number in range(1, rhythm.rounds + 1):
        for nodes in NODES:
            window, trips, single, told = await _run(lab, nodes, rhythm)
            windows[nodes].append((window, trips))
            alone[nodes] = single
            verdicts += [one for one in told if not one[0]]
            say(f"{nodes} node(s), round {number}: {window.flows_per_s:,.0f}/s, {trips:.2f} round trips a flow")
    rows = [_row(nodes, windows[nodes], alone[nodes]) for nodes in NODES]
    single_trips = alone[1][0]
    text = f"one node, one flow at a time: {single_trips:.2f} round trips, at most {ROUND_TRIPS_GOAL:g} asked"
    verdicts.append((single_trips <= ROUND_TRIPS_GOAL + NOISE, text))
    more = {"commands per flow": {nodes: found[1] for nodes, found in alone.items()}}
    title = f"Nodes on one MongoDB, two-task flows, {rhythm.in_flight} in flight, all processes on all cores"
    return Figure("cluster", title, rows, verdicts, more)


async def _run(
    lab: Lab, nodes: int, rhythm: Rhythm
) -> tuple[Window, float, tuple[float, dict[str, float]], list[tuple[bool, str]]]:
    store, greeter = lab.store("mongodb"), Greeter()
    assert store.database is not None
    await greeter.start()
    with ExitStack() as exits:
        exits.callback(greeter.close)
        exits.callback(lab.clear, store)
        servers = [lab.server(store) for _ in range(nodes)]
        for server in servers:
            server.cpu = ANY_CORE
            exits.callback(server.stop)
            await server.start()
        rills = [exits.enter_context(closing(Rill(server.port))) for server in servers]
        await rills[0].register("twoTasks", two_tasks(greeter.port))
        idle = await _per_second(store.database)
        single = await _one_at_a_time(store.database, Spread(rills, greeter), idle)
        subject = Spread(rills, greeter)
        before, began, flows = commands(store.database), time.monotonic(), subject.finished
        pids = {f"server {place}": server.pid for place, server in enumerate(servers)}
        window = await drive(
            subject, lambda: watch({**pids, **store.watched()}), in_flight=rhythm.in_flight, warm_s=rhythm.warm_s,
            seconds=rhythm.seconds,
        )  # fmt: skip
        trips, _ = _per_flow(before, commands(store.database), idle, time.monotonic() - began, subject.finished - flows)
        verdict = await verify(rills[0], [*subject.accepted])
        told = [(not verdict.wrong, f"{nodes} node(s): {verdict.accepted} accepted, wrong: {verdict.wrong[:3]}")]
    return window, trips, single, told


class Spread(Product):
    """The same flow, submitted to each node in turn."""

    def __init__(self, rills: list[Rill], greeter: Greeter) -> None:
        super().__init__(rills[0], greeter)
        self._turn = itertools.cycle(rills)

    async def flow(self) -> None:
        self._rill = next(self._turn)
        await super().flow()


async def _one_at_a_time(
    database: Database, subject: Product, idle: dict[str, float]
) -> tuple[float, dict[str, float]]:  # fmt: skip
    """One flow at a time: nothing shares a round trip with another flow."""
    for _ in range(20):
        await subject.flow()
    await asyncio.sleep(0.3)
    before, began = commands(database), time.monotonic()
    for _ in range(ALONE_FLOWS):
        await subject.flow()
    await asyncio.sleep(0.3)
    return _per_flow(before, commands(database), idle, time.monotonic() - began, ALONE_FLOWS)


async def _per_second(database: Database) -> dict[str, float]:
    """What nodes without work ask: heartbeats, looking for due timers and expired executions."""
    before = commands(database)
    await asyncio.sleep(IDLE_S)
    after = commands(database)
    return {name: (after[name] - before.get(name, 0)) / IDLE_S for name in after}


def _per_flow(
    before: dict[str, int], after: dict[str, int], idle: dict[str, float], seconds: float, flows: int
) -> tuple[float, dict[str, float]]:
    found = {
        name: round(max(0.0, after[name] - before.get(name, 0) - idle.get(name, 0.0) * seconds) / max(1, flows), 3)
        for name in after
    }
    found = {name: value for name, value in found.items() if value >= 0.005}
    return sum(found.values()), found


def commands(database: Database) -> dict[str, int]:
    """Return how many commands of each name the database has been given; each is one round trip."""
    import pymongo

    with pymongo.MongoClient[dict[str, Any]](database.bare_uri) as client:
        counts = client.admin.command("serverStatus")["metrics"]["commands"]
    return {
        name: int(one["total"])
        for name, one in counts.items()
        if isinstance(one, dict) and "total" in one and not name.startswith(_NOT_OURS)
    }


def _row(nodes: int, found: list[tuple[Window, float]], alone: tuple[float, dict[str, float]]) -> dict[str, Any]:
    servers = [name for name in found[0][0].cpu_s if name.startswith("server")]
    return {
        "nodes": nodes,
        "flows/s": median([window.flows_per_s for window, _ in found]),
        "flows/s per round": " ".join(f"{window.flows_per_s:,.0f}" for window, _ in found),
        "nodes CPU us/flow": median([sum(window.cpu_us_per_flow(name) for name in servers) for window, _ in found]),
        "mongod CPU us/flow": median([window.cpu_us_per_flow("mongod") for window, _ in found]),
        "load CPU us/flow": median([window.cpu_us_per_flow("load") for window, _ in found]),
        "round trips/flow": median([trips for _, trips in found]),
        "round trips/flow, one at a time": alone[0],
        "which": " ".join(f"{name} {count:.2f}" for name, count in sorted(alone[1].items())),
    }
