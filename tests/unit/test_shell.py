"""What the shell must never do: lose a slot, swallow a command, leave a task behind, poll, or block the loop."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

import pytest

from tests.unit.engines import TWO, add, ends, engine_with, made
from tests.unit.test_runner import LOOP, Watched, Work, ended, key_of, running, until
from tornflow.engine.commands import DispatchTask
from tornflow.errors import StorageUnavailable
from tornflow.runtime import offload
from tornflow.runtime.dispatcher import DispatchSettings
from tornflow.spi.storage import ScopeWrite
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome
from tornflow_store_memory import open_storage


async def terminated_with_its_answer(engine: Any, store: Watched, work: Work) -> None:
    """Let one step hold the answer of ``a``, which dispatches ``b``, and the termination, which abandons it."""
    answered, before = asyncio.Event(), len(work.attempts)

    async def answer(attempt: Attempt) -> Outcome:
        if attempt.task_name == "a":
            await answered.wait()
            return Answered({})
        await asyncio.Event().wait()
        raise AssertionError

    work.answer = answer
    execution_id = await engine.service.submit("demo:two", {})
    await until(lambda: len(work.attempts) > before)
    store.gate, tried = asyncio.Event(), store.tried
    raised = asyncio.create_task(engine.service.raise_event(execution_id, "n", 1))
    await until(lambda: store.tried > tried)
    box = engine.runner._boxes.get(key_of(execution_id))
    answered.set()
    await until(lambda: len(box.queue) == 2)
    stopping = asyncio.create_task(engine.service.terminate(execution_id))
    await until(lambda: len(box.queue) == 3)
    gate, store.gate = store.gate, None
    gate.set()
    await asyncio.gather(raised, stopping)
    assert (await ended(engine, execution_id)).status == "TERMINATED"


async def test_an_attempt_that_is_begun_and_abandoned_by_one_step_gives_its_slot_back() -> None:
    async with engine_with([TWO], work := Work(), dispatch=DispatchSettings("http://x", max_in_flight=3)) as (
        engine,
        store,
    ):
        for _ in range(4):
            await terminated_with_its_answer(engine, store, work)
        await until(lambda: engine.dispatcher.in_flight == 0)
        assert engine.dispatcher.waiting == 0
        work.answer = None
        state = await ended(engine, await engine.service.submit("demo:two", {}))
        assert state.status == "SUCCEED"


async def test_slots_come_back_whenever_a_flow_is_terminated() -> None:
    async with engine_with([TWO], Work(), dispatch=DispatchSettings("http://x", max_in_flight=2)) as (engine, _):
        ids = []
        for turns in range(80):
            ids.append(await engine.service.submit("demo:two", {}))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            await engine.service.terminate(ids[-1])
        for execution_id in ids:
            await ended(engine, execution_id)
        await until(lambda: engine.dispatcher.in_flight == 0 and engine.dispatcher.waiting == 0)
        assert (await ended(engine, await engine.service.submit("demo:two", {}))).status == "SUCCEED"


async def test_a_redo_that_could_not_be_stored_does_not_swallow_the_gathering() -> None:
    hold, redoing = asyncio.Event(), list[asyncio.Task[None]]()

    async def answer(_: Attempt) -> Outcome:
        await hold.wait()
        return Answered({"v": 1})

    async with running(Work(answer), flows=[LOOP]) as (engine, store):
        execution_id = await engine.service.submit("demo:loop", {"items": [1]})
        await until(lambda: engine.dispatcher.in_flight == 1)
        await until(lambda: not engine.runner.queued)
        real, failed = store.inner.commit, False

        async def commit(write: ScopeWrite) -> int:
            nonlocal failed
            if not write.key.path and not redoing:  # the group's report, which asks for the gathering
                redoing.append(asyncio.create_task(engine.service.redo(execution_id, ["each"], {})))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            elif not write.key.path and not failed:
                failed = True
                raise StorageUnavailable("away")
            return int(await real(write))

        store.inner.commit = commit
        hold.set()
        assert (await ended(engine, execution_id)).status == "SUCCEED"
        assert failed
        await asyncio.gather(*redoing, return_exceptions=True)


@pytest.mark.parametrize("turns", [0, 1, 5, 50, 500])
async def test_closing_under_load_leaves_no_task_behind(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    loop_errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))

    async def answer(_: Attempt) -> Outcome:
        await asyncio.sleep(0.001)
        return Answered({"v": 1})

    before = asyncio.all_tasks()
    engine = made(Watched(open_storage("memory://", {})), Work(answer))
    await engine.start()
    await add(engine, [LOOP])
    for _ in range(10):
        await engine.service.submit("demo:loop", {"items": list(range(20))}, callback='{"resourceName": "test://told"}')
    for _ in range(turns):
        await asyncio.sleep(0)
    await engine.close(0.02)
    assert asyncio.all_tasks() - before == set()
    gc.collect()
    assert (unraisable, loop_errors) == ([], [])


async def test_loops_that_wait_for_room_do_nothing_meanwhile() -> None:
    async def never(_: Attempt) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with running(Work(never), flows=[LOOP], dispatch=DispatchSettings("http://x", max_in_flight=8)) as (
        engine,
        store,
    ):
        for _ in range(10):
            await engine.service.submit("demo:loop", {"items": list(range(200))})
        await until(lambda: len(store.commits) == 10 + 10 * 64)  # the first batch of each
        await asyncio.sleep(0.05)
        steps, commits, asked = engine.runner.events, len(store.commits), 0
        real = engine.dispatcher.room

        async def room(flow: str) -> None:
            nonlocal asked
            asked += 1
            await real(flow)

        engine.dispatcher.room = room  # type: ignore[method-assign]
        await asyncio.sleep(0.3)  # whoever polls asks in this time
        assert (engine.runner.events, len(store.commits), asked) == (steps, commits, 0)


async def test_texts_with_long_scripts_are_compiled_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: what is long goes through ``run_long`` with its size, and that leaves the loop."""
    script = "1+" * 4000 + "1"
    text = json.dumps({
        "workspace": "demo", "dagName": "big", "type": "flow", "tasks": [
            {"category": "pass", "name": "p",
             "inputMappings": [{"source": "1", "target": "$.input.x", "transform": script}]}],
    })  # fmt: skip
    threads, real = 0, asyncio.to_thread

    async def counted(*arguments: Any, **keywords: Any) -> Any:
        nonlocal threads
        threads += 1
        return await real(*arguments, **keywords)

    monkeypatch.setattr(offload.asyncio, "to_thread", counted)
    async with engine_with([]) as (engine, _):
        await engine.catalog.add(text, business="demo", feature="big", alias="release")
        assert threads >= 1


async def test_retries_do_not_make_the_head_grow_without_bound() -> None:
    flow = """
workspace: demo
dagName: retry
type: flow
tasks:
  - {category: function, name: a, pattern: task_sync, resourceName: 'test://a',
     retry: {maxRetryTimes: 2000, intervalInSeconds: 0}}
"""

    async def no(_: Attempt) -> Outcome:
        return Failed("no")

    async with running(Work(no), flows=[flow]) as (engine, store):
        execution_id = await engine.service.submit("demo:retry", {})
        state = await ends(engine, execution_id)
        assert state.tasks["a"].attempt == 2001
        sizes = [len(one.head) + sum(len(body or b"") for body in one.parts.values()) for one in store.commits]
        assert sizes[-1] < sizes[200] + 8192, (sizes[200], sizes[-1])


async def test_observers_hear_of_every_change_of_a_task_with_reason_and_code() -> None:
    heard: list[Any] = []

    async def answer(attempt: Attempt) -> Outcome:
        return Failed("no film", "17") if attempt.task_name == "b" else Answered({})

    store = Watched(open_storage("memory://", {}))
    engine = made(store, Work(answer), observers=(("o", heard.append),))
    await engine.start()
    try:
        await add(engine, [TWO])
        execution_id = await engine.service.submit("demo:two", {})
        await ended(engine, execution_id)
        await until(lambda: len(heard) >= 4)
    finally:
        await engine.close()
    told = [(one.task_name, one.status) for one in heard]
    assert [status for name, status in told if name == "a"][-2:] == ["RUNNING", "SUCCEED"]
    assert [status for name, status in told if name == "b"][-2:] == ["RUNNING", "FAILED"]
    assert (heard[-1].msg, heard[-1].code) == ("no film", "17")


async def test_a_command_that_breaks_does_not_take_the_server_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step is stored, and its work is marked as in hand: a restart takes it up."""
    inner = open_storage("memory://", {})
    async with engine_with([TWO], Work(), Watched(inner)) as (engine, store):
        real = engine.dispatcher.dispatch

        def breaks(scope: Any, command: DispatchTask) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(engine.dispatcher, "dispatch", breaks)
        execution_id = await engine.service.submit("demo:two", {})
        monkeypatch.setattr(engine.dispatcher, "dispatch", real)
        assert list(await store.owners()) == [engine.node_id]
        assert (await ended(engine, await engine.service.submit("demo:two", {}))).status == "SUCCEED"
    async with engine_with([], Work(), Watched(inner)) as (engine, _):
        assert (await ended(engine, execution_id)).status == "SUCCEED"
