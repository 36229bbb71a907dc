"""One heap, one loop timer. The store knows every due moment; memory holds only those of the near future.

A moment further away than the horizon is not held here at all: it is found in the store when it comes near, which is
also how moments of nodes that died are found. Many moments at once are handled in slices, so that the loop stays free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

import structlog

from tornflow.errors import StorageError
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import Storage

_log = structlog.get_logger("tornflow.timers")

_SLICE = 200
_PAGE = 5000


class Timers:
    """Calls ``fire(key)`` at or shortly after each moment. A spare call is harmless: the engine looks at the time."""

    def __init__(
        self, storage: Storage, fire: Callable[[ScopeKey], None], clock: Callable[[], int], *, horizon_ms: int
    ) -> None:
        self._storage = storage
        self._fire = fire
        self._clock = clock
        self._horizon_ms = horizon_ms
        self._heap: list[tuple[int, ScopeKey]] = []
        self._armed: dict[ScopeKey, int] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._next_at: int | None = None
        self._polling: asyncio.Task[None] | None = None
        self._is_crowded = False

    async def start(self) -> None:
        await self._poll()
        self._polling = asyncio.create_task(self._keep_polling())

    def arm(self, key: ScopeKey, due_at: int | None) -> None:
        """Note the earliest moment of a scope; replaces what was noted before."""
        known = self._armed.get(key)
        if due_at == known:
            return
        if due_at is None or due_at > self._clock() + self._horizon_ms:
            self._armed.pop(key, None)
            return
        self._armed[key] = due_at
        heappush(self._heap, (due_at, key))
        if self._next_at is None or due_at < self._next_at:
            self._schedule()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._polling is not None:
            self._polling.cancel()

    @property
    def armed(self) -> int:
        return len(self._armed)

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._next_at = self._heap[0][0] if self._heap else None
        if self._next_at is not None:
            delay_s = max(0, self._next_at - self._clock()) / 1000
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._fire_due)

    def _fire_due(self) -> None:
        now = self._clock()
        for _ in range(_SLICE):
            if not self._heap or self._heap[0][0] > now:
                break
            due_at, key = heappop(self._heap)
            if self._armed.get(key) == due_at:
                del self._armed[key]
                self._fire(key)
        self._schedule()

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(1 if self._is_crowded else self._horizon_ms / 2000)
            await self._poll()

    async def _poll(self) -> None:
        try:
            page = await self._storage.due(self._clock() + self._horizon_ms, _PAGE)
        except StorageError as error:
            _log.warning("cannot read due timers", reason=str(error))
            return
        self._is_crowded = len(page) == _PAGE
        for due in page:
            if due.key not in self._armed:
                self.arm(due.key, due.due_at)
