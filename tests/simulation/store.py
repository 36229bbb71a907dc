"""The store as one node sees it: an answer takes time, may fail, may get lost, and tells nothing about others.

Reads are linearizable, as the contract wants; what is at the mercy of the seed is when a call takes effect, whether it
does, and whether its caller hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from tests.simulation.disk import Disk
from tests.simulation.loop import OUTSIDE, PROCESS, Process, SimulatedLoop
from tornflow.errors import StorageError, StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import (
    DueScope,
    ExecutionQuery,
    NodeBeat,
    Record,
    ScopeWrite,
    StoredRecord,
    StoredScope,
    Summary,
    Target,
    Version,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Habits:
    """How the store behaves in one world. Shares are of all calls while faults are on; ``pace_s`` is a usual answer."""

    pace_s: float = 0.002
    slow_share: float = 0.0
    slow_s: float = 1.0
    lost_share: float = 0.0  # nothing was stored, and the caller knows
    unknown_share: float = 0.0  # stored, or not, or stored later; the caller does not know
    batch_s: float = 0.0  # commits wait for each other so long and then take effect together


class StoreClient:
    """One node's connection. ``is_cut`` and ``disk_is_away`` are set by the faults of the world."""

    def __init__(
        self, loop: SimulatedLoop, disk: Disk, process: Process, habits: Habits, seed: str, *, is_shared: bool
    ) -> None:
        self.is_shared = is_shared
        self.is_cut = False
        self.is_gone = False
        self.is_troubled = True
        self._loop = loop
        self._disk = disk
        self._process = process
        self._habits = habits
        self._random = Random(f"store/{seed}/{process.name}")
        self._is_open = False
        self._last: dict[ScopeKey, float] = {}
        self._late: dict[ScopeKey, list[tuple[asyncio.TimerHandle, Callable[[], Any]]]] = {}
        self.problems: list[str] = []

    # --- a call on its way

    async def _read(self, work: Callable[[], T]) -> T:
        self._check()
        answer: asyncio.Future[T] = self._loop.create_future()
        self._later(self._pace(), self._carry_out, answer, work, False)
        return await answer

    async def _write(self, work: Callable[[float], T], key: ScopeKey | None = None) -> T:
        self._check()
        answer: asyncio.Future[T] = self._loop.create_future()
        habits, dice = self._habits, self._random.random()
        at = self._loop.time() + self._pace()
        if habits.batch_s:
            at = (int(at / habits.batch_s) + 1) * habits.batch_s
        if key is not None:  # writes of one scope take effect in the order of the calls
            at = self._last[key] = max(at, self._last.get(key, 0.0))
            self._overtake(key)
        if self.is_troubled and dice < habits.lost_share:
            self._at(at, self._refuse, answer, "the store did not take it", False)
        elif self.is_troubled and dice < habits.lost_share + habits.unknown_share:
            self._lose(at, answer, lambda: work(self._loop.time()), key)
        else:
            self._at(at, self._carry_out, answer, lambda: work(self._loop.time()), True)
        return await answer

    def _overtake(self, key: ScopeKey) -> None:
        """A write that is still on its way arrives before a later one of its scope, or never."""
        for handle, work in self._late.pop(key, []):
            if not handle.cancelled() and handle.when() > self._loop.time():
                handle.cancel()
                if self._random.random() < 0.5:
                    self._attempt(work)

    def _lose(
        self, at: float, answer: asyncio.Future[Any], work: Callable[[], Any], key: ScopeKey | None
    ) -> None:
        """The answer gets lost; what was to be done may be done now, later or never."""
        fate = self._random.randrange(4)
        if fate < 2:
            self._at(at, self._attempt, work)
        elif fate == 2:
            handle = self._at(at + self._random.choice([0.01, 0.5, 3.0]), self._attempt, work)
            if key is not None:
                self._late.setdefault(key, []).append((handle, work))
        self._at(at + self._random.choice([0.001, 0.1, 2.0]), self._refuse, answer, "no answer from the store", True)

    def _carry_out(self, answer: asyncio.Future[Any], work: Callable[[], Any], is_write: bool) -> None:
        if self.is_gone or (self._process.is_dead and (not is_write or self._random.random() < 0.5)):
            return
        if self.is_cut:
            self._later(self._random.choice([0.0, 1.0, 3.0]), self._refuse, answer, "no way to the store", False)
            return
        try:
            result, error = work(), None
        except StorageError as caught:
            result, error = None, caught
        self._later(self._pace(), self._answer, answer, result, error, is_write)

    def _answer(self, answer: asyncio.Future[Any], result: Any, error: StorageError | None, is_write: bool) -> None:
        if self.is_cut:  # the way back is closed now
            self._refuse(answer, "connection lost", is_write and error is None)
        elif not answer.done():
            if error is not None:
                _fail(answer, error)
            else:
                answer.set_result(result)

    def _attempt(self, work: Callable[[], Any]) -> None:
        if self.is_cut or self.is_gone:
            return
        try:
            work()
        except StorageError:
            pass

    def _refuse(self, answer: asyncio.Future[Any], why: str, is_unknown: bool) -> None:
        if not answer.done():
            _fail(answer, StorageUnavailable(why, is_unknown=is_unknown))

    def _pace(self) -> float:
        habits = self._habits
        if self.is_troubled and self._random.random() < habits.slow_share:
            return self._random.random() * habits.slow_s
        return self._random.random() * habits.pace_s

    def _later(self, delay: float, work: Callable[..., Any], *args: Any) -> None:
        self._loop.call_later(delay, work, *args, context=OUTSIDE)

    def _at(self, when: float, work: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        return self._loop.call_at(when, work, *args, context=OUTSIDE)

    def _check(self) -> None:
        if PROCESS.get() is not self._process:
            self.problems.append(f"store of {self._process.name} is used by {PROCESS.get()}")
        if not self._is_open:
            raise StorageUnavailable("the store is not open")

    # --- the contract

    async def open(self) -> None:
        self._is_open = True
        await self._read(lambda: None)

    async def close(self) -> None:
        self._is_open = False

    async def ping(self) -> None:
        await self._read(lambda: None)

    async def commit(self, write: ScopeWrite) -> int:
        return await self._write(lambda at: self._disk.commit(write, at, self._process.name), write.key)

    async def load(self, key: ScopeKey) -> StoredScope | None:
        return await self._read(lambda: self._disk.load(key))

    async def version(self, key: ScopeKey) -> Version | None:
        return await self._read(lambda: self._disk.version(key))

    async def children(self, execution_id: str, prefix: str, after: str, limit: int) -> Sequence[ScopeKey]:
        return await self._read(lambda: self._disk.children(execution_id, prefix, after, limit))

    async def due(self, before: int, limit: int) -> Sequence[DueScope]:
        return await self._read(lambda: self._disk.due(before, limit))

    async def owned(self, owner: str, limit: int, *, after: ScopeKey | None = None) -> Sequence[ScopeKey]:
        return await self._read(lambda: self._disk.owned(owner, limit, after))

    async def owners(self) -> Sequence[str]:
        return await self._read(self._disk.owners)

    async def summary(self, execution_id: str) -> Summary | None:
        return await self._read(lambda: self._disk.summaries.get(execution_id))

    async def execution_for_key(self, idempotency_key: str) -> str | None:
        return await self._read(lambda: self._disk.keys.get(idempotency_key))

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        return await self._read(lambda: self._disk.matching(query)[offset : offset + limit])

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        return await self._read(lambda: self._disk.counts(query))

    async def delete_executions(self, targets: Sequence[Target]) -> Sequence[bool]:
        name = self._process.name
        answers = []
        for target in targets:  # not one transaction: another node may come in between
            answers.append(await self._write(lambda at, target=target: self._disk.delete(target, at, name)))
        return answers

    async def delete_strays(self, execution_id: str, life: str) -> int:
        return await self._write(lambda at: self._disk.delete_strays(execution_id, life, at, self._process.name))

    async def living_parents(self, execution_ids: Sequence[str]) -> set[str]:
        return await self._read(lambda: self._disk.living_parents(execution_ids))

    async def expired(self, before: int, limit: int) -> Sequence[Target]:
        return await self._read(lambda: self._disk.expired(before, limit))

    async def scan(self, after: ScopeKey | None, limit: int) -> Sequence[StoredRecord]:
        raise NotImplementedError

    async def restore(self, records: Sequence[StoredRecord]) -> None:
        raise NotImplementedError

    async def record_kinds(self) -> Sequence[str]:
        return await self._read(lambda: sorted(self._disk.records))

    async def put_record(self, kind: str, key: str, body: bytes) -> None:
        def put(_at: float) -> None:
            self._disk.records.setdefault(kind, {})[key] = body

        await self._write(put)

    async def get_record(self, kind: str, key: str) -> bytes | None:
        return await self._read(lambda: self._disk.records.get(kind, {}).get(key))

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        return await self._read(lambda: self._disk.list_records(kind, prefix, after, limit))

    async def delete_record(self, kind: str, key: str) -> bool:
        return await self._write(lambda _at: self._disk.records.get(kind, {}).pop(key, None) is not None)

    async def beat(self, beat: NodeBeat) -> bool:
        def note(_at: float) -> bool:
            was_known = beat.node_id in self._disk.beats
            self._disk.beats[beat.node_id] = beat
            return was_known

        return await self._write(note)

    async def nodes(self) -> Sequence[NodeBeat]:
        return await self._read(lambda: list(self._disk.beats.values()))

    async def forget_node(self, node_id: str) -> None:
        def forget(_at: float) -> None:
            self._disk.beats.pop(node_id, None)

        await self._write(forget)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    """A caller that died meanwhile is no reason to complain that nobody took the error."""
    answer.set_exception(error)
    answer._log_traceback = False  # type: ignore[attr-defined]
