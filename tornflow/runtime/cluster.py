"""This process among those that share the store: heartbeats, and taking over the work of nodes that are gone.

The same code serves the restart of a single server: with a store that only we use, every owner found at start is dead.

Clocks of other machines are not trusted: a node is dead when *we* have seen its beat stand still for the time-out. A
node that was silent for so long itself (stopped, cut off) may have been given up by the others. It starts nothing until
its next beat has told it, and then goes on under a new name; what it had in hand is taken over like any dead node's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import structlog

from tornflow.engine.events import Recovered
from tornflow.errors import StorageError, TornflowError
from tornflow.model.execution import ScopeKey
from tornflow.runtime.clock import Clock
from tornflow.runtime.commits import Commits
from tornflow.runtime.dispatcher import Dispatcher
from tornflow.runtime.identities import Identities
from tornflow.runtime.runner import Runner
from tornflow.runtime.tasks import Tasks
from tornflow.spi.storage import NodeBeat, Storage

_log = structlog.get_logger("tornflow.cluster")

_PAGE = 200
_AT_ONCE = 64
_WATCH_S = 1.0
_APART_MS = 5_000  # steady clocks of nodes may differ by so much: it does no harm


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    beat_s: float = 2.0
    timeout_s: float = 10.0
    address: str = ""


class Cluster:
    def __init__(
        self,
        storage: Storage,
        runner: Runner,
        dispatcher: Dispatcher,
        commits: Commits,
        clock: Clock,
        identities: Identities,
        settings: ClusterSettings,
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._dispatcher = dispatcher
        self._commits = commits
        self._clock = clock
        self._identities = identities
        self._settings = settings
        self._started_at = clock.wall_ms()
        self._tasks = Tasks()
        self._seen: dict[str, tuple[int, float]] = {}  # by node: its last beat, and when we saw it come
        self._looked_at = clock.seconds()
        self._gone_since: dict[str, float] = {}
        self._beaten_at: float | None = None  # when the last beat that was stored began
        self._is_draining = False

    @property
    def alive(self) -> set[str]:
        return {*self._seen, self._runner.node_id}

    def falls_to_us(self, key: ScopeKey) -> bool:
        """Each execution falls to one of the living nodes; all of them agree as far as they see the same ones."""
        if not self._storage.is_shared or len(self._seen) == 0:
            return True
        return max(self.alive, key=lambda node: crc32(f"{node}/{key.execution_id}".encode())) == self._runner.node_id

    def is_sure(self) -> bool:
        """Whether the others cannot have given us up: our last beat is younger than their patience."""
        if not self._storage.is_shared:
            return True
        return self._beaten_at is not None and self._clock.seconds() - self._beaten_at < self._settings.timeout_s

    async def start(self) -> None:
        """Say that we live, take over what is orphaned, then keep doing both. Returns when recovery is done."""
        if self._storage.is_shared:
            await self._align_clock()
            await self._beat()
            await self._look()
        await self.take_over()
        if self._storage.is_shared:
            self._tasks.keep_running("cluster: beat", self._keep_beating)
            self._tasks.keep_running("cluster: look", self._keep_looking)
            self._tasks.keep_running("cluster: take over", self._keep_taking_over)
        self._tasks.keep_running("cluster: watch the store", self._keep_watching_store)

    def drain(self) -> None:
        """Take over nothing more, but go on beating: what is still in hand here must not be taken by others."""
        self._is_draining = True

    async def stop(self) -> None:
        """Sign off; from now on others may take over what is left."""
        await self._tasks.close()
        if self._storage.is_shared:
            try:
                await self._storage.forget_node(self._runner.node_id)
            except StorageError as error:
                _log.warning("cannot sign off", reason=str(error))

    # --- beats

    async def _keep_beating(self) -> None:
        """Waits for nothing but the store."""
        while True:
            await asyncio.sleep(self._settings.beat_s)
            try:
                await self._beat()
            except StorageError as error:
                _log.warning("heartbeat failed", reason=str(error))

    async def _beat(self) -> None:
        begun_at = self._clock.seconds()
        was_known = await self._storage.beat(self._beat_of(self._runner.node_id))
        if not was_known and self._beaten_at is not None:
            await self._begin_anew()
        was_sure = self.is_sure()
        self._beaten_at = begun_at
        if not was_sure:
            self._dispatcher.resume()

    async def _begin_anew(self) -> None:
        """The others have given us up: what was in hand under the old name is theirs."""
        old, new = self._runner.node_id, self._identities.node_id()
        _log.warning("this node was given up by the others; it goes on under a new name", old=old)
        await self._storage.beat(self._beat_of(new))  # before it takes anything in hand
        self._runner.node_id = new
        self._dispatcher.drop_waiting()
        await self._storage.forget_node(old)

    def _beat_of(self, node: str) -> NodeBeat:
        return NodeBeat(node, self._started_at, self._clock.steady_ms(), self._settings.address)

    async def _align_clock(self) -> None:
        """Durations of running flows are counted on the steady clocks of nodes that may have started before the wall
        clock was set: a new node joins their timeline."""
        first = {beat.node_id: beat.seen_at for beat in await self._storage.nodes()}
        if all(abs(at - self._clock.steady_ms()) <= _APART_MS for at in first.values()):
            return
        await asyncio.sleep(self._settings.beat_s * 1.5)
        living = [beat for beat in await self._storage.nodes() if beat.seen_at != first.get(beat.node_id)]
        if not living:
            return
        ahead = min(living, key=lambda beat: beat.started_at).seen_at - self._clock.steady_ms()
        if abs(ahead) > _APART_MS:
            _log.warning("the clock was set; durations are counted as on the other nodes", by_ms=ahead)
            self._clock.shift(ahead)

    # --- who lives

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._settings.beat_s)
            try:
                await self._look()
            except StorageError as error:
                _log.warning("cannot see the other nodes", reason=str(error))

    async def _look(self) -> None:
        """Note whose beat has moved; forget who has been silent for the time-out while we were looking."""
        beats = await self._storage.nodes()
        now, timeout_s = self._clock.seconds(), self._settings.timeout_s
        if now - self._looked_at > timeout_s / 2:  # we were stopped, or cut off: we cannot say who was silent
            self._seen = {node: (beat, now) for node, (beat, _) in self._seen.items()}
        self._looked_at = now
        for beat in beats:
            known = self._seen.get(beat.node_id)
            if beat.node_id != self._runner.node_id and (known is None or known[0] != beat.seen_at):
                self._seen[beat.node_id] = (beat.seen_at, now)
        listed = {beat.node_id for beat in beats}
        for node, (_, seen_at) in list(self._seen.items()):
            if node not in listed:
                del self._seen[node]  # it signed off, or another node has given it up
            elif now - seen_at > timeout_s:
                _log.warning("a node is silent", node=node)
                await self._storage.forget_node(node)
                del self._seen[node]

    # --- taking over

    async def _keep_taking_over(self) -> None:
        while True:
            await asyncio.sleep(self._settings.beat_s)
            if self._is_draining or not self.is_sure():
                continue
            try:
                await self.take_over()
            except StorageError as error:
                _log.warning("cannot take over", reason=str(error))

    async def take_over(self) -> int:
        """Recover the scopes that dead nodes had in hand; return how many were looked at.

        Each survivor takes those that fall to it. What is still there after the time-out, because a survivor cannot,
        is taken by any.
        """
        count = 0
        now = self._clock.seconds()
        owners = await self._storage.owners()
        # Read after the owners: a node beats before it owns anything, so that a new one is listed here.
        listed = {beat.node_id for beat in await self._storage.nodes()} if self._storage.is_shared else set[str]()
        dead = [owner for owner in owners if owner not in self.alive and owner not in listed]
        self._gone_since = {owner: self._gone_since.get(owner, now) for owner in dead}
        for owner in dead:
            takes_all = now - self._gone_since[owner] > self._settings.timeout_s
            count += await self._take_over_from(owner, takes_all)
        if count:
            _log.info("work of nodes that are gone was taken over", scopes=count)
        return count

    async def _take_over_from(self, owner: str, takes_all: bool) -> int:
        count, after = 0, None
        while keys := await self._storage.owned(owner, _PAGE, after=after):
            ours = [key for key in keys if takes_all or self.falls_to_us(key)]
            for start in range(0, len(ours), _AT_ONCE):
                page = ours[start : start + _AT_ONCE]
                count += sum(await asyncio.gather(*map(partial(self._recover, owner), page)))
            after = keys[-1]
            if len(keys) < _PAGE or self._is_draining:
                break
        return count

    async def _recover(self, owner: str, key: ScopeKey) -> bool:
        """An event of our own: a store that is away for a moment must not leave it behind."""
        try:
            if key.path and await self._removed_as_stray(key):
                return False
            await self._runner.send(key, Recovered(self._clock.wall_ms(), owner))
        except TornflowError as error:
            _log.error("cannot recover", execution_id=key.execution_id, scope=key.path, reason=str(error))
            return False
        return True

    async def _removed_as_stray(self, group: ScopeKey) -> bool:
        """Remove a group whose execution is gone: its node died after storing it, before it saw that the execution had
        been purged or begun afresh meanwhile. The root is read second: a life that it has left never comes back."""
        found = await self._storage.version(group)
        root = await self._storage.version(ScopeKey(group.execution_id))
        if found is None or (root is not None and root.life == found.life):
            return False
        await self._storage.delete_strays(group.execution_id, found.life)
        self._runner.forget({group.execution_id: found.life})
        return True

    # --- the store

    async def _keep_watching_store(self) -> None:
        """A server that gets no requests because its store was away must notice that it is back."""
        while True:
            await asyncio.sleep(_WATCH_S)
            if self._commits.trouble:
                try:
                    await self._storage.ping()
                except StorageError as error:
                    self._commits.trouble = str(error)
                else:
                    self._commits.trouble = ""
