"""The shell around groups, sub-flows, callbacks and other nodes, on a real loop and a real store."""

from __future__ import annotations

import asyncio
import time

from tests.unit.test_runner import LOOP, Watched, Work, ended, key_of, running, until
from tornflow.errors import StorageUnavailable
from tornflow.spi.task_type import Answered, Attempt, Outcome
from tornflow_store_memory import open_storage as open_memory


async def test_groups_are_started_although_the_store_was_away_and_run_once() -> None:
    async with running(work := Work(), flows=[LOOP]) as (engine, store):
        store.gate = asyncio.Event()
        submitting = asyncio.create_task(engine.service.submit("demo:loop", {"items": list(range(5))}))
        await until(lambda: store.tried == 1)
        store.gate.set()
        store.gate = None
        execution_id = await submitting
        store.error = StorageUnavailable("away")
        tried = store.tried
        await until(lambda: store.tried >= tried + 5)
        store.error = None
        state = await ended(engine, execution_id)
        assert (state.status, state.context["done"]) == ("SUCCEED", [1] * 5)
        assert len(work.attempts) == 5


async def test_a_terminated_loop_leaves_no_group_running() -> None:
    async def never(_: Attempt) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with running(Work(never), flows=[LOOP]) as (engine, store):
        execution_id = await engine.service.submit("demo:loop", {"items": list(range(100))})
        await engine.service.terminate(execution_id)

        async def statuses() -> set[str]:
            keys = await store.children(execution_id, "", "", 1000)
            found = [await engine.runner.view(key) for key in keys]
            return {scope.state.status.value for scope in found if scope is not None}

        end = time.monotonic() + 10
        while await statuses() != {"TERMINATED"} or engine.dispatcher.in_flight or await store.owners():
            assert time.monotonic() < end, await statuses()
            await asyncio.sleep(0.005)


async def test_a_node_takes_over_what_a_dead_one_had_in_hand() -> None:
    """Two engines over one store; the first one vanishes in the middle of a loop."""
    inner = open_memory("memory://", {})
    await inner.open()
    inner.is_shared = True

    async def never(_: Attempt) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    first, second = Work(never), Work()
    settings = {"node_heartbeat_s": 0.02, "node_timeout_s": 0.1}
    async with running(first, Watched(inner), flows=[LOOP], **settings) as (dying, store):
        execution_id = await dying.service.submit("demo:loop", {"items": list(range(5))})
        await until(lambda: len(first.attempts) == 5)
        await dying.cluster.stop()
        store.error = StorageUnavailable("this node is dead")
        other = Watched(inner)
        async with running(second, other, flows=[LOOP], **settings) as (engine, _):
            state = await ended(engine, execution_id)
            assert (state.status, state.context["done"]) == ("SUCCEED", [1] * 5)
        assert {one.idempotency_key for one in first.attempts} == {one.idempotency_key for one in second.attempts}
        await inner.open()
        store.error = None


# --- sub-flows and callbacks


async def test_starting_a_sub_flow_twice_for_one_attempt_gives_one_child() -> None:
    async with running(work := Work()) as (engine, _store):
        execution_id = await engine.service.submit("demo:async", {})
        await until(lambda: len(work.attempts) == 1)
        starts = (engine.service.start_child(work.attempts[0], "demo:sync", {}) for _ in range(5))
        assert len(set(await asyncio.gather(*starts))) == 1
        assert execution_id not in {one.execution_id for one in work.attempts[1:]}


async def test_a_callback_is_sent_once_and_again_only_after_a_crash() -> None:
    asked, release = 0, asyncio.Event()

    async def held(attempt: Attempt) -> Outcome:
        nonlocal asked
        if attempt.task_name:
            return Answered({"v": 1})
        asked += 1
        if asked == 1:
            await release.wait()
        return Answered({})

    inner = open_memory("memory://", {})
    async with running(Work(held), Watched(inner)) as (engine, store):
        callback = '{"resourceName": "test://told"}'
        execution_id = await engine.service.submit("demo:sync", {}, callback=callback)
        await until(lambda: asked == 1)
        assert list(await store.owners()) == [engine.node_id]
        await engine.outbox_relay.close()  # the process dies with the callback under way
    async with running(Work(held), Watched(inner)) as (engine, store):
        await until(lambda: asked == 2)
        await engine.runner.drain()
        stored = await engine.runner.stored(key_of(execution_id))
        assert stored is not None and stored[0].status == "SUCCEED"
