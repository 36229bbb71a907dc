"""Which node does what: heartbeats, taking over the work of nodes that are gone, removing what has expired.

The same code serves the restart of a single server: with a store that only we use, every owner found at start is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tornflow.engine.events import Recovered
from tornflow.errors import StorageError, TornflowError
from tornflow.model.execution import ScopeKey
from tornflow.runtime.runner import Runner
from tornflow.spi.storage import NodeBeat, Storage

_log = structlog.get_logger("tornflow.nodes")

_PAGE = 500
_SWEEP_S = 30
_WATCH_S = 1


class Node:
    """This process among those that share the store."""

    def __init__(
        self,
        node_id: str,
        storage: Storage,
        runner: Runner,
        clock: Callable[[], int],
        *,
        beat_s: float,
        timeout_s: float,
    ) -> None:
        self.node_id = node_id
        self._storage = storage
        self._runner = runner
        self._clock = clock
        self._beat_s = beat_s
        self._timeout_ms = int(timeout_s * 1000)
        self._started_at = clock()
        self._tasks: list[asyncio.Task[None]] = []
        self._seen: dict[str, tuple[int, int]] = {}
        self._is_draining = False

    async def start(self) -> None:
        """Beat once, take over what is orphaned, then keep doing both. Returns when recovery is done."""
        if self._storage.is_shared:
            await self._beat()
            self._tasks.append(asyncio.create_task(self._keep_beating()))
        else:
            await self.take_over()
        self._tasks.append(asyncio.create_task(self._keep_sweeping()))
        self._tasks.append(asyncio.create_task(self._keep_watching()))

    def drain(self) -> None:
        """Take over nothing more, but go on beating: what is still in hand here must not be taken by others."""
        self._is_draining = True

    async def stop(self) -> None:
        """Sign off; from now on others may take over what is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._storage.is_shared:
            try:
                await self._storage.forget_node(self.node_id)
            except StorageError as error:
                _log.warning("cannot sign off", reason=str(error))

    async def take_over(self) -> int:
        """Recover every scope that a dead node had in hand; return how many."""
        count = 0
        alive = await self._alive()
        for owner in await self._storage.owners():
            if owner in alive:
                continue
            while keys := await self._storage.owned(owner, _PAGE):
                recovered = sum(await asyncio.gather(*map(self._recover, keys)))
                count += recovered
                if recovered == 0:
                    break  # what is left cannot be read; each one was logged
        if count:
            _log.info("work of a node that is gone was taken over", scopes=count)
        return count

    async def _recover(self, key: ScopeKey) -> bool:
        try:
            await self._runner.apply(key, Recovered(self._clock()))
        except TornflowError as error:
            _log.error("cannot recover", execution_id=key.execution_id, scope=key.path, reason=str(error))
            return False
        return True

    async def _alive(self) -> set[str]:
        """Return the nodes whose beat moved within the time-out.

        Clocks of other machines are not trusted: what counts is when *we* saw a beat change.
        """
        if not self._storage.is_shared:
            return {self.node_id}
        now = self._clock()
        for beat in await self._storage.nodes():
            known = self._seen.get(beat.node_id)
            if known is None or known[0] != beat.seen_at:
                self._seen[beat.node_id] = (beat.seen_at, now)
        dead = [node for node, (_, seen) in self._seen.items() if now - seen > self._timeout_ms]
        for node in dead:
            if node != self.node_id:
                await self._storage.forget_node(node)
            del self._seen[node]
        return {*self._seen, self.node_id}

    async def _beat(self) -> None:
        await self._storage.beat(NodeBeat(self.node_id, self._started_at, self._clock()))

    async def _keep_beating(self) -> None:
        while True:
            try:
                await self._beat()
                if not self._is_draining:
                    await self.take_over()
            except StorageError as error:
                _log.warning("heartbeat failed", reason=str(error))
            await asyncio.sleep(self._beat_s)

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
            except StorageError as error:
                _log.warning("cannot remove expired executions", reason=str(error))
            await asyncio.sleep(_SWEEP_S)

    async def _keep_watching(self) -> None:
        """A server that gets no requests because its store was away must notice that it is back."""
        while True:
            await asyncio.sleep(_WATCH_S)
            if self._runner.trouble:
                try:
                    await self._storage.ping()
                except StorageError as error:
                    self._runner.trouble = str(error)
                else:
                    self._runner.trouble = ""

    async def sweep(self) -> int:
        """Delete executions whose retention is over; return how many."""
        count = 0
        while expired := await self._storage.expired(self._clock(), _PAGE):
            for execution_id in expired:
                await self._storage.delete_execution(execution_id)
                self._runner.forget(execution_id)
            count += len(expired)
        return count
