"""What the catalog remembers of the store, and how it finds out that another node has changed it.

Whoever changes names puts a new token into one record (kind ``epoch``, key ``catalog``) after the writes of the change
and before its answer. Whatever was read under one token therefore holds as long as the record shows that token: a
change that was answered before we read the token has replaced it. A change that failed or died between its writes and
its token was never answered; what others remember from before it ends after ``MAX_AGE_MS``.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from tornflow.spi.storage import Storage

V = TypeVar("V")

MAX_AGE_MS = 5000
_EPOCH = ("epoch", "catalog")


class Remembered:
    """Answers of the store, least recently used out first.

    A store of our own is changed by nobody else: answers hold until the next ``change``. On a shared one they hold for
    one epoch, and only after ``refresh`` has asked which epoch it is. All who ask while a read is on its way get its
    answer; a read that was overtaken by a change is not kept.
    """

    def __init__(self, storage: Storage, clock: Callable[[], int], token: Callable[[], str], size: int) -> None:
        self._storage = storage
        self._clock = clock
        self._token = token
        self._size = size
        self._max_age_ms = MAX_AGE_MS if storage.is_shared else None
        self._epoch: bytes | None = None
        self._generation = 0
        self._answers: OrderedDict[tuple[Any, ...], tuple[Any, int]] = OrderedDict()
        self._reads: dict[tuple[Any, ...], asyncio.Task[Any]] = {}
        self._next_epoch = NextRead(lambda: storage.get_record(*_EPOCH))

    async def refresh(self) -> None:
        """Forget everything unless no change was answered since it was read. Call before ``get``, once per request."""
        if not self._storage.is_shared:
            return
        epoch = await self._next_epoch.get()
        if epoch != self._epoch:
            self._epoch = epoch
            self._clear()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Around the writes of every change; the next epoch begins when they are done. A change that breaks off may
        have been stored in part, but was not answered: others may see it later."""
        try:
            yield
        finally:
            self._clear()
        if self._storage.is_shared:
            await self._storage.put_record(*_EPOCH, self._token().encode())

    async def get(self, key: tuple[Any, ...], read: Callable[[], Awaitable[V]]) -> V:
        """Return what is held for ``key``; ``read`` asks the store. One key always has answers of one type."""
        now = self._clock()
        held = self._answers.get(key)
        if held is not None and (self._max_age_ms is None or 0 <= now - held[1] < self._max_age_ms):
            self._answers.move_to_end(key)
            answer: V = held[0]
            return answer
        task = self._reads.get(key)
        if task is None:
            task = self._reads[key] = asyncio.get_running_loop().create_task(self._read(key, read, now))
            task.add_done_callback(lambda done: self._forget(key, done))
        # Shielded: who stops waiting must not take the answer away from the others.
        answer = await asyncio.shield(task)
        return answer

    async def _read(self, key: tuple[Any, ...], read: Callable[[], Awaitable[V]], now: int) -> V:
        generation = self._generation
        answer = await read()
        if generation == self._generation:
            self._answers[key] = (answer, now)
            self._answers.move_to_end(key)
            if len(self._answers) > self._size:
                self._answers.popitem(last=False)
        return answer

    def _forget(self, key: tuple[Any, ...], done: asyncio.Task[Any]) -> None:
        if self._reads.get(key) is done:
            del self._reads[key]
        _look_at(done)

    def _clear(self) -> None:
        self._generation += 1
        self._answers.clear()
        self._reads.clear()  # who asks from now on must not get an answer from before the change


class NextRead(Generic[V]):
    """One read for all who ask at once: never one that is already under way, because it may miss what they must see.

    At most one read runs and one waits, however many ask.
    """

    def __init__(self, read: Callable[[], Awaitable[V]]) -> None:
        self._read = read
        self._running: asyncio.Task[V] | None = None
        self._waiting: asyncio.Task[V] | None = None

    async def get(self) -> V:
        """Return the answer of a read that starts after this call. Raises what that read raises."""
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.get_running_loop().create_task(self._run(self._running))
            self._waiting.add_done_callback(_look_at)
        answer = await asyncio.shield(self._waiting)
        return answer

    async def _run(self, before: asyncio.Task[V] | None) -> V:
        if before is not None and not before.done():
            await asyncio.wait((before,))
        self._running, self._waiting = self._waiting, None
        return await self._read()


def _look_at(done: asyncio.Task[Any]) -> None:
    if not done.cancelled():
        done.exception()  # also when nobody waits any more
