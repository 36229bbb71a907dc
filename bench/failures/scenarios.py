"""What breaks, and how often. Each scenario goes on until the time is over and leaves everything mended."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.failures.disks import fill, free
from bench.failures.proxy import Mode, Proxy
from bench.failures.stage import TIMEOUT_S, Stage

DRAIN_S = 40.0
"""A server that was asked to stop ends within its ``drain_timeout_s`` (30) and some."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``disk``: the database lies on a small tmpfs (``tmpfs``) or an ext4 image (``ext4``)."""

    name: str
    trouble: Callable[[Stage], Awaitable[None]]
    store: str = "mongodb"
    nodes: int = 2
    members: int = 1
    disk: str = ""
    proxies: str = ""
    """Of ours, in front of the database for each ``node``, or in front of each ``member``."""


async def _kill_nodes(stage: Stage) -> None:
    """A dead node comes back before or after the others have given it up; never are all of them dead."""
    while stage.is_time:
        await stage.pause(1.0, 4.0)
        node = stage.chance.choice(stage.nodes)
        stage.kill(node)
        await stage.pause(0.5, TIMEOUT_S + 5.0)
        await stage.revive(node)


async def _freeze_node(stage: Stage) -> None:
    """Thirty seconds are the issue's; a short trial freezes for longer than the others wait, but not so long."""
    length = min(30.0, max(TIMEOUT_S + 3.0, (stage.until - time.monotonic()) / 3))
    while stage.is_time:
        await stage.pause(1.0, 4.0)
        node = stage.chance.choice(stage.nodes)
        stage.blows += 1
        stage.send(node, signal.SIGSTOP)
        try:
            await asyncio.sleep(length)
        finally:
            stage.send(node, signal.SIGCONT)
        await stage.pause(5.0, 8.0)


async def _rolling_restart(stage: Stage) -> None:
    while stage.is_time:
        for node in stage.nodes:
            await stage.pause(1.0, 3.0)
            stage.blows += 1
            stage.send(node, signal.SIGTERM)
            if not await stage.ended(node, DRAIN_S):
                stage.unrecovered.append(f"{stage.name(node)} did not end within {DRAIN_S:g} s after SIGTERM")
                node.kill()
            await stage.revive(node)


async def _kill_primary(stage: Stage) -> None:
    while stage.is_time:
        await stage.pause(3.0, 6.0)
        member = await stage.primary()
        stage.blows += 1
        stage.tell("kill the primary")
        await asyncio.to_thread(member.kill)
        await stage.pause(3.0, 12.0)
        member.start()
        await stage.primary()


async def _step_down(stage: Stage) -> None:
    assert stage.members is not None
    while stage.is_time:
        await stage.pause(2.0, 6.0)
        stage.blows += 1
        stage.tell("step down")
        await asyncio.to_thread(stage.members.step_down, 5)
        await stage.primary()


async def _partition_node(stage: Stage) -> None:
    """One node's way to the database is slow, silent, loses answers or is cut, for less or more than its time-out."""
    while stage.is_time:
        await stage.pause(1.0, 4.0)
        await _disturb(stage, stage.chance.choice(stage.node_proxies), "node")


async def _partition_primary(stage: Stage) -> None:
    """Nothing reaches the primary any more, neither clients nor members; what it sends to the others still does."""
    assert stage.members is not None
    while stage.is_time:
        await stage.pause(3.0, 6.0)
        member = await stage.primary()
        await _disturb(stage, stage.member_proxies[stage.members.members.index(member)], "primary")
        await stage.primary()


async def _disturb(stage: Stage, proxy: Proxy, whose: str) -> None:
    mode = stage.chance.choice([Mode.SILENT, Mode.SWALLOW, Mode.CUT, Mode.DELAY])
    stage.blows += 1
    stage.tell(f"{mode} for a {whose}")
    proxy.set(mode)
    try:
        await stage.pause(1.0, TIMEOUT_S * 2.5)
    finally:
        proxy.set(Mode.PASS)
        stage.tell(f"{whose} is mended")


async def _full_disk_mongod(stage: Stage) -> None:
    """A mongod that cannot write ends itself; it is started again when there is space."""
    assert stage.members is not None and stage.disk is not None
    member = stage.members.members[0]
    while stage.is_time:
        await stage.pause(3.0, 6.0)
        stage.blows += 1
        stage.tell("fill the disk of mongod")
        await asyncio.to_thread(fill, stage.disk)
        try:
            await stage.pause(6.0, 12.0)
        finally:
            free(stage.disk)
        stage.tell("free it again; mongod " + ("runs" if member.is_running else "has ended"))
        if not member.is_running:
            member.start()
        await stage.primary()


async def _sqlite_kill(stage: Stage) -> None:
    (node,) = stage.nodes
    while stage.is_time:
        await stage.pause(0.5, 3.0)
        stage.blows += 1
        stage.tell("kill")
        node.kill()
        await stage.pause(0.0, 1.0)
        await stage.revive(node)


async def _sqlite_full_disk(stage: Stage) -> None:
    assert stage.disk is not None
    while stage.is_time:
        await stage.pause(1.0, 4.0)
        stage.blows += 1
        stage.tell("fill the disk")
        await asyncio.to_thread(fill, stage.disk)
        try:
            await stage.pause(1.0, 6.0)
        finally:
            free(stage.disk)
        await stage.revive_all()


async def _sqlite_locked(stage: Stage) -> None:
    """Another program holds the lock for writing for four seconds."""
    path = _database_file(stage)
    while stage.is_time:
        await stage.pause(1.0, 4.0)
        stage.blows += 1
        await asyncio.to_thread(_hold_lock, path, 4.0)
        stage.tell("the lock was held for 4 s")


def _hold_lock(path: Path, seconds: float) -> None:
    other = sqlite3.connect(path, isolation_level=None, timeout=20)
    try:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        other.execute("ROLLBACK")
    finally:
        other.close()


async def _sqlite_read_only(stage: Stage) -> None:
    """The kernel makes the file system read-only under the server; it stays up and is restarted after the repair."""
    assert stage.image is not None
    (node,) = stage.nodes
    while stage.is_time:
        await stage.pause(2.0, 5.0)
        stage.blows += 1
        stage.tell("read-only")
        await asyncio.to_thread(stage.image.make_read_only)
        await stage.pause(2.0, 6.0)
        if node.process.poll() is not None:
            stage.unrecovered.append(f"the server ended on a read-only disk: {node.last_words(400)}")
        stage.send(node, signal.SIGTERM) if node.process.poll() is None else None
        if not await stage.ended(node, DRAIN_S):
            stage.tell("SIGTERM did not end the server on a read-only disk")
            node.kill()
        await asyncio.to_thread(stage.image.repair)
        await stage.revive(node)


def _database_file(stage: Stage) -> Path:
    return (stage.disk or stage.folder) / "flows.db"


SCENARIOS = (
    Scenario("kill-nodes-2", _kill_nodes, nodes=2),
    Scenario("kill-nodes-3", _kill_nodes, nodes=3),
    Scenario("kill-primary", _kill_primary, nodes=2, members=3),
    Scenario("step-down", _step_down, nodes=2, members=3),
    Scenario("partition-node", _partition_node, nodes=2, proxies="node"),
    Scenario("partition-primary", _partition_primary, nodes=2, members=3, proxies="member"),
    Scenario("freeze-node", _freeze_node, nodes=2),
    Scenario("rolling-restart", _rolling_restart, nodes=2),
    Scenario("full-disk-mongod", _full_disk_mongod, nodes=2, disk="tmpfs"),
    Scenario("sqlite-kill", _sqlite_kill, store="sqlite", nodes=1),
    Scenario("sqlite-term", _rolling_restart, store="sqlite", nodes=1),
    Scenario("sqlite-full-disk", _sqlite_full_disk, store="sqlite", nodes=1, disk="tmpfs"),
    Scenario("sqlite-locked", _sqlite_locked, store="sqlite", nodes=1),
    Scenario("sqlite-read-only", _sqlite_read_only, store="sqlite", nodes=1, disk="ext4"),
)
