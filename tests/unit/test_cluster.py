"""Nodes that share a store: who lives, who takes over what, and what a node does that was given up."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from tests.unit.engines import TWO, Shared, add, ends, eventually, made, never, nodes, stored_state
from tests.unit.test_runner import LOOP, Work, until
from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.runtime.clock import SystemClock
from tornflow.runtime.engine import Engine
from tornflow.spi.storage import NodeBeat, Target
from tornflow.spi.task_type import Answered, Attempt, Outcome
from tornflow_store_memory import open_storage

FAST: dict[str, Any] = {"node_heartbeat_s": 0.02, "node_timeout_s": 0.4}
SLOW: dict[str, Any] = {"node_heartbeat_s": 1000, "node_timeout_s": 3000}  # beats only when a test asks for one


async def dies(engine: Engine) -> None:
    """Nothing of it reaches the store any more, and it does not sign off."""
    store: Any = engine.storage

    async def away(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("dead")

    for name in ("commit", "load", "beat", "forget_node", "version", "owned", "owners", "nodes"):
        setattr(store, name, away)
    await engine.cluster._tasks.close()


async def test_each_scope_of_a_dead_node_is_taken_over_once_and_the_survivors_share_them() -> None:
    works = [Work(never) for _ in range(4)]
    async with nodes(4, [TWO], works, **FAST) as (engines, inner):
        dead, *living = engines
        await until(lambda: all(len(one.cluster.alive) == 4 for one in engines))
        for _ in range(60):
            await dead.service.submit("demo:two", {})
        await until(lambda: len(works[0].attempts) == 60)
        old = {one.idempotency_key for one in works[0].attempts}
        await dies(dead)

        async def is_taken_over() -> bool:
            return dead.node_id not in await inner.owners()

        await eventually(is_taken_over)
        await until(lambda: sum(len(work.attempts) for work in works[1:]) == 60)
        again = [len(work.attempts) for work in works[1:]]
        assert all(number > 0 for number in again), again
        assert {one.idempotency_key for work in works[1:] for one in work.attempts} == old
        assert set(await inner.owners()) == {engine.node_id for engine in living}


async def test_beats_do_not_wait_for_a_take_over() -> None:
    """A store that takes one write at a time, and 200 scopes to take over: no survivor looks dead meanwhile."""
    inner = open_storage("memory://", {})
    await inner.open()
    works = [Work(never) for _ in range(3)]
    dead, *living = engines = [made(Shared(inner), work, **FAST) for work in works]
    await dead.start()
    await add(dead, [TWO])
    for _ in range(200):
        await dead.service.submit("demo:two", {})
    for engine in living:
        await engine.start()
    turn, forgotten = asyncio.Lock(), Counter[str]()
    for engine in living:
        store: Any = engine.storage
        store.commit = _one_at_a_time(store.commit, turn)
        store.forget_node = _noting(store.inner.forget_node, forgotten)
    await dies(dead)

    async def is_taken_over() -> bool:
        return dead.node_id not in await inner.owners()

    await eventually(is_taken_over, 30)
    assert set(forgotten) <= {dead.node_id}
    assert sum(len(work.attempts) for work in works[1:]) == 200
    for engine in engines:
        await engine.close()


def _one_at_a_time(commit: Any, turn: asyncio.Lock) -> Any:
    async def slow(write: Any) -> int:
        async with turn:
            await asyncio.sleep(0.005)
        return int(await commit(write))

    return slow


def _noting(forget: Any, forgotten: Counter[str]) -> Any:
    async def noted(node: str) -> None:
        forgotten[node] += 1
        await forget(node)

    return noted


async def test_a_loop_is_taken_over_in_the_middle_and_every_group_runs_once() -> None:
    release = asyncio.Event()

    async def held(_: Attempt) -> Outcome:
        await release.wait()
        return Answered({"v": 1})

    works = [Work(never), Work(held)]
    async with nodes(2, [LOOP], works, **FAST) as ((dead, heir), inner):
        await until(lambda: len(dead.cluster.alive) == 2)
        execution_id = await dead.service.submit("demo:loop", {"items": list(range(20))})
        await until(lambda: len(works[0].attempts) == 20)
        await dies(dead)
        await until(lambda: len(works[1].attempts) == 20)
        release.set()
        state = await ends(heir, execution_id)
        assert (state.status, state.context["done"]) == ("SUCCEED", [1] * 20)
        assert await inner.owners() == []
    assert {one.idempotency_key for one in works[0].attempts} == {one.idempotency_key for one in works[1].attempts}


async def test_a_node_that_was_given_up_goes_on_under_a_new_name() -> None:
    async with nodes(1, [TWO], [work := Work(never)], **SLOW) as ((engine,), inner):
        execution_id = await engine.service.submit("demo:two", {})
        await until(lambda: len(work.attempts) == 1)
        old = engine.node_id
        await inner.forget_node(old)  # another node has waited long enough
        await engine.cluster._beat()
        new = engine.node_id
        assert new != old
        assert [beat.node_id for beat in await inner.nodes()] == [new]
        assert await inner.owners() == [old], "its work is up for whoever takes it"
        await engine.cluster.take_over()
        assert (await stored_state(engine, execution_id)).tasks["a"].owner == new
        second = await engine.service.submit("demo:two", {})
        assert (await stored_state(engine, second)).tasks["a"].owner == new


async def test_the_first_beat_of_a_node_is_no_sign_that_it_was_given_up() -> None:
    async with nodes(1, [], **SLOW) as ((engine,), inner):
        name = engine.node_id
        await engine.cluster._beat()
        await engine.cluster._beat()
        assert engine.node_id == name
        assert [beat.node_id for beat in await inner.nodes()] == [name]


class Stopped(SystemClock):
    """The seconds of a process that a test can stop."""

    ahead = 0.0

    def seconds(self) -> float:
        return super().seconds() + self.ahead


async def test_a_node_that_was_silent_starts_nothing_until_its_beat_has_told_it() -> None:
    inner = open_storage("memory://", {})
    await inner.open()
    clock = Stopped()
    engine = made(Shared(inner), work := Work(), clock=clock, **SLOW)
    await engine.start()
    await add(engine, [TWO])
    assert engine.cluster.is_sure()
    clock.ahead = SLOW["node_timeout_s"] + 1
    assert not engine.cluster.is_sure()
    execution_id = await engine.service.submit("demo:two", {})
    await asyncio.sleep(0)
    assert (work.attempts, engine.dispatcher.waiting) == ([], 1)
    await engine.cluster._beat()
    assert engine.cluster.is_sure()
    assert (await ends(engine, execution_id)).status == "SUCCEED"
    await engine.close()


async def test_a_beat_counts_from_when_it_was_sent() -> None:
    """What the store says late says nothing of the time since."""
    inner = open_storage("memory://", {})
    await inner.open()
    clock = Stopped()
    engine = made(Shared(inner), Work(), clock=clock, **SLOW)
    await engine.start()
    store: Any = engine.storage
    real = store.inner.beat

    async def slow(beat: NodeBeat) -> bool:
        answer = await real(beat)
        clock.ahead += SLOW["node_timeout_s"] + 1
        return bool(answer)

    store.beat = slow
    await engine.cluster._beat()
    assert not engine.cluster.is_sure()
    await engine.close()


async def test_after_a_silence_of_its_own_a_node_calls_nobody_dead() -> None:
    inner = open_storage("memory://", {})
    await inner.open()
    clock = Stopped()
    engine = made(Shared(inner), Work(), clock=clock, **SLOW)
    await engine.start()
    await inner.beat(NodeBeat("other", 0, 5))
    await engine.cluster._look()
    clock.ahead += SLOW["node_timeout_s"] * 2  # stopped, as by SIGSTOP; the other one may have beaten all the while
    await engine.cluster._look()
    assert "other" in engine.cluster.alive
    for _ in range(5):
        clock.ahead += SLOW["node_timeout_s"] / 4
        await engine.cluster._look()
    assert "other" not in engine.cluster.alive, "it has stood still for as long as we have looked"
    assert "other" not in {beat.node_id for beat in await inner.nodes()}
    await engine.close()


async def test_a_node_whose_beat_moves_is_alive_whatever_its_clock_says() -> None:
    inner = open_storage("memory://", {})
    await inner.open()
    clock = Stopped()
    engine = made(Shared(inner), Work(), clock=clock, **SLOW)
    await engine.start()
    for seen_at in (9**15, 5, 4, 3, 2, 1, 0, 9**14):
        await inner.beat(NodeBeat("other", 0, seen_at))
        clock.ahead += SLOW["node_timeout_s"] / 3
        await engine.cluster._look()
        assert "other" in engine.cluster.alive
    await inner.forget_node("other")
    await engine.cluster._look()
    assert "other" not in engine.cluster.alive, "it has signed off"
    await engine.close()


async def test_every_execution_falls_to_one_of_the_living_nodes() -> None:
    async with nodes(3, [], **SLOW) as (engines, _):
        for engine in engines:
            await engine.cluster._look()
        keys = [ScopeKey(f"demo:one_c_{number}", path) for number in range(100) for path in ("", "each_1")]
        shares: Counter[str] = Counter()
        for key in keys:
            (mine,) = [engine.node_id for engine in engines if engine.cluster.falls_to_us(key)]
            shares[mine] += 1
        assert len(shares) == 3
        by_execution = itertools.groupby(keys, lambda key: key.execution_id)
        for _, same in by_execution:
            assert len({engine.cluster.falls_to_us(key) for key in same for engine in engines[:1]}) == 1


async def test_what_a_survivor_leaves_is_taken_by_any_after_the_time_out() -> None:
    inner = open_storage("memory://", {})
    await inner.open()
    clock = Stopped()
    dead, heir = made(Shared(inner), Work(never), **SLOW), made(Shared(inner), Work(never), clock=clock, **SLOW)
    await dead.start()
    await add(dead, [TWO])
    for _ in range(20):
        await dead.service.submit("demo:two", {})
    await heir.start()
    await inner.beat(NodeBeat("third", 0, 1))  # it lives, and takes nothing over
    await inner.forget_node(dead.node_id)
    await heir.cluster._look()
    first = await heir.cluster.take_over()
    assert 0 < first < 20
    clock.ahead += SLOW["node_timeout_s"] + 1
    assert await heir.cluster.take_over() == 20 - first
    await dies(dead)
    await dead.close()
    await heir.close()


async def test_a_draining_node_takes_nothing_over() -> None:
    async with nodes(1, [TWO], [work := Work(never)], **FAST) as ((engine,), inner):
        execution_id = await engine.service.submit("demo:two", {})
        await until(lambda: len(work.attempts) == 1)
        engine.cluster.drain()
        # The same scope in the hands of a node that is gone.
        await engine.runner.drain()
        found = await inner.load(ScopeKey(execution_id))
        assert found is not None
        looked = 0
        real = inner.owners

        async def counted() -> Any:
            nonlocal looked
            looked += 1
            return await real()

        engine.storage.owners = counted  # type: ignore[method-assign]
        beaten = (await inner.nodes())[0].seen_at

        async def has_beaten() -> bool:
            return (await inner.nodes())[0].seen_at > beaten

        await eventually(has_beaten)
        assert looked == 0


@pytest.mark.parametrize("is_shared", [True, False])
async def test_recovery_is_done_before_start_returns(is_shared: bool) -> None:
    inner = open_storage("memory://", {})
    await inner.open()
    inner.is_shared = is_shared
    first = made(Shared(inner), Work(never), **SLOW)
    first.storage.is_shared = is_shared
    await first.start()
    await add(first, [TWO])
    execution_id = await first.service.submit("demo:two", {})
    if is_shared:
        await inner.forget_node(first.node_id)
    await dies(first)
    await first.close()
    second = made(Shared(inner), work := Work(), **SLOW)
    second.storage.is_shared = is_shared
    await second.start(holds_attempts=True)
    assert (await stored_state(second, execution_id)).tasks["a"].owner == second.node_id
    assert (work.attempts, second.dispatcher.waiting) == ([], 1)
    second.release()
    assert (await ends(second, execution_id)).status == "SUCCEED"
    await second.close()


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


async def test_groups_of_an_execution_that_was_purged_are_removed_when_their_node_is_gone() -> None:
    """Its node stored a group, and died before it saw that the execution had been purged meanwhile."""
    works = [Work(never), Work(never)]
    async with nodes(2, [LOOP.replace("TIMELINE", "tolerance: false")], works, **FAST) as ((dead, living), inner):
        execution_id = await dead.service.submit("demo:loop", {"items": [1, 2]})
        await until(lambda: len(works[0].attempts) == 2)
        groups = [record for record in await inner.scan(None, 10) if record.scope.key.path]
        root = await inner.version(ScopeKey(execution_id))
        await dies(dead)
        assert await inner.delete_executions([Target(execution_id, root.life, root.revision)]) == [True]
        await inner.restore(groups)

        async def is_clean() -> bool:
            return not await inner.children(execution_id, "", "", 10) and dead.node_id not in await inner.owners()

        await eventually(is_clean)
        assert works[1].attempts == []
