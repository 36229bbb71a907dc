"""Sub-flows: one per attempt, never left running when nobody waits for them any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.engines import CHILD, PARENT, TWO, echo, engine_with, eventually
from tests.unit.test_runner import Work, ended, until
from tornflow.engine.scope import Scope
from tornflow.errors import StorageUnavailable
from tornflow.model.messages import StopGroups
from tornflow.spi.storage import ExecutionQuery, ScopeWrite
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome

LOOP = """
workspace: demo
dagName: loop
type: flow
tasks:
  - category: foreach
    name: each
    TIMELINE
    inputMappings: [{source: $.context.items, target: $.input.items}]
    iterationMapping: {collection: $.input.items, item: x}
    tasks:
      - {category: function, name: sub, pattern: flow_sync, resourceName: 'sub://demo:child'}
"""
TIMED = "timeline: {timeoutInSeconds: 1}"


async def held(attempt: Attempt) -> Outcome:
    if attempt.task_name == "work":
        await asyncio.Event().wait()
    return Answered({})


async def statuses(store: Any, parent: str) -> list[str]:
    return [one.status for one in await store.executions(ExecutionQuery(parent_id=parent))]


async def all_become(store: Any, parent: str, status: str, count: int = 1) -> None:
    async def are() -> bool:
        return await statuses(store, parent) == [status] * count

    await eventually(are)


def held_back(store: Any, what: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold creations of executions of a flow until the second event is set; the first says that one has come."""
    seen, go, real = asyncio.Event(), asyncio.Event(), store.inner.commit

    async def commit(write: ScopeWrite) -> int:
        if what in write.key.execution_id and write.expected_revision == 0:
            seen.set()
            await go.wait()
        return int(await real(write))

    store.inner.commit = commit
    return seen, go


async def test_a_sub_flow_that_comes_into_being_while_its_parent_is_terminated_is_stopped() -> None:
    async with engine_with([PARENT, CHILD], Work(held)) as (engine, store):
        seen, go = held_back(store, "child")
        execution_id = await engine.service.submit("demo:parent", {"n": 1})
        await seen.wait()
        await engine.service.terminate(execution_id)
        go.set()

        async def is_settled() -> bool:
            return await statuses(store, execution_id) in ([], ["terminated"]) and not await store.owners()

        await eventually(is_settled)


async def test_a_sub_flow_that_comes_into_being_while_its_group_is_stopped_is_stopped() -> None:
    async with engine_with([LOOP.replace("TIMELINE", TIMED), CHILD], Work(held)) as (engine, store):
        seen, go = held_back(store, "child")
        execution_id = await engine.service.submit("demo:loop", {"items": [1]})
        await seen.wait()
        assert (await ended(engine, execution_id)).status == "FAILED"
        go.set()

        async def is_settled() -> bool:
            return await statuses(store, execution_id) in ([], ["terminated"]) and not await store.owners()

        await eventually(is_settled)


async def test_a_sub_flow_whose_task_has_timed_out_is_stopped_and_both_can_be_purged() -> None:
    timed = PARENT.replace("    inputMappings", f"    {TIMED}\n    inputMappings")
    async with engine_with([timed, CHILD], Work(held)) as (engine, store):
        execution_id = await engine.service.submit("demo:parent", {"n": 1})
        assert (await ended(engine, execution_id)).status == "FAILED"
        await all_become(store, execution_id, "terminated")
        await engine.service.purge(execution_id)
        assert await store.executions(ExecutionQuery()) == []


async def test_a_task_that_times_out_stops_its_sub_flow_before_it_tries_again() -> None:
    retried = PARENT.replace(
        "    inputMappings", f"    {TIMED}\n    retry: {{maxRetryTimes: 1, intervalInSeconds: 0}}\n    inputMappings"
    )
    async with engine_with([retried, CHILD], Work(held)) as (engine, store):
        execution_id = await engine.service.submit("demo:parent", {"n": 1})
        assert (await ended(engine, execution_id)).status == "FAILED"

        async def are_stopped() -> bool:
            found = await statuses(store, execution_id)
            return bool(found) and set(found) == {"terminated"}

        await eventually(are_stopped)


@pytest.mark.parametrize("success", [True, False])
async def test_a_flow_that_is_completed_by_order_stops_its_sub_flow(success: bool) -> None:
    async with engine_with([PARENT, CHILD], work := Work(held)) as (engine, store):
        execution_id = await engine.service.submit("demo:parent", {"n": 1})
        await until(lambda: len(work.attempts) == 1)
        await engine.service.complete(execution_id, success=success)
        await all_become(store, execution_id, "terminated")


async def test_a_sub_flow_stops_with_a_parent_whose_own_time_is_over() -> None:
    timed = PARENT.replace("type: flow", f"type: flow\n{TIMED}")
    async with engine_with([timed, CHILD], Work(held)) as (engine, store):
        execution_id = await engine.service.submit("demo:parent", {"n": 1})
        assert (await ended(engine, execution_id)).status == "FAILED"
        await all_become(store, execution_id, "terminated")


async def test_terminating_at_any_moment_leaves_nothing_running() -> None:
    async with engine_with([PARENT, CHILD], Work(echo)) as (engine, store):
        ids = []
        for turns in range(60):
            ids.append(await engine.service.submit("demo:parent", {"n": 1}))
            for _ in range(turns):
                await asyncio.sleep(0)
            await engine.service.terminate(ids[-1])

        async def is_quiet() -> bool:
            living = await store.executions(ExecutionQuery(statuses=("running", "not_started", "key_succeed")))
            return not living and not await store.owners() and engine.dispatcher.in_flight == 0

        await eventually(is_quiet)


async def test_a_store_that_is_away_for_a_moment_fails_no_flow_that_starts_sub_flows() -> None:
    async with engine_with([LOOP.replace("TIMELINE", TIMED.replace("1", "60")), CHILD], Work(echo)) as (engine, store):
        seen, go = held_back(store, "child")
        execution_id = await engine.service.submit("demo:loop", {"items": [1, 2, 3]})
        await seen.wait()
        store.error = StorageUnavailable("locked")
        tried = store.tried
        go.set()
        await until(lambda: store.tried >= tried + 3)
        store.error = None
        assert (await ended(engine, execution_id)).status == "SUCCEED"
        assert await statuses(store, execution_id) == ["succeed"] * 3


async def test_a_callback_receiver_that_never_answers_does_not_hold_up_messages() -> None:
    async def answer(attempt: Attempt) -> Outcome:
        if not attempt.task_name:
            await asyncio.Event().wait()
        return Answered({"n": attempt.input.get("n")})

    async with engine_with([PARENT, CHILD, TWO], work := Work(answer)) as (engine, _):
        for _ in range(200):
            await engine.service.submit("demo:two", {}, callback='{"resourceName": "test://black-hole"}')
        await until(lambda: any(not one.task_name for one in work.attempts))
        await until(lambda: sum(one.task_name == "b" for one in work.attempts) == 200)
        execution_id = await engine.service.submit("demo:parent", {"n": 5})
        state = await ended(engine, execution_id)
        assert (state.status, state.context["result"]) == ("SUCCEED", 5)


async def test_a_redo_that_could_not_be_stored_does_not_swallow_the_message_to_the_parent() -> None:
    async with engine_with([PARENT, CHILD], Work(echo)) as (engine, store):
        parents_wait = asyncio.Event()
        real = store.inner.commit
        redoing: asyncio.Task[None] | None = None

        async def commit(write: ScopeWrite) -> int:
            nonlocal redoing
            if "child" in write.key.execution_id and b'"status":"SUCCEED"' in write.head and redoing is None:
                redoing = asyncio.create_task(engine.service.redo(write.key.execution_id, ["work"], {}))
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # the redo waits in the mailbox: it is applied right after this commit
                return int(await real(write))
            if redoing is not None and "child" in write.key.execution_id and not parents_wait.is_set():
                parents_wait.set()
                raise StorageUnavailable("away")
            return int(await real(write))

        store.inner.commit = commit
        execution_id = await engine.service.submit("demo:parent", {"n": 5})
        state = await ended(engine, execution_id)
        assert (state.status, state.context["result"]) == ("SUCCEED", 5)
        assert redoing is not None
        await asyncio.gather(redoing, return_exceptions=True)
        assert parents_wait.is_set()


async def test_a_redo_of_a_sub_flow_tells_its_parent_what_it_was_when_it_ended() -> None:
    """The message holds what was true when it was posted."""
    go = asyncio.Event()

    async def answer(attempt: Attempt) -> Outcome:
        return Failed("no") if not go.is_set() else Answered({"n": 9})

    async with engine_with([PARENT, CHILD], Work(answer)) as (engine, store):
        execution_id = await engine.service.submit("demo:parent", {"n": 1})
        state = await ended(engine, execution_id)
        assert (state.status, state.tasks["sub"].msg) == ("FAILED", "no")
        go.set()
        (child,) = await store.executions(ExecutionQuery(parent_id=execution_id))
        await engine.service.redo(child.execution_id, [], {})
        assert (await ended(engine, child.execution_id)).status == "SUCCEED"
        assert (await engine.service.snapshot(execution_id)).state.status == "FAILED"  # type: ignore[union-attr]


async def test_sub_flows_of_groups_that_a_redo_has_replaced_are_stopped() -> None:
    """The order to stop the old groups may come after the new ones, which take their places, are there."""
    loop = LOOP.replace("TIMELINE", "tolerance: false")
    async with engine_with([loop, CHILD], work := Work(held)) as (engine, store):
        execution_id = await engine.service.submit("demo:loop", {"items": [1, 2]})
        await until(lambda: len(work.attempts) == 2)
        deliver = engine.outbox_relay.deliver

        def late(scope: Scope, message_id: str) -> None:
            if not isinstance(scope.state.outbox[message_id].message, StopGroups):
                deliver(scope, message_id)

        engine.outbox_relay.deliver = late  # type: ignore[method-assign]
        await engine.service.redo(execution_id, ["each"], {})
        await until(lambda: len(work.attempts) == 4)

        async def are_stopped() -> bool:
            return sorted(await statuses(store, execution_id)) == ["running", "running", "terminated", "terminated"]

        await eventually(are_stopped)
