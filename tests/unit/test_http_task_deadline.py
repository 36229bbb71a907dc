"""One timer for the time limits of many calls: what is late is ended, and nothing else."""

from __future__ import annotations

import asyncio
import time

import pytest

from tornflow_task_http.deadline import Deadline


async def test_what_takes_too_long_ends_with_a_timeout_error() -> None:
    deadline = Deadline(0.02)
    with pytest.raises(TimeoutError):
        with deadline():
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    await asyncio.sleep(0)  # the task is not cancelled a second time


async def test_what_ends_in_time_is_left_alone_and_what_began_later_has_its_own_time() -> None:
    deadline = Deadline(0.1)
    loop = asyncio.get_running_loop()
    ended: dict[int, float] = {}

    async def late(number: int, begins: float) -> None:
        await asyncio.sleep(begins)
        began = loop.time()
        with pytest.raises(TimeoutError):
            with deadline():
                await asyncio.Event().wait()
        ended[number] = loop.time() - began

    async def quick() -> str:
        with deadline():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.15)  # its limit is long past by now
        return "done"

    found, *_ = await asyncio.wait_for(asyncio.gather(quick(), late(1, 0), late(2, 0.05), late(3, 0.2)), 5)
    assert found == "done"
    assert list(ended) == [1, 2, 3]
    assert all(took >= 0.1 for took in ended.values())


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    deadline = Deadline(5)
    inside = asyncio.Event()

    async def waits() -> None:
        with deadline():
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_moment_wins_over_the_timeout() -> None:
    deadline = Deadline(0.02)
    loop = asyncio.get_running_loop()

    async def waits() -> None:
        with deadline():
            loop.call_later(0.03, task.cancel)
            loop.call_soon(_block, 0.05)  # both are due before the loop looks again
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(task), 5)


async def test_an_error_of_the_call_is_not_hidden_by_a_limit_that_has_just_passed() -> None:
    deadline = Deadline(0.02)
    with pytest.raises(LookupError):
        with deadline():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise LookupError from None
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


def _block(seconds: float) -> None:
    time.sleep(seconds)
