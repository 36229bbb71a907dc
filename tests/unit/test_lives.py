"""Uses of one execution id are told apart: nothing of an earlier life reaches a later one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.engines import CHILD, PARENT, TWO, TWO_CALLBACKS, echo, ends, engine_with, nodes, waits_for
from tests.unit.test_runner import LOOP, Watched, Work, ended, until
from tornflow.engine.tokens import attempt_token
from tornflow.errors import AttemptOver, ExecutionExists, IdempotencyKeyReused
from tornflow.spi.storage import ExecutionQuery, ScopeWrite
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome
from tornflow_store_memory import open_storage

ONE = """
workspace: demo
dagName: one
type: flow
tasks:
  - {category: function, name: a, pattern: task_sync, resourceName: 'test://a',
     outputMappings: [{source: $.output.v, target: $.context.v}]}
"""
RETRIED = """
workspace: demo
dagName: retried
type: flow
tasks:
  - {category: function, name: a, pattern: task_async, resourceName: 'test://a',
     retry: {maxRetryTimes: 1, intervalInSeconds: 0}, outputMappings: [{source: $.output.v, target: $.context.v}]}
"""


async def start(engine: Any, flow: str, instance_id: str, raw_input: str = "{}") -> None:
    await engine.service.start_workflow(flow, instance_id=instance_id, raw_input=raw_input, component="dapr")


async def test_a_second_life_starts_its_sub_flow_anew() -> None:
    async with engine_with([PARENT, CHILD], Work(echo)) as (engine, store):
        for number in (1, 2):
            await start(engine, "demo:parent", "order-7", f'{{"n": {number}}}')
            state = await ended(engine, "order-7")
            assert (state.status, state.context["result"]) == ("SUCCEED", number)
        assert len(await store.executions(ExecutionQuery(parent_id="order-7"))) == 2


async def test_attempts_of_two_lives_never_share_an_idempotency_key() -> None:
    async with engine_with([TWO], work := Work()) as (engine, _):
        for _ in range(2):
            await start(engine, "demo:two", "order-7")
            await ended(engine, "order-7")
    keys = [one.idempotency_key for one in work.attempts]
    lives = {one.life for one in work.attempts}
    assert len(set(keys)) == 4 and len(lives) == 2
    assert all(key == f"order-7/{one.task_name}/{one.life}.1" for key, one in zip(keys, work.attempts, strict=True))


async def test_groups_of_a_stopped_life_that_are_stored_late_do_not_touch_the_next() -> None:
    async def answer(attempt: Attempt) -> Outcome:
        return Answered({"v": attempt.input["x"]})

    mapped = "resourceName: test://work\n        inputMappings: [{source: $.context.x, target: $.input.x}]"
    store = Watched(open_storage("memory://", {}))
    async with engine_with([LOOP.replace("resourceName: test://work", mapped)], Work(answer), store) as (engine, _):
        hold, held = asyncio.Event(), 0
        real = store.inner.commit

        async def commit(write: ScopeWrite) -> int:
            nonlocal held
            if write.key.path and not hold.is_set():
                held += 1
                await hold.wait()
            return await real(write)

        store.inner.commit = commit  # type: ignore[method-assign]
        await start(engine, "demo:loop", "i", '{"items": ["old1", "old2", "old3"]}')
        await until(lambda: held == 3)
        await engine.service.terminate("i")
        await start(engine, "demo:loop", "i", '{"items": ["new1", "new2", "new3"]}')
        await until(lambda: held == 6)
        hold.set()
        state = await ended(engine, "i")
        assert (state.status, state.context["done"]) == ("SUCCEED", ["new1", "new2", "new3"])


async def test_an_answer_for_an_earlier_life_is_dropped_wherever_it_comes_in() -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def old(_: Attempt) -> Outcome:
        await first.wait()
        return Answered({"v": "old"})

    async def new(_: Attempt) -> Outcome:
        await second.wait()
        return Answered({"v": "new"})

    works = [Work(old), Work(new)]
    async with nodes(2, [ONE], works) as ((one, two), _):
        await start(one, "demo:one", "i")
        await until(lambda: len(works[0].attempts) == 1)
        one.dispatcher.abandon = lambda *_: None  # type: ignore[method-assign]  # the node does not hear of it in time
        await two.service.terminate("i")
        await start(two, "demo:one", "i")
        await until(lambda: len(works[1].attempts) == 1)
        first.set()
        await one.runner.drain()
        second.set()
        assert (await ends(two, "i")).context["v"] == "new"


async def test_a_callback_of_an_attempt_that_is_over_is_refused_and_changes_nothing() -> None:
    async with engine_with([RETRIED], work := Work()) as (engine, _):
        execution_id = await engine.service.submit("demo:retried", {})
        await waits_for(engine, execution_id, "a")
        tokens = [_token_of(work.attempts[0])]
        await engine.service.finish(execution_id, "a", {}, success=False, token=tokens[0])
        await until(lambda: len(work.attempts) == 2)
        await waits_for(engine, execution_id, "a")
        with pytest.raises(AttemptOver, match="attempt 1 of a is over"):
            await engine.service.finish(execution_id, "a", {"v": "late"}, success=True, token=tokens[0])
        await engine.service.finish(execution_id, "a", {"v": 2}, success=True, token=_token_of(work.attempts[1]))
        assert (await ended(engine, execution_id)).context["v"] == 2


async def test_a_callback_of_an_earlier_life_is_refused_and_one_without_token_means_the_present_attempt() -> None:
    async with engine_with([TWO_CALLBACKS], work := Work()) as (engine, _):
        await start(engine, "demo:callbacks", "i")
        await waits_for(engine, "i", "a")
        await engine.service.terminate("i")
        await start(engine, "demo:callbacks", "i")
        await until(lambda: len(work.attempts) == 2)
        await waits_for(engine, "i", "a")
        old, new = map(_token_of, work.attempts)
        assert old != new
        with pytest.raises(AttemptOver):
            await engine.service.finish("i", "a", {"v": "late"}, success=True, token=old)
        await engine.service.finish("i", "a", {"v": 1}, success=True)
        await waits_for(engine, "i", "b")


async def test_a_callback_of_a_run_before_the_redo_is_refused() -> None:
    async with engine_with([RETRIED], work := Work()) as (engine, _):
        execution_id = await engine.service.submit("demo:retried", {})
        await waits_for(engine, execution_id, "a")
        await engine.service.finish(execution_id, "a", {"v": 1}, success=True)
        await ended(engine, execution_id)
        await engine.service.redo(execution_id, ["a"], {})
        await until(lambda: len(work.attempts) == 2)
        await waits_for(engine, execution_id, "a")
        with pytest.raises(AttemptOver):
            await engine.service.trigger(execution_id, "a", {"v": 9}, success=True, token=_token_of(work.attempts[0]))
        await engine.service.finish(execution_id, "a", {"v": 2}, success=True, token=_token_of(work.attempts[1]))
        assert (await ended(engine, execution_id)).context["v"] == 2


def _token_of(attempt: Attempt) -> str:
    return attempt.callback_url.split("token=")[1].split("&")[0]


async def test_a_life_that_runs_is_not_replaced_and_neither_is_one_whose_sub_flow_runs() -> None:
    hold = asyncio.Event()

    async def held(_: Attempt) -> Outcome:
        await hold.wait()
        return Answered({})

    async with engine_with([PARENT, CHILD, TWO_CALLBACKS], work := Work(held)) as (engine, store):
        await start(engine, "demo:callbacks", "running")
        with pytest.raises(ExecutionExists) as caught:
            await start(engine, "demo:callbacks", "running")
        assert "reason" not in caught.value.details
        await start(engine, "demo:parent", "i")
        await until(lambda: any(one.task_name == "work" for one in work.attempts))
        store.gate = asyncio.Event()  # nothing is stored for a while, but for the termination
        ending = asyncio.create_task(engine.service.terminate("i"))
        engine.outbox_relay.deliver = lambda *_: None  # type: ignore[method-assign]
        store.gate.set()
        await ending
        with pytest.raises(ExecutionExists) as caught:
            await start(engine, "demo:parent", "i")
        assert caught.value.details["reason"] == "children"


async def test_a_clients_key_has_a_name_space_of_its_own() -> None:
    async with engine_with([PARENT, CHILD, TWO], Work(echo)) as (engine, store):
        await start(engine, "demo:parent", "first", '{"n": 4}')
        await ended(engine, "first")
        (child,) = await store.executions(ExecutionQuery(parent_id="first"))
        (taken,) = [key for key in store.inner._keys if store.inner._keys[key] == child.execution_id]
        foreign = await engine.service.submit("demo:two", {}, idempotency_key=taken)
        assert foreign != child.execution_id
        await engine.service.submit("demo:two", {}, idempotency_key="second/sub/1")
        await start(engine, "demo:parent", "second", '{"n": 5}')
        assert (await ended(engine, "second")).context["result"] == 5


async def test_a_clients_key_of_another_flow_is_refused_and_starts_nothing() -> None:
    async with engine_with([TWO, ONE]) as (engine, store):
        first = await engine.service.submit("demo:two", {}, idempotency_key="k")
        assert await engine.service.submit("demo:two", {}, idempotency_key="k") == first
        with pytest.raises(IdempotencyKeyReused):
            await engine.service.submit("demo:one", {}, idempotency_key="k")
        assert len(await store.executions(ExecutionQuery())) == 1


async def test_a_redo_keeps_the_life_and_its_attempts_have_new_keys() -> None:
    async def fail(_: Attempt) -> Outcome:
        return Failed("no")

    async with engine_with([ONE], work := Work(fail)) as (engine, _):
        execution_id = await engine.service.submit("demo:one", {})
        life = (await ended(engine, execution_id)).life
        await engine.service.redo(execution_id, [], {})
        await until(lambda: len(work.attempts) == 2)
        assert (await ended(engine, execution_id)).life == life
    assert len({one.idempotency_key for one in work.attempts}) == 2


# --- tokens


def test_the_token_of_an_attempt_is_no_other_attempts() -> None:
    tokens = {
        attempt_token(generation, number)
        for number in (1, 2, 11)
        for generation in (("a",), ("b",), ("a", 1), ("a", 2), ("a", 1, 1), ("a", 11), ("a1",))
    }
    assert len(tokens) == 21
    assert attempt_token(("a", 1), 2) == attempt_token(("a", 1), 2)
    assert all(len(token) < 30 and token.replace(".", "").isalnum() for token in tokens)
