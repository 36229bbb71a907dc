"""What a scenario plays on: nodes on one database, the load's executor, a time until which things may break."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.failures.disks import Image
from bench.failures.executor import Executor
from bench.failures.front import Front
from bench.failures.proxy import Proxy
from bench.lab import Lab
from bench.processes import NotRunning, Server
from tornflow.testing.replica_set import Member, ReplicaSet

HEARTBEAT_S, TIMEOUT_S = 1.0, 4.0
"""Shorter than the defaults, so that ten minutes hold many take-overs."""
TAKE_OVER_S = TIMEOUT_S + 5.0
ANY_CORE = 1 << 10
READY_S = 90.0


@dataclass(slots=True)
class Stage:
    """Everything is closed with ``exits``, and what runs on the loop by ``close``."""

    lab: Lab
    folder: Path
    chance: random.Random
    front: Front
    executor: Executor
    exits: ExitStack
    until: float = 0.0
    nodes: list[Server] = field(default_factory=list)
    members: ReplicaSet | None = None
    node_proxies: list[Proxy] = field(default_factory=list)
    member_proxies: list[Proxy] = field(default_factory=list)
    disk: Path | None = None
    image: Image | None = None
    events: list[str] = field(default_factory=list)
    unrecovered: list[str] = field(default_factory=list)
    blows: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def is_time(self) -> bool:
        return time.monotonic() < self.until

    def tell(self, text: str) -> None:
        self.events.append(f"{time.monotonic() - self.began:7.2f} {text}")

    async def pause(self, low: float, high: float) -> None:
        """Wait a random time, at most until the time is over."""
        await asyncio.sleep(max(0.0, min(self.chance.uniform(low, high), self.until - time.monotonic())))

    async def start_nodes(self, urls: list[str]) -> None:
        settings = [f"engine.node_heartbeat_s={HEARTBEAT_S:g}", f"engine.node_timeout_s={TIMEOUT_S:g}"]
        for number, url in enumerate(urls):
            place = self.folder / f"node-{number}"
            place.mkdir()
            node = Server(self.lab.python, self.lab.repo, url, place, [*settings, *self.lab.server_settings])
            node.cpu = ANY_CORE
            self.exits.callback(node.stop)
            self.nodes.append(node)
            self.front.ports.append(node.port)
            await node.start()

    def name(self, node: Server) -> str:
        return f"node {self.nodes.index(node)}"

    def kill(self, node: Server) -> None:
        """``kill -9``; from now on its attempts are missed."""
        self.blows += 1
        self.tell(f"kill {self.name(node)}")
        node.kill()
        self.executor.watch(node.port)

    def send(self, node: Server, number: signal.Signals) -> None:
        self.tell(f"{number.name} {self.name(node)}")
        os.kill(node.pid, number)

    async def revive(self, node: Server) -> None:
        """Start it again; a start that fails is tried once more and told."""
        for last in (False, True):
            try:
                took = await node.start(READY_S)
                self.tell(f"{self.name(node)} is ready after {took:.1f} s")
                return
            except NotRunning as error:
                self.unrecovered.append(f"{self.name(node)}: {str(error)[-400:]}")
                if node.process.poll() is None:
                    node.kill()
                if last:
                    raise

    async def revive_all(self) -> None:
        for node in self.nodes:
            if node.process.poll() is not None:
                self.tell(f"{self.name(node)} has ended by itself with {node.process.returncode}")
                self.unrecovered.append(f"{self.name(node)} ended by itself: {node.last_words(400)}")
                await self.revive(node)

    async def ended(self, node: Server, patience_s: float) -> bool:
        """Wait until a process has ended."""
        end = time.monotonic() + patience_s
        while node.process.poll() is None:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.02)
        return True

    async def primary(self) -> Member:
        assert self.members is not None
        return await asyncio.to_thread(self.members.primary, 60.0)

    async def close(self) -> None:
        for proxy in (*self.node_proxies, *self.member_proxies):
            await proxy.close()
