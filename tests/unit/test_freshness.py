"""Two nodes and more over one store: nothing is shown, refused or dropped because of an old copy in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.engines import CHILD, PARENT, TWO_CALLBACKS, ends, eventually, nodes, stored_state, waits_for
from tests.unit.test_runner import Work
from tornflow.errors import ExecutionFinished, ExecutionNotFinished, ExecutionNotFound
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ExecutionQuery
from tornflow.spi.task_type import Failed

LOOP = """
workspace: demo
dagName: loop
type: flow
tasks:
  - category: foreach
    name: each
    inputMappings: [{source: $.context.items, target: $.input.items}]
    iterationMapping: {collection: $.input.items, item: x}
    outputMappings: [{source: "$.output.sub_context[*].b", target: $.context.done}]
    tasks:
      - {category: function, name: a, pattern: task_async, resourceName: 'test://a', next: b}
      - {category: function, name: b, pattern: task_async, resourceName: 'test://b',
         outputMappings: [{source: $.output.v, target: $.context.b}]}
"""
EVENT = """
workspace: demo
dagName: event
type: flow
tasks:
  - {category: function, name: a, pattern: task_async, resourceName: 'test://a', next: w}
  - {category: suspense, name: w, event: go}
"""
STARTS_LATE = """
workspace: demo
dagName: late
type: flow
tasks:
  - {category: function, name: first, pattern: task_async, resourceName: 'test://a', next: sub}
  - {category: function, name: sub, pattern: flow_sync, resourceName: 'sub://demo:callbacks'}
"""


async def finish(engine: Any, execution_id: str, task: str, value: Any = 1) -> None:
    path, _, name = task.rpartition("-")
    await waits_for(engine, execution_id, name, path=path)
    await engine.service.finish(execution_id, task, {"v": value}, success=True)


async def started(engine: Any, flow: str, **context: Any) -> str:
    return str(await engine.service.submit(f"demo:{flow}", context))


async def test_a_view_shows_what_another_node_has_changed() -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        execution_id = await started(one, "callbacks")
        await finish(two, execution_id, "a")
        shown = await one.service.snapshot(execution_id)
        assert shown is not None and shown.state.tasks["a"].status == "SUCCEED"
        await finish(two, execution_id, "b", 2)
        shown = await one.service.snapshot(execution_id)
        assert shown is not None and (shown.state.status, shown.state.context["b"]) == ("SUCCEED", 2)


@pytest.mark.parametrize("operation", ["finish", "trigger"])
async def test_a_completion_is_not_refused_because_of_an_old_copy(operation: str) -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        execution_id = await started(one, "callbacks")
        await finish(two, execution_id, "a")
        await waits_for(two, execution_id, "b")
        await getattr(one.service, operation)(execution_id, "b", {"v": 2}, success=True)
        assert (await ends(two, execution_id)).context == {"a": 1, "b": 2, "flow_execution_id": execution_id}


async def test_a_completion_is_not_accepted_because_of_an_old_copy() -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        execution_id = await started(one, "callbacks")
        await waits_for(one, execution_id, "a")
        await two.service.terminate(execution_id)
        with pytest.raises(ExecutionFinished):
            await one.service.finish(execution_id, "a", {}, success=True)


async def test_an_id_whose_flow_ended_elsewhere_can_be_started_again() -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        for engine, other in ((one, two), (two, one)):
            await engine.service.start_workflow("demo:callbacks", instance_id="i", raw_input="{}", component="dapr")
            await finish(other, "i", "a")
            await finish(other, "i", "b")
            assert (await ends(engine, "i")).status == "SUCCEED"


async def test_what_ended_elsewhere_can_be_purged_and_what_was_redone_elsewhere_cannot() -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        execution_id = await started(one, "callbacks")
        await finish(two, execution_id, "a")
        await finish(two, execution_id, "b")
        await one.service.snapshot(execution_id)
        await two.service.redo(execution_id, ["b"], {})
        with pytest.raises(ExecutionNotFinished):
            await one.service.purge(execution_id)
        await finish(two, execution_id, "b")
        await one.service.purge(execution_id)
        with pytest.raises(ExecutionNotFound):
            await two.service.pause(execution_id)


async def test_what_was_removed_elsewhere_is_gone_everywhere() -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        execution_id = await started(one, "callbacks")
        await one.service.terminate(execution_id)
        await two.service.purge(execution_id)
        assert await one.service.snapshot(execution_id) is None
        assert await two.service.snapshot(execution_id) is None


async def test_results_are_gathered_from_the_store() -> None:
    async with nodes(3, [LOOP]) as ((one, two, three), _):
        execution_id = await started(three, "loop", items=[1, 2])
        await finish(two, execution_id, "each_0-a")
        await finish(one, execution_id, "each_0-b", "b0")
        await finish(two, execution_id, "each_1-a")
        await finish(two, execution_id, "each_1-b", "b1")
        state = await ends(two, execution_id)
        assert (state.status, state.context["done"]) == ("SUCCEED", ["b0", "b1"])


async def test_an_event_reaches_a_waiter_that_an_old_copy_does_not_know() -> None:
    async with nodes(2, [EVENT]) as ((one, two), _):
        execution_id = await started(one, "event")
        await finish(two, execution_id, "a")
        await one.service.raise_event(execution_id, "go", 1)
        assert (await ends(two, execution_id)).status == "SUCCEED"


@pytest.mark.parametrize("operation", ["terminate", "pause"])
async def test_an_order_is_not_swallowed_by_a_copy_that_has_ended(operation: str) -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        execution_id = await started(one, "callbacks")
        await waits_for(one, execution_id, "a")
        await one.service.finish(execution_id, "a", {}, success=False)
        assert (await ends(one, execution_id)).status == "FAILED"
        await two.service.redo(execution_id, [], {})
        await getattr(one.service, operation)(execution_id)
        state = await stored_state(two, execution_id)
        assert state.status == "TERMINATED" if operation == "terminate" else state.is_paused


async def test_an_event_is_not_swallowed_by_a_copy_that_has_ended() -> None:
    async with nodes(2, [TWO_CALLBACKS]) as ((one, two), _):
        execution_id = await started(one, "callbacks")
        await waits_for(one, execution_id, "a")
        await one.service.finish(execution_id, "a", {}, success=False)
        await two.service.redo(execution_id, [], {})
        await one.service.raise_event(execution_id, "kept", 1)
        assert [kept.payload for kept in (await stored_state(two, execution_id)).events.values()] == [1]


async def test_the_report_of_a_group_is_not_dropped_by_an_old_copy_of_its_parent() -> None:
    limited = LOOP.replace("    iterationMapping:", "    synchronization: {maxConcurrency: '1'}\n    iterationMapping:")
    async with nodes(2, [limited]) as ((one, two), _):
        execution_id = await started(one, "loop", items=[1, 2])
        await two.service.raise_event(execution_id, "hello", 1)  # from now on it has a copy of the root
        for engine, index in ((one, 0), (two, 1)):
            await finish(engine, execution_id, f"each_{index}-a")
            await finish(engine, execution_id, f"each_{index}-b", f"b{index}")
        state = await ends(one, execution_id)
        assert (state.status, state.context["done"]) == ("SUCCEED", ["b0", "b1"])


async def test_the_end_of_a_sub_flow_is_not_dropped_by_an_old_copy_of_its_parent() -> None:
    async with nodes(2, [STARTS_LATE, TWO_CALLBACKS]) as ((one, two), inner):
        execution_id = await started(one, "late")
        await two.service.raise_event(execution_id, "hello", 1)
        await finish(one, execution_id, "first")

        async def has_child() -> bool:
            return bool(await inner.executions(ExecutionQuery(parent_id=execution_id)))

        await eventually(has_child)
        (child,) = await inner.executions(ExecutionQuery(parent_id=execution_id))
        await finish(two, child.execution_id, "a")
        await finish(two, child.execution_id, "b")
        assert (await ends(one, execution_id)).status == "SUCCEED"


async def test_a_group_that_was_paused_elsewhere_is_not_started_by_an_old_copy() -> None:
    async with nodes(2, [LOOP]) as ((one, two), _):
        execution_id = await started(one, "loop", items=[1])
        await waits_for(one, execution_id, "a", path="each_0")
        await two.service.pause(execution_id)

        async def group_is_paused() -> bool:
            return (await stored_state(one, execution_id, "each_0")).is_paused

        await eventually(group_is_paused)
        await one.service.finish(execution_id, "each_0-a", {"v": 1}, success=True)
        group = await stored_state(two, execution_id, "each_0")
        assert (group.tasks["b"].status, group.tasks["b"].attempt) == ("READY", 0)
        await one.service.resume(execution_id)
        await finish(two, execution_id, "each_0-b", "late")
        assert (await ends(one, execution_id)).context["done"] == ["late"]


async def test_a_degrade_on_one_node_counts_for_groups_of_another() -> None:
    async with nodes(2, [LOOP]) as ((one, two), _):
        execution_id = await started(one, "loop", items=[1, 2])
        await waits_for(one, execution_id, "a", path="each_1")
        await two.service.degrade(execution_id, "b", current=True, followings=False)

        async def is_told() -> bool:
            return all([(await stored_state(one, execution_id, f"each_{n}")).degrade for n in (0, 1)])

        await eventually(is_told)
        for index in (0, 1):
            await finish(one, execution_id, f"each_{index}-a")
        assert (await ends(two, execution_id)).status == "SUCCEED"
        assert (await stored_state(one, execution_id, "each_0")).tasks["b"].status == "SKIPPED"


async def test_a_sub_flow_started_elsewhere_is_stopped_with_its_parent() -> None:
    hold = asyncio.Event()

    async def held(_: Any) -> Any:
        await hold.wait()
        return Failed("too late")

    async with nodes(2, [PARENT, CHILD], [Work(held), Work(held)]) as ((one, two), inner):
        execution_id = await started(one, "parent", n=1)

        async def has_child() -> bool:
            return bool(await inner.executions(ExecutionQuery(parent_id=execution_id)))

        await eventually(has_child)
        await two.service.terminate(execution_id)
        (child,) = await inner.executions(ExecutionQuery(parent_id=execution_id))
        assert (await ends(one, child.execution_id)).status == "TERMINATED"


async def test_a_copy_that_is_current_is_not_read_again_and_one_version_is_asked_per_look() -> None:
    async with nodes(1, [TWO_CALLBACKS]) as ((one,), _):
        execution_id = await started(one, "callbacks")
        await waits_for(one, execution_id, "a")
        store: Any = one.storage
        loads, versions = 0, 0
        load, version = store.load, store.inner.version

        async def counted_load(key: ScopeKey) -> Any:
            nonlocal loads
            loads += 1
            return await load(key)

        async def counted_version(key: ScopeKey) -> Any:
            nonlocal versions
            versions += 1
            return await version(key)

        store.load, store.version = counted_load, counted_version
        for _ in range(10):
            await one.service.snapshot(execution_id)
        assert (loads, versions) == (0, 10)
