"""Rules that the runtime does not keep yet. Each test moves to its room when it passes."""

from __future__ import annotations

from tests.unit.engines import TWO, Shared, add, made, never, nodes, stored_state
from tests.unit.test_cluster import SLOW
from tests.unit.test_runner import Work
from tornflow.spi.storage import NodeBeat
from tornflow_store_memory import open_storage


async def test_work_of_a_node_that_has_just_come_is_not_taken_over() -> None:
    """A node beats before it takes anything in hand: who reads the owners first and the beats then, sees it."""
    inner = open_storage("memory://", {})
    await inner.open()
    first, second = made(Shared(inner), Work(never), **SLOW), made(Shared(inner), Work(never), **SLOW)
    await first.start()
    await add(first, [TWO])
    await second.start()  # the first one has not looked since
    execution_id = await second.service.submit("demo:two", {})
    assert await first.cluster.take_over() == 0
    assert (await stored_state(first, execution_id)).tasks["a"].owner == second.node_id
    await second.close()
    await first.close()


async def test_a_node_beats_under_its_new_name_before_it_takes_anything_in_hand() -> None:
    async with nodes(1, [TWO], [Work(never)], **SLOW) as ((engine,), inner):
        old = engine.node_id
        await inner.forget_node(old)
        real, seen = engine.storage.beat, list[tuple[str, str]]()

        async def watched(beat: NodeBeat) -> bool:
            seen.append((beat.node_id, engine.node_id))
            return bool(await real(beat))

        engine.storage.beat = watched  # type: ignore[method-assign]
        await engine.cluster._beat()
        assert seen[-1] == (engine.node_id, old), "work that it takes now would look like that of a dead node"
