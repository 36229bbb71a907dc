"""``python -m bench failures``: one run per scenario, one row per run."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.failures.check import Verdict, drain, examine
from bench.failures.disks import Image, NoDisk, small_disk
from bench.failures.executor import Executor
from bench.failures.front import Front
from bench.failures.load import Load
from bench.failures.logs import said
from bench.failures.proxy import Proxy
from bench.failures.scenarios import SCENARIOS, Scenario
from bench.failures.stage import TAKE_OVER_S, Stage
from bench.lab import Lab
from bench.processes import NotRunning
from bench.report import Figure, say
from tornflow.testing.replica_set import NoMongod, ReplicaSet, free_ports

DRAIN_S = 90.0
MONGOD_DISK_MB, SQLITE_DISK_MB, IMAGE_MB = 600, 160, 256
ELECTION_S = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``seed`` repeats the load and the moments of the blows, not the races."""

    minutes: float = 10.0
    only: Sequence[str] = ()
    seed: int = 1
    rate: float = 15.0


async def measure(lab: Lab, plan: Plan) -> Figure:
    """Run the scenarios one after the other."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # nodes, database and load share what there is
    rows, verdicts, more = [], [], {}
    for scenario in SCENARIOS:
        if plan.only and scenario.name not in plan.only:
            continue
        say(f"{scenario.name}: {plan.minutes:g} minutes")
        try:
            row, raw = await run(lab, scenario, plan)
        except (NoDisk, NoMongod) as error:
            say(f"{scenario.name} cannot be run here: {error}")
            rows.append({"scenario": scenario.name, "note": f"not run: {error}"})
            continue
        rows.append(row)
        more[scenario.name] = raw
        verdicts += _verdicts(scenario, row, raw)
        for line in (*raw["complaints"][:6], *raw["unrecovered"][:2], *list(raw["errors"])[:6]):
            say(f"{scenario.name}: {line[:500]}")
    title = f"Failures under load, {plan.minutes:g} minutes each, {plan.rate:g} flows/s begun"
    return Figure("failures", title, rows, verdicts, {"seed": plan.seed, "runs": more})


async def run(lab: Lab, scenario: Scenario, plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """Play one scenario. Raises NoDisk or NoMongod where it cannot be played, NotRunning where a node stays dead."""
    chance = random.Random(f"{plan.seed} {scenario.name}")
    front = Front(random.Random(chance.random()))
    executor = Executor(random.Random(chance.random()), front)
    load = Load(front, executor, random.Random(chance.random()), plan.rate)
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(dir=lab.work, ignore_cleanup_errors=True)))
        stage = Stage(lab, folder, random.Random(chance.random()), front, executor, exits)
        await executor.start()
        try:
            await stage.start_nodes(await _database(stage, scenario))
            await load.register()
            stage.began = time.monotonic()
            stage.until = stage.began + plan.minutes * 60
            await _play(stage, scenario, load)
            drained = await drain(front, executor, load, DRAIN_S)
            verdict = await examine(front, executor, load)
            raw = _raw(stage, load, verdict)
            return _row(stage, scenario, load, verdict, drained), raw
        finally:
            await executor.close()
            front.close()
            for node in stage.nodes:
                await asyncio.to_thread(node.stop)
            if stage.members is not None:
                await asyncio.to_thread(stage.members.close)
            await stage.close()


async def _play(stage: Stage, scenario: Scenario, load: Load) -> None:
    loading = asyncio.create_task(load.run(stage.until))
    try:
        await scenario.trouble(stage)
        await stage.revive_all()
    except NotRunning as error:
        stage.unrecovered.append(f"given up: {error}")
    except BaseException:
        loading.cancel()
        raise
    await loading


async def _database(stage: Stage, scenario: Scenario) -> list[str]:
    """Start the database and what stands before it; return the storage URL of each node."""
    where = stage.folder
    if scenario.disk == "tmpfs":
        size = SQLITE_DISK_MB if scenario.store == "sqlite" else MONGOD_DISK_MB
        where = stage.disk = stage.exits.enter_context(small_disk(stage.folder, size))
    elif scenario.disk == "ext4":
        stage.image = Image(stage.folder, IMAGE_MB)
        stage.image.mount()
        stage.exits.callback(stage.image.close)
        where = stage.disk = stage.image.place
    if scenario.store == "sqlite":
        return [f"sqlite:///{where / 'flows.db'}"]
    members = await _members(stage, scenario, where)
    url = members.uri.replace("/?", "/failures?", 1)
    if scenario.proxies != "node":
        return [url] * scenario.nodes
    return [await _through_proxy(stage, members.ports[0]) for _ in range(scenario.nodes)]


async def _members(stage: Stage, scenario: Scenario, where: Path) -> ReplicaSet:
    ports, advertised = free_ports(scenario.members), None
    if scenario.proxies == "member":
        for port in ports:
            stage.member_proxies.append(Proxy(port))
            await stage.member_proxies[-1].start()
        advertised = [f"127.0.0.1:{proxy.port}" for proxy in stage.member_proxies]
    # A checkpoint a second: with one a minute, a full disk may be free again before mongod notices.
    arguments = ("--syncdelay", "1") if scenario.disk else ()
    members = ReplicaSet(
        where, scenario.members, ports=ports, advertised=advertised, election_timeout_s=ELECTION_S, arguments=arguments
    )
    stage.members = members
    await asyncio.to_thread(members.start)
    return members


async def _through_proxy(stage: Stage, port: int) -> str:
    """Direct, because a driver that looks for the members would find the way around the proxy."""
    proxy = Proxy(port)
    stage.node_proxies.append(proxy)
    await proxy.start()
    return f"mongodb://127.0.0.1:{proxy.port}/failures?directConnection=true"


def _row(stage: Stage, scenario: Scenario, load: Load, verdict: Verdict, drained: float) -> dict[str, Any]:
    executor = stage.executor
    row: dict[str, Any] = {
        "scenario": scenario.name,
        "blows": stage.blows,
        "accepted": len(load.accepted),
        "finished": verdict.finished,
        "lost": len(verdict.lost),
        "wrong": len(verdict.wrong),
        "stuck": len(verdict.stuck),
        "doubled": len(verdict.doubled),
        "unknown": len(load.unknown),
        "looked up": load.looked_up,
        "attempts": len(executor.attempts),
        "calls per attempt": round(executor.calls_per_attempt, 4),
        "most calls": executor.most_calls,
        "late callbacks refused": executor.refused_late,
        "refused": sum(load.front.refusals.values()),
        "drained s": drained,
    }
    taken = [watch for watch in executor.watches if watch.first_s is not None]
    if taken:
        row["take-overs"] = len(taken)
        row["take-over max s"] = max(watch.first_s or 0.0 for watch in taken)
        row["whole take-over max s"] = max(watch.last_s or 0.0 for watch in taken)
    return row


def _raw(stage: Stage, load: Load, verdict: Verdict) -> dict[str, Any]:
    logs, examples = said(node.output for node in stage.nodes)
    return {
        "logs": logs,
        "errors": examples,
        "complaints": verdict.complaints()[:200],
        "unrecovered": stage.unrecovered,
        "refusals": dict(load.front.refusals.most_common(60)),
        "unknown": dict(list(load.unknown.items())[:50]),
        "events": stage.events,
        "not taken over": [sorted(one.held)[:5] for one in stage.executor.watches if one.held and not one.again],
    }


def _verdicts(scenario: Scenario, row: dict[str, Any], raw: dict[str, Any]) -> list[tuple[bool, str]]:
    name, bad = scenario.name, {kind: row[kind] for kind in ("lost", "wrong", "stuck", "doubled")}
    said = ", ".join(f"{count} {kind}" for kind, count in bad.items())
    is_whole = row["accepted"] == row["finished"] > 0 and not any(bad.values())
    verdicts = [(is_whole, f"{name}: {row['accepted']} accepted, {row['finished']} finished, {said}")]
    if "take-over max s" in row:
        longest = row["take-over max s"]
        verdicts.append((longest <= TAKE_OVER_S, f"{name}: taken over within {longest:.1f} s, {TAKE_OVER_S:g} asked"))
    if raw["unrecovered"]:
        verdicts.append((False, f"{name}: nodes ended or did not come back: {len(raw['unrecovered'])}"))
    return verdicts
