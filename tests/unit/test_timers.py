"""Many moments, one loop timer; the store knows them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.runtime.clock import SystemClock
from tornflow.runtime.timers import Timers
from tornflow.testing.storage_support import creation
from tornflow_store_memory import open_storage


class SetClock(SystemClock):
    """A machine whose wall clock can be set."""

    set_by_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.set_by_ms

    def drift_ms(self) -> int:
        return super().drift_ms() - self.set_by_ms


CLOCK = SetClock()


def now() -> int:
    return CLOCK.steady_ms()


def ours(_: ScopeKey) -> bool:
    return True


@asynccontextmanager
async def timers(
    fired: list[ScopeKey],
    horizon_ms: int = 60_000,
    *,
    is_shared: bool = False,
    falls_to_us: Callable[[ScopeKey], bool] = ours,
    clock: SetClock = CLOCK,
    due: tuple[tuple[str, int], ...] = (),
) -> AsyncIterator[Timers]:
    """``due``: what is stored before, by execution id."""
    storage: Any = open_storage("memory://", {})
    storage.is_shared = is_shared
    await storage.open()
    for name, due_at in due:
        await storage.commit(creation(name, due_at=due_at))
    made = Timers(storage, fired.append, clock, horizon_ms=horizon_ms, falls_to_us=falls_to_us)
    yield made
    await made.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_thousand_due_at_once_fire_in_slices_with_room_between() -> None:
    fired: list[ScopeKey] = []
    async with timers(fired) as made:
        for number in range(1000):
            made.arm(ScopeKey(str(number)), now() - 1)
        seen = set()
        async with asyncio.timeout(5):
            while len(fired) < 1000:
                await asyncio.sleep(0)
                seen.add(len(fired))
        assert len(seen) >= 5 and made.armed == 0
        assert len(set(fired)) == 1000


async def test_the_last_word_about_a_scope_counts() -> None:
    fired: list[ScopeKey] = []
    async with timers(fired) as made:
        key, other, last = ScopeKey("moved"), ScopeKey("dropped"), ScopeKey("last")
        made.arm(key, now() + 5)
        made.arm(other, now() + 5)
        made.arm(key, now() + 50_000)
        made.arm(other, None)
        made.arm(last, now() + 10)
        await until(lambda: bool(fired))
        assert fired == [last] and made.armed == 1


async def test_what_is_beyond_the_horizon_is_not_held() -> None:
    async with timers([], horizon_ms=1000) as made:
        made.arm(ScopeKey("far"), now() + 5000)
        assert made.armed == 0
        made.arm(ScopeKey("near"), now() + 500)
        assert made.armed == 1


async def test_what_the_store_knows_is_found_at_start() -> None:
    fired: list[ScopeKey] = []
    due = (("late", now() - 100_000), ("soon", now() + 50_000), ("far", now() + 5_000_000))
    async with timers(fired, due=due) as made:
        await made.start()
        await until(lambda: bool(fired))
        assert fired == [ScopeKey("late")]
        assert made.armed == 1


async def test_of_a_shared_store_only_what_falls_to_us_is_taken_up() -> None:
    fired: list[ScopeKey] = []
    due = (("mine", now() - 100_000), ("theirs", now() - 100_000))
    async with timers(fired, is_shared=True, falls_to_us=lambda key: key.execution_id == "mine", due=due) as made:
        await made.start()
        await until(lambda: bool(fired))
        await asyncio.sleep(0)
        assert (fired, made.armed) == ([ScopeKey("mine")], 0)


async def test_a_near_moment_of_a_shared_store_is_left_to_the_node_that_set_it_until_it_is_overdue() -> None:
    fired: list[ScopeKey] = []
    due = (("set elsewhere", now() + 4_000), ("just due", now() - 1_000), ("further", now() + 40_000))
    async with timers(fired, is_shared=True, due=due) as made:
        await made.start()
        assert made.armed == 1
        made.arm(ScopeKey("our own"), now() + 20_000)
        assert made.armed == 2
        made.arm(ScopeKey("our own, far"), now() + 45_000)
        assert made.armed == 2, "the poll finds it in time, wherever it falls to"


async def test_a_wall_clock_that_was_set_back_delays_no_duration_and_hastens_none() -> None:
    fired: list[ScopeKey] = []
    clock = SetClock()
    due = (("in half a minute", clock.steady_ms() + 30_000), ("overdue", clock.steady_ms() - 30_000))
    async with timers(fired, clock=clock, due=due) as made:
        clock.set_by_ms = -3_600_000
        await made.start()
        await until(lambda: bool(fired))
        assert (fired, made.armed) == ([ScopeKey("overdue")], 1)


async def test_a_wall_clock_that_was_set_forward_makes_moments_of_the_store_fire_early_and_none_late() -> None:
    """The store does not say on which clock a moment is. A spare call is harmless: the engine looks at the time."""
    fired: list[ScopeKey] = []
    clock = SetClock()
    due = (("in half an hour", clock.steady_ms() + 1_800_000), ("in two hours", clock.steady_ms() + 7_200_000))
    async with timers(fired, clock=clock, due=due) as made:
        clock.set_by_ms = 3_600_000
        await made.start()
        await until(lambda: bool(fired))
        assert (fired, made.armed) == ([ScopeKey("in half an hour")], 0)


async def test_after_the_wall_clock_was_set_each_scope_is_asked_anew() -> None:
    fired: list[ScopeKey] = []
    clock = SetClock()
    async with timers(fired, clock=clock) as made:
        await made.start()
        made.arm(ScopeKey("waits"), now() + 50_000)
        clock.set_by_ms = 3_600_000
        await until(lambda: bool(fired))
        assert fired == [ScopeKey("waits")]


async def test_a_store_that_is_away_does_not_end_the_polling() -> None:
    fired: list[ScopeKey] = []
    async with timers(fired, horizon_ms=100, due=(("late", now() - 1),)) as made:
        storage: Any = made._storage
        real, asked = storage.due, 0

        async def due(before: int, limit: int) -> Any:
            nonlocal asked
            asked += 1
            if asked < 3:
                raise StorageUnavailable("away")
            if asked == 3:
                raise RuntimeError("a bug")
            return await real(before, limit)

        storage.due = due
        await made.start()
        await until(lambda: bool(fired))
        assert asked >= 4
