"""Many moments, one loop timer."""

from __future__ import annotations

import asyncio
import time

from tornflow.model.execution import ScopeKey
from tornflow.runtime.timers import Timers
from tornflow_store_memory import open_storage


def now() -> int:
    return time.time_ns() // 1_000_000


async def timers(fired: list[ScopeKey], horizon_ms: int = 60_000) -> Timers:
    storage = open_storage("memory://", {})
    await storage.open()
    return Timers(storage, fired.append, now, horizon_ms=horizon_ms)


async def test_a_thousand_due_at_once_fire_in_slices_with_room_between() -> None:
    fired: list[ScopeKey] = []
    made = await timers(fired)
    for number in range(1000):
        made.arm(ScopeKey(str(number)), now() - 1)
    seen = set()
    async with asyncio.timeout(5):
        while len(fired) < 1000:
            await asyncio.sleep(0)
            seen.add(len(fired))
    assert len(seen) >= 5 and made.armed == 0
    assert len(set(fired)) == 1000
    made.stop()


async def test_the_last_word_about_a_scope_counts() -> None:
    fired: list[ScopeKey] = []
    made = await timers(fired)
    key, other, last = ScopeKey("moved"), ScopeKey("dropped"), ScopeKey("last")
    made.arm(key, now() + 5)
    made.arm(other, now() + 5)
    made.arm(key, now() + 50_000)
    made.arm(other, None)
    made.arm(last, now() + 10)
    async with asyncio.timeout(5):
        while not fired:
            await asyncio.sleep(0.001)
    assert fired == [last] and made.armed == 1
    made.stop()


async def test_what_is_beyond_the_horizon_is_not_held() -> None:
    made = await timers([], horizon_ms=1000)
    made.arm(ScopeKey("far"), now() + 5000)
    assert made.armed == 0
    made.arm(ScopeKey("near"), now() + 500)
    assert made.armed == 1
    made.stop()
