"""Removing what has expired: only what was judged, in few transactions, whatever breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.engines import CHILD, PARENT, TWO, engine_with, eventually
from tests.unit.test_runner import Watched, Work, ended, key_of, until
from tornflow.engine.events import Recovered
from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ExecutionQuery
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome
from tornflow_store_memory import open_storage

PASS = """
workspace: demo
dagName: pass
type: flow
tasks:
  - {category: pass, name: p}
"""
AT_ONCE: dict[str, Any] = {"finished_retention_s": -1, "failed_retention_s": -1, "retention_pause_s": 1000}


class Looked(Watched):
    """Lets something happen between the look for what has expired and its removal."""

    between: Any = None
    batches = 0

    async def expired(self, before: int, limit: int) -> Any:
        found = await self.inner.expired(before, limit)
        if found and self.between is not None:
            between, self.between = self.between, None
            await between()
        return found

    async def delete_executions(self, targets: Any) -> Any:
        self.batches += 1
        return await self.inner.delete_executions(targets)


def looked() -> Looked:
    return Looked(open_storage("memory://", {}))


async def test_what_has_expired_goes_and_what_has_not_stays() -> None:
    async with engine_with([PASS, TWO], Work(), looked(), **AT_ONCE) as (engine, store):
        gone = [await engine.service.submit("demo:pass", {}) for _ in range(3)]
        assert await engine.retention.sweep() == 3
        assert [await engine.service.snapshot(one) for one in gone] == [None] * 3
        assert engine.retention.removed == 3
        engine.commits._settings = type(engine.commits._settings)()  # kept for a day from now on
        kept = await engine.service.submit("demo:pass", {})
        assert await engine.retention.sweep() == 0
        assert await engine.service.snapshot(kept) is not None


async def test_failed_executions_have_a_time_of_their_own() -> None:
    async def fail(_: Attempt) -> Outcome:
        return Failed("no")

    settings = {**AT_ONCE, "failed_retention_s": 1000}
    async with engine_with([PASS, TWO], Work(fail), looked(), **settings) as (engine, _):
        good, bad = await engine.service.submit("demo:pass", {}), await engine.service.submit("demo:two", {})
        await ended(engine, bad)
        assert await engine.retention.sweep() == 1
        assert await engine.service.snapshot(good) is None
        assert await engine.service.snapshot(bad) is not None


async def test_one_that_is_redone_after_it_was_judged_stays() -> None:
    hold, has_failed = asyncio.Event(), False

    async def answer(_: Attempt) -> Outcome:
        nonlocal has_failed
        if not has_failed:
            has_failed = True
            return Failed("no")
        await hold.wait()
        return Answered({})

    async with engine_with([TWO], Work(answer), looked(), **AT_ONCE) as (engine, store):
        execution_id = await engine.service.submit("demo:two", {})
        assert (await ended(engine, execution_id)).status == "FAILED"
        store.between = lambda: engine.service.redo(execution_id, [], {})
        assert await engine.retention.sweep() == 0
        hold.set()
        assert (await ended(engine, execution_id)).status == "SUCCEED"


async def test_one_that_is_started_again_after_it_was_judged_stays() -> None:
    hold = asyncio.Event()

    async def answer(_: Attempt) -> Outcome:
        if len(work.attempts) > 2:
            await hold.wait()
        return Answered({})

    async with engine_with([TWO], work := Work(answer), looked(), **AT_ONCE) as (engine, store):

        async def start() -> None:
            await engine.service.start_workflow("demo:two", instance_id="daily", raw_input="{}", component="dapr")

        await start()
        await ended(engine, "daily")
        store.between = start
        assert await engine.retention.sweep() == 0
        hold.set()
        assert (await ended(engine, "daily")).status == "SUCCEED"


async def test_a_redo_that_ends_within_its_first_step_counts_anew() -> None:
    async with engine_with([PASS]) as (engine, store):
        execution_id = await engine.service.submit("demo:pass", {})
        first = await store.summary(execution_id)
        await asyncio.sleep(0.005)
        await engine.service.redo(execution_id, ["p"], {})
        state = await ended(engine, execution_id)
        second = await store.summary(execution_id)
        assert (second.finished_at, second.expires_at) == (state.finished_at, state.expires_at)
        assert second.expires_at > first.expires_at


async def test_one_whose_sub_flow_lives_stays_until_that_has_ended() -> None:
    hold = asyncio.Event()

    async def held(_: Attempt) -> Outcome:
        await hold.wait()
        return Answered({})

    async with engine_with([PARENT, CHILD], work := Work(held), looked(), **AT_ONCE) as (engine, store):
        execution_id = await engine.service.submit("demo:parent", {})
        await until(lambda: len(work.attempts) == 1)
        store.gate = asyncio.Event()
        stopping = asyncio.create_task(engine.service.terminate(execution_id))
        deliver = engine.outbox_relay.deliver
        engine.outbox_relay.deliver = lambda *_: None  # type: ignore[method-assign]
        store.gate.set()
        await stopping
        assert await engine.retention.sweep() == 0
        (child,) = await store.executions(ExecutionQuery(parent_id=execution_id))
        await engine.service.terminate(child.execution_id)
        assert await engine.retention.sweep() == 0, "both still have something to tell"
        engine.outbox_relay.deliver = deliver  # type: ignore[method-assign]
        for one in (execution_id, child.execution_id):
            await engine.runner.send(ScopeKey(one), Recovered(0, engine.node_id))
        await until(lambda: not store.inner._owned)
        assert await engine.retention.sweep() == 2


async def test_many_are_removed_in_few_batches() -> None:
    async with engine_with([PASS], Work(), looked(), **AT_ONCE) as (engine, store):
        for _ in range(0, 1200, 100):
            await asyncio.gather(*(engine.service.submit("demo:pass", {}) for _ in range(100)))
        assert await engine.retention.sweep() == 1200
        assert store.batches == 3
        assert engine.runner.cached == 0, "what was removed is not kept in memory"


async def test_a_page_that_cannot_be_removed_does_not_turn_without_end() -> None:
    async with engine_with([PASS], Work(), looked(), **AT_ONCE) as (engine, store):
        for _ in range(600):
            await engine.service.submit("demo:pass", {})

        async def in_use(targets: Any) -> Any:
            store.batches += 1
            return [False] * len(targets)

        store.delete_executions = in_use
        async with asyncio.timeout(10):
            assert await engine.retention.sweep() == 0
        assert store.batches == 1


@pytest.mark.parametrize("error", [StorageUnavailable("away"), RuntimeError("a bug")])
async def test_sweeping_goes_on_after_whatever_breaks(error: Exception) -> None:
    store = looked()
    broke = False
    real = store.inner.expired

    async def breaks(before: int, limit: int) -> Any:
        nonlocal broke
        if not broke:
            broke = True
            raise error
        return await real(before, limit)

    store.inner.expired = breaks  # type: ignore[method-assign]
    async with engine_with([PASS], Work(), store, **{**AT_ONCE, "retention_pause_s": 0.01}) as (engine, _):
        execution_id = await engine.service.submit("demo:pass", {})

        async def is_gone() -> bool:
            return await engine.runner.stored(key_of(execution_id)) is None

        await eventually(is_gone)
