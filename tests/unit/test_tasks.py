"""Background work: held, ended at close, never silent when it breaks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
import structlog

from tornflow.runtime import tasks as module
from tornflow.runtime.tasks import Tasks


async def test_work_is_held_while_it_runs_and_let_go_afterwards() -> None:
    tasks, go, done = Tasks(), asyncio.Event(), []

    async def work(number: int) -> None:
        await go.wait()
        done.append(number)

    for number in range(3):
        tasks.start(work, number)
    gc.collect()
    assert len(tasks) == 3
    go.set()
    await tasks.join()
    assert (done, len(tasks)) == ([0, 1, 2], 0)


async def test_close_cancels_everything_and_waits_for_it_and_nothing_starts_later() -> None:
    tasks, ended = Tasks(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # tidying up takes a turn
            tasks.start(late)
            ended.append(1)

    async def late() -> None:
        raise AssertionError("it was closed")

    tasks.start(work)
    tasks.start(work)
    await asyncio.sleep(0)
    await tasks.close()
    assert (ended, len(tasks)) == ([1, 1], 0)
    assert tasks.start(late) is None
    await tasks.close()


async def test_close_ends_what_was_begun_but_never_got_its_turn() -> None:
    tasks = Tasks()

    async def work() -> None:
        await asyncio.Event().wait()

    tasks.start(work)
    await tasks.close()
    assert len(tasks) == 0
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []


async def test_what_breaks_is_logged_with_its_name() -> None:
    tasks = Tasks()

    async def work() -> None:
        raise RuntimeError("boom")

    with structlog.testing.capture_logs() as logs:
        tasks.start(work)
        await tasks.join()
    assert [(one["event"], one["work"].endswith("work")) for one in logs] == [("a task broke", True)]


async def breaks() -> None:
    raise RuntimeError("boom")


async def ends() -> None: ...


@pytest.mark.parametrize("work", [breaks, ends])
async def test_work_that_must_never_end_is_begun_again(
    work: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0)
    tasks, begun, enough = Tasks(), 0, asyncio.Event()

    async def counted() -> None:
        nonlocal begun
        begun += 1
        if begun == 5:
            enough.set()
        await work()

    with structlog.testing.capture_logs() as logs:
        tasks.keep_running("poll", counted)
        async with asyncio.timeout(10):
            await enough.wait()
        await tasks.close()
    assert len(logs) >= 4 and all(one["task"] == "poll" for one in logs)
