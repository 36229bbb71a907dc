"""Scenarios in which runs were lost, doubled or stuck; each is one kind of defect, told as short as it goes."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.clients import OK, REFUSED
from tests.simulation.flows import Task
from tests.simulation.store import Habits
from tests.simulation.stories import calm_plan, do, finish, play, start, state
from tests.simulation.world import World
from tornflow.errors import AttemptOver, ExecutionExists
from tornflow.model.status import FlowStatus, TaskStatus


def test_an_instance_id_that_is_used_again_runs_a_life_of_its_own() -> None:
    async def story(world: World) -> None:
        await start(world)
        refused = await start(world)
        assert isinstance(refused.error, ExecutionExists)
        await do(world, "terminate")
        assert (await start(world)).outcome == OK
        await do(world, "terminate")
        await do(world, "purge")
        assert (await start(world)).outcome == OK

    play(calm_plan(Task("a", "async"), Task("b", "child", child="kid0")), story)


def test_a_late_callback_of_an_attempt_that_timed_out_does_not_complete_the_next_one() -> None:
    async def story(world: World) -> None:
        await start(world)
        await asyncio.sleep(30)
        late = [one for one in world.outside.requests if one.kind == "report" and one.facts["number"] == 1]
        assert late and all(isinstance(one.error, AttemptOver) for one in late)

    # The answer of the first attempt comes after 8 or 20 s, when the second one runs already.
    task = Task("a", "async", never=1, retries=1, timeout_s=5, interval_s=0)
    plan = calm_plan(task, pace_s=20.0, seed="late-callback-2")
    play(plan, story)


def test_a_store_that_is_away_fails_no_flow_that_starts_sub_flows() -> None:
    async def story(world: World) -> None:
        for number in range(5):
            await start(world, f"run{number}")
        world.strike("away", 0, 4.0)
        await asyncio.sleep(20)
        for number in range(5):
            assert state(world, f"run{number}").status is FlowStatus.SUCCEED

    tasks = (Task("a", "sync", next=("b",)), Task("b", "child", before=("a",), child="kid0"))
    play(calm_plan(*tasks, pace_s=1.0), story)


@pytest.mark.parametrize("after_s", [0.0, 0.004, 0.008, 0.016, 0.03, 0.06, 0.1, 0.2])
def test_terminate_reaches_a_child_that_is_being_started(after_s: float) -> None:
    async def story(world: World) -> None:
        await start(world)
        await asyncio.sleep(after_s)
        assert (await do(world, "terminate")).outcome == OK
        await asyncio.sleep(20)
        for name in world.disk.scopes:
            assert state(world, name).status.is_completed, name

    play(calm_plan(Task("a", "child", child="kid1"), habits=Habits(pace_s=0.02)), story)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_wait_counts_elapsed_time_whatever_the_clock_on_the_wall_says(hours: int) -> None:
    async def story(world: World) -> None:
        await start(world)
        await asyncio.sleep(3)
        world.nodes[0].clock.skew_ms += hours * 3_600_000
        await asyncio.sleep(6)
        assert not state(world).status.is_completed
        await asyncio.sleep(4)
        assert state(world).status is FlowStatus.SUCCEED

    play(calm_plan(Task("a", "wait", interval_s=10)), story)


def test_callbacks_that_arrive_while_a_killed_server_starts_lose_nothing() -> None:
    async def story(world: World) -> None:
        for number in range(20):
            await start(world, f"run{number}")
        world.strike("crash", 0, 0.5)
        await asyncio.sleep(30)
        for number in range(20):
            assert state(world, f"run{number}").status is FlowStatus.SUCCEED

    plan = calm_plan(Task("a", "async"), Task("b", "async"), Task("c", "sync"), pace_s=0.5)
    play(plan, story)


def test_a_survivor_takes_over_what_a_dead_node_had_in_hand() -> None:
    async def story(world: World) -> None:
        for number in range(12):
            await start(world, f"run{number}")
        world.nodes[0].crash()
        died_at = world.loop.time()
        await asyncio.sleep(10 + 5 + 3)
        for number in range(12):
            assert state(world, f"run{number}").status is FlowStatus.SUCCEED, world.loop.time() - died_at

    play(calm_plan(Task("a", "sync"), nodes=2, pace_s=0.5), story)


def test_a_node_that_slept_changes_nothing_that_has_moved_on() -> None:
    async def story(world: World) -> None:
        for number in range(8):
            await start(world, f"run{number}")
        world.strike("freeze", 0, 30.0)
        await asyncio.sleep(60)
        for number in range(8):
            assert state(world, f"run{number}").status is FlowStatus.SUCCEED

    tasks = (Task("a", "sync", next=("b",)), Task("b", "async", before=("a",)))
    play(calm_plan(*tasks, nodes=2, pace_s=0.5), story)


def test_what_one_node_has_stored_every_node_shows() -> None:
    async def story(world: World) -> None:
        await start(world)
        for number in range(6):
            node = world.nodes[number % 2]
            await node.ask(lambda engine: engine.service.pause("one"))
            for other in world.nodes:
                shown = await other.ask(lambda engine: engine.service.snapshot("one"))
                assert shown.state.is_paused
            await world.nodes[(number + 1) % 2].ask(lambda engine: engine.service.resume("one"))
            for other in world.nodes:
                shown = await other.ask(lambda engine: engine.service.snapshot("one"))
                assert not shown.state.is_paused

    play(calm_plan(Task("a", "suspense"), nodes=2), story)


def test_slots_come_back_whatever_becomes_of_their_attempts() -> None:
    async def story(world: World) -> None:
        for _ in range(10):
            for number in range(5):
                await start(world, f"run{number}")
            for number in range(5):
                await do(world, "terminate", f"run{number}")
        await asyncio.sleep(20)
        dispatcher = world.nodes[0].engine.dispatcher
        assert (dispatcher.in_flight, dispatcher.waiting) == (0, 0)

    play(calm_plan(Task("a", "sync"), Task("b", "async"), pace_s=0.05), story)


def test_a_hand_made_completion_without_a_token_means_the_attempt_that_runs() -> None:
    async def story(world: World) -> None:
        await start(world)
        await asyncio.sleep(0.5)
        done = await finish(world, "a")
        assert done.outcome == OK
        again = await finish(world, "a")
        assert again.outcome == REFUSED
        assert state(world).tasks["a"].status is TaskStatus.SUCCEED

    play(calm_plan(Task("a", "async"), pace_s=20.0), story)
