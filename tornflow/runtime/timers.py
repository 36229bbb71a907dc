"""One heap, one loop timer. The store knows every due moment; memory holds only those of the near future.

A moment further away than the horizon is not held here at all: it is found in the store when it comes near, which is
also how moments of nodes that died are found. Where several nodes share the store, each looks after the scopes that
fall to it; besides, the node that sets a timer of the next seconds keeps it itself, because the others could not know
of it in time. Many moments at once are handled in slices, so that the loop stays free.

All moments here are on the steady clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

import structlog

from tornflow.errors import StorageError
from tornflow.model.execution import ScopeKey
from tornflow.runtime.clock import Clock
from tornflow.runtime.tasks import Tasks
from tornflow.spi.storage import DueScope, Storage

_log = structlog.get_logger("tornflow.timers")

_SLICE = 200
_PAGE = 5000
_TICK_S = 1.0
_STEP_MS = 500  # a wall clock that has moved so far against the steady one was set
_POLL_MS = 10_000  # where nodes share the store; two polls fall into what the setting node keeps itself
_LATE_MS = 3_000  # overdue by so much: whoever kept it is gone


class Timers:
    """Calls ``fire(key)`` at or shortly after each moment. A spare call is harmless: the engine looks at the time.
    ``falls_to_us`` says whether this node looks after a scope."""

    def __init__(
        self,
        storage: Storage,
        fire: Callable[[ScopeKey], None],
        clock: Clock,
        *,
        horizon_ms: int,
        falls_to_us: Callable[[ScopeKey], bool],
    ) -> None:
        self._storage = storage
        self._fire = fire
        self._clock = clock
        self._horizon_ms = horizon_ms
        self._falls_to_us = falls_to_us
        self._kept_ms = min(horizon_ms, 3 * _POLL_MS) if storage.is_shared else horizon_ms
        self._poll_s = min(horizon_ms / 2, _POLL_MS if storage.is_shared else horizon_ms) / 1000
        self._heap: list[tuple[int, ScopeKey]] = []
        self._armed: dict[ScopeKey, int] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._next_at: int | None = None
        self._tasks = Tasks()
        self._is_crowded = False
        self._drift = 0

    async def start(self) -> None:
        self._drift = self._clock.drift_ms()
        await self._poll()
        self._tasks.keep_running("timers: poll", self._keep_polling)
        self._tasks.keep_running("timers: tick", self._keep_ticking)

    def arm(self, key: ScopeKey, due_at: int | None) -> None:
        """Note the earliest moment of a scope that was just stored; replaces what was noted before."""
        if due_at is not None and due_at > self._clock.steady_ms() + self._kept_ms:
            due_at = None
        self._note(key, due_at)

    async def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        await self._tasks.close()

    @property
    def armed(self) -> int:
        return len(self._armed)

    def _note(self, key: ScopeKey, due_at: int | None) -> None:
        if due_at == self._armed.get(key):
            return
        if due_at is None:
            self._armed.pop(key, None)
            return
        self._armed[key] = due_at
        heappush(self._heap, (due_at, key))
        if self._next_at is None or due_at < self._next_at:
            self._schedule()

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._next_at = self._heap[0][0] if self._heap else None
        if self._next_at is not None:
            delay_s = max(0, self._next_at - self._clock.steady_ms()) / 1000
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._fire_due)

    def _fire_due(self) -> None:
        now = self._clock.steady_ms()
        for _ in range(_SLICE):
            if not self._heap or self._heap[0][0] > now:
                break
            due_at, key = heappop(self._heap)
            if self._armed.get(key) == due_at:
                del self._armed[key]
                self._fire(key)
        self._schedule()

    async def _keep_ticking(self) -> None:
        """The loop's timers sleep with the machine, and know nothing of a wall clock that is set."""
        while True:
            await asyncio.sleep(_TICK_S)
            drift = self._clock.drift_ms()
            if abs(drift - self._drift) > _STEP_MS:
                _log.warning("the clock was set", by_ms=self._drift - drift)
                self._drift = drift
                await self._look_again()
            if self._heap and self._heap[0][0] <= self._clock.steady_ms():
                self._schedule()

    async def _look_again(self) -> None:
        """Moments of the wall clock come earlier or later now: each scope says anew what it waits for."""
        keys = list(self._armed)
        self._armed.clear()
        self._heap.clear()
        self._schedule()
        for start in range(0, len(keys), _SLICE):
            for key in keys[start : start + _SLICE]:
                self._fire(key)
            await asyncio.sleep(0)
        await self._poll()

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(1 if self._is_crowded else self._poll_s)
            await self._poll()

    async def _poll(self) -> None:
        wall, steady = self._clock.wall_ms(), self._clock.steady_ms()
        try:
            page = await self._storage.due(max(wall, steady) + self._horizon_ms, _PAGE)
        except StorageError as error:
            _log.warning("cannot read due timers", reason=str(error))
            return
        self._is_crowded = len(page) == _PAGE
        ahead = max(0, wall - steady)  # the store does not say which clock a moment is on: the earlier one counts
        for due in page:
            if due.key not in self._armed and self._is_ours(due, steady):
                self._note(due.key, due.due_at - ahead)

    def _is_ours(self, due: DueScope, now: int) -> bool:
        if not self._storage.is_shared:
            return True
        is_kept_elsewhere = -_LATE_MS < due.due_at - now < _POLL_MS
        return self._falls_to_us(due.key) and not is_kept_elsewhere
