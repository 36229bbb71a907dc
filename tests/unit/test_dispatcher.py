"""What the dispatcher promises: slots, turns, reports, room, callbacks. The test decides the order; nothing sleeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.unit.dispatch_world import World, command_of, scope_of, turns
from tornflow.engine.tokens import attempt_token
from tornflow.model.descriptor import FunctionTask
from tornflow.runtime.attempts import target_finder
from tornflow.spi.task_type import Answered, Attempt, Failed


async def test_an_outcome_is_reported_once_with_the_time_and_the_generation() -> None:
    world = World()
    scope = world.dispatch(1, generation=("life", 2))
    await turns()
    world.puppet.end(world.puppet.started[0], Answered({"v": 1}))
    await turns()
    [(key, event)] = world.reports
    assert key == scope.state.key
    assert (event.at, event.task, event.attempt, event.generation) == (world.clock.now, "alpha", 1, ("life", 2))
    assert (event.value, event.error, event.code) == ({"v": 1}, None, None)
    assert world.dispatcher.in_flight == 0


async def test_a_failure_is_reported_with_its_code() -> None:
    world = World()
    world.dispatch(1)
    await turns()
    world.puppet.end(world.puppet.started[0], Failed("no luck", "http_503"))
    await turns()
    event = world.reports[0][1]
    assert (event.error, event.code) == ("no luck", "http_503")


@pytest.mark.parametrize(
    ("outcome", "message"),
    [(RuntimeError("boom"), "RuntimeError: boom"), ({"v": 1}, "answered dict"), (asyncio.CancelledError(), "gave up")],
)
async def test_what_a_broken_task_type_does_is_a_failure_with_a_code(outcome: Any, message: str) -> None:
    class Broken:
        protocols, title = ("test",), "broken"

        async def execute(self, attempt: Attempt) -> Any:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

    world = World()
    world.puppet.execute = Broken().execute  # type: ignore[method-assign]
    world.dispatch(1)
    await turns()
    event = world.reports[0][1]
    assert message in str(event.error) and event.code == "plugin_error"
    assert world.dispatcher.in_flight == 0


async def test_a_protocol_that_nobody_serves_fails_at_once() -> None:
    world = World()
    scope = scope_of(1)
    definition = scope.graph.tasks["alpha"].definition
    assert isinstance(definition, FunctionTask)
    tasks = {"alpha": replace(scope.graph.tasks["alpha"], definition=replace(definition, protocol="gopher"))}
    scope.graph = replace(scope.graph, tasks=tasks)
    world.dispatcher.dispatch(scope, command_of("alpha"))
    event = world.reports[0][1]
    assert event.error == "resource protocol: gopher do not support; installed: test"
    assert event.code == "unsupported_protocol"


async def test_the_same_attempt_in_hand_stays_as_it_is() -> None:
    world = World({"per_target": 1})
    running, waiting = world.dispatch(1), world.dispatch(2)
    world.dispatcher.dispatch(running, command_of("alpha"))
    world.dispatcher.dispatch(waiting, command_of("alpha"))
    await turns()
    assert (world.dispatcher.in_flight, world.dispatcher.waiting, len(world.puppet.started)) == (1, 1, 1)
    assert world.dispatcher.holds(running.state.key, ("life",), "alpha", 1)
    assert world.dispatcher.holds(waiting.state.key, ("life",), "alpha", 1)


async def test_another_life_of_the_same_id_is_another_attempt() -> None:
    world = World()
    world.dispatch(1, generation=("life",))
    later = world.dispatch(1, generation=("later",))
    await turns()
    assert len(world.puppet.started) == 2
    world.dispatcher.abandon(later.state.key, ("life",), "alpha", 1)
    await turns()
    assert [attempt.life for attempt in world.puppet.started if attempt.idempotency_key in world.puppet.running] == [
        "later"
    ]


async def test_abandoned_before_its_first_step_gives_the_slot_back() -> None:
    """A task that is cancelled before it began never runs its ``finally``."""
    world = World({"max_in_flight": 1})
    for number in range(5):
        scope = world.dispatch(number)
        world.abandon(scope)
        await turns()
        assert world.dispatcher.in_flight == 0
    world.dispatch(9)
    await turns()
    assert world.started() == ["9"]
    assert world.reports == []


async def test_an_abandoned_attempt_is_never_reported_and_leaves_its_slot_to_the_next() -> None:
    world = World({"per_target": 1})
    first, second = world.dispatch(1), world.dispatch(2)
    await turns()
    world.puppet.end(world.puppet.started[0])  # it has answered, but nobody has heard of it yet
    world.abandon(first)
    world.abandon(second)
    world.dispatch(3)
    await turns()
    assert (world.started(), world.reports) == (["1", "3"], [])
    assert (world.dispatcher.in_flight, world.dispatcher.waiting) == (1, 0)


async def test_an_attempt_may_be_dispatched_again_from_within_its_report() -> None:
    world = World()
    scope = world.dispatch(1)

    def again(*_: object) -> None:
        if len(world.reports) < 2:
            world.dispatcher.dispatch(scope, command_of("alpha"))

    world.on_report = again
    await turns()
    world.puppet.end(world.puppet.started[0])
    await turns()
    assert len(world.puppet.started) == 2
    world.puppet.end(world.puppet.started[1])
    await turns()
    assert (len(world.reports), world.dispatcher.in_flight) == (2, 0)


async def test_a_report_that_breaks_costs_no_slot() -> None:
    world = World({"max_in_flight": 1})

    def broken(*_: object) -> None:
        raise RuntimeError("nobody listens")

    world.on_report = broken
    world.dispatch(1)
    world.dispatch(2)
    await turns()
    world.puppet.end(world.puppet.started[0])
    await turns()
    assert world.started() == ["1", "2"]


async def test_a_target_that_never_answers_costs_others_nothing() -> None:
    world = World({"max_in_flight": 20, "per_target": 4, "per_flow": 20})
    for number in range(500):
        world.dispatch(number, flow="dead", target="beta")
    world.dispatch(1000, flow="alive", target="alpha")
    world.dispatch(1001, flow="dead", target="alpha")
    await turns()
    assert world.started() == ["0", "1", "2", "3", "1000", "1001"]
    assert world.dispatcher.targets() == {"beta": (4, 496), "alpha": (2, 0)}
    assert (world.dispatcher.waiting_of("demo:dead"), world.dispatcher.waiting_of("demo:alive")) == (496, 0)


async def test_one_flow_does_not_take_every_slot() -> None:
    world = World({"max_in_flight": 6, "per_target": 6, "per_flow": 4})
    for number in range(50):
        world.dispatch(number, flow="greedy")
    world.dispatch(100, flow="modest")
    await turns()
    assert world.started() == ["0", "1", "2", "3", "100"]


async def test_before_it_is_open_attempts_only_wait() -> None:
    world = World(is_open=False)
    for number in range(3):
        world.dispatch(number)
    callback = asyncio.create_task(world.dispatcher.call_back(callback_of(world)))
    await turns()
    assert (world.dispatcher.waiting, world.dispatcher.callbacks_waiting, world.puppet.started) == (3, 1, [])
    world.dispatcher.open()
    await turns()
    assert (len(world.puppet.started), world.dispatcher.waiting) == (4, 0)
    callback.cancel()


async def test_a_node_that_was_declared_dead_forgets_what_has_not_started() -> None:
    world = World({"per_target": 1})
    for number in range(4):
        world.dispatch(number)
    await turns()
    world.dispatcher.drop_waiting()
    assert (world.dispatcher.in_flight, world.dispatcher.waiting) == (1, 0)
    world.puppet.end(world.puppet.started[0])
    await turns()
    assert (world.started(), len(world.reports)) == (["0"], 1)
    world.dispatch(1)  # taken over from another node later
    await turns()
    assert world.started() == ["0", "1"]


# --- room


async def test_room_is_there_at_once_while_few_wait() -> None:
    world = World({"per_target": 1, "room": 2})
    world.dispatch(1)
    world.dispatch(2)
    await asyncio.wait_for(world.dispatcher.room("demo:one"), 5)


async def test_room_comes_in_order_when_attempts_leave_and_only_to_that_flow() -> None:
    world = World({"per_target": 1, "room": 2})
    scopes = [world.dispatch(number) for number in range(4)]
    others = [world.dispatch(number, flow="two", target="beta") for number in range(4)]
    woken: list[str] = []

    async def wait(name: str, flow: str) -> None:
        await world.dispatcher.room(flow)
        woken.append(name)

    waits = [asyncio.create_task(wait(*one)) for one in (("a", "demo:one"), ("x", "demo:two"), ("b", "demo:one"))]
    await turns()
    assert woken == []
    world.abandon(scopes[3])
    await turns()
    assert woken == []  # two of it still wait
    world.puppet.end(world.puppet.started[0])
    await turns()
    assert woken == ["a", "b"]
    world.dispatcher.drop_waiting()
    await turns()
    assert woken == ["a", "b", "x"] and others
    await asyncio.gather(*waits)


async def test_who_no_longer_wants_room_is_forgotten() -> None:
    world = World({"per_target": 1, "room": 1})
    world.dispatch(1)
    scope = world.dispatch(2)
    waits = [asyncio.create_task(world.dispatcher.room("demo:one")) for _ in range(3)]
    await turns()
    waits[1].cancel()
    await turns()
    world.abandon(scope)
    await asyncio.gather(waits[0], waits[2])
    assert waits[1].cancelled() and not world.dispatcher._room


# --- callbacks


def callback_of(world: World, number: int = 1, target: str = "alpha") -> Attempt:
    resource = f"test://{target}/done"
    return world.dispatcher.callback_attempt(f"demo:one_c_{number}", resource, {"x": 1}, {"b": 2}, ("life",), 3)


async def test_a_callback_has_its_outcome_and_a_key_of_its_own() -> None:
    world = World()
    attempt = callback_of(world)
    assert attempt.idempotency_key == "demo:one_c_1/callback/life.3"
    assert (attempt.life, attempt.extra_body, attempt.pattern, attempt.task_name) == ("life", {"b": 2}, "", "")
    call = asyncio.create_task(world.dispatcher.call_back(attempt))
    await turns()
    assert world.dispatcher.in_flight == 1
    world.puppet.end(attempt, Failed("gone", "connect"))
    assert await call == Failed("gone", "connect")
    await turns()
    assert (world.dispatcher.in_flight, world.reports) == (0, [])


async def test_a_callback_that_breaks_is_an_outcome_too() -> None:
    world = World()
    call = asyncio.create_task(world.dispatcher.call_back(callback_of(world)))
    await turns()
    world.puppet.end(world.puppet.started[0], RuntimeError("boom"))
    assert await call == Failed("RuntimeError: boom", "plugin_error")
    gopher = replace(callback_of(world), protocol="gopher", resource="gopher://x")
    assert await world.dispatcher.call_back(gopher) == Failed("no task type for gopher://x", "unsupported_protocol")


async def test_callbacks_go_out_although_every_slot_of_attempts_is_taken() -> None:
    world = World({"max_in_flight": 1, "callbacks": 8})
    world.dispatch(1)
    calls = [asyncio.create_task(world.dispatcher.call_back(callback_of(world, n, "beta"))) for n in range(5)]
    elsewhere = asyncio.create_task(world.dispatcher.call_back(callback_of(world, 9, "gamma")))
    await turns()
    # A quarter of the eight may go to one target; the others wait and hold nobody else up.
    assert (world.started(), world.dispatcher.callbacks_waiting) == (["1", "0", "1", "9"], 3)
    for call in (*calls, elsewhere):
        call.cancel()
    await turns()
    assert (world.dispatcher.in_flight, world.dispatcher.callbacks_waiting) == (1, 0)


async def test_callbacks_that_wait_are_bounded() -> None:
    world = World({"callbacks": 1, "callbacks_waiting": 2})
    calls = [asyncio.create_task(world.dispatcher.call_back(callback_of(world, n))) for n in range(4)]
    await turns()
    assert [call.done() for call in calls] == [False, False, False, True]
    assert calls[3].result() == Failed("too many callbacks wait for alpha", "overloaded")
    await world.dispatcher.close(0)
    await turns()
    assert [call.cancelled() for call in calls[:3]] == [True] * 3


# --- closing


async def test_closing_waits_for_what_runs_and_starts_nothing_more() -> None:
    world = World({"per_target": 1})
    world.dispatch(1)
    world.dispatch(2)
    await turns()
    closing = asyncio.create_task(world.dispatcher.close(60))
    await turns()
    assert not closing.done()
    world.dispatch(3)
    world.puppet.end(world.puppet.started[0])
    await closing
    assert (world.started(), len(world.reports)) == (["1"], 1)
    assert (world.dispatcher.in_flight, world.dispatcher.waiting) == (0, 0)


async def test_closing_without_grace_abandons_everything_even_what_has_not_begun() -> None:
    world = World()
    world.dispatch(1)
    await turns()
    world.dispatch(2)
    await world.dispatcher.close(0)
    assert (world.dispatcher.in_flight, world.reports, world.started()) == (0, [], ["1"])
    world.dispatcher.open()
    world.dispatch(3)
    await turns()
    assert world.dispatcher.in_flight == world.dispatcher.waiting == 0


async def clings(attempt: Attempt) -> Any:
    """Answer when it is cancelled."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return Answered({"v": 1})


async def test_an_answer_to_the_cancellation_of_closing_is_not_reported() -> None:
    world = World()
    world.puppet.execute = clings  # type: ignore[method-assign]
    scope = world.dispatch(1)
    await turns()
    await world.dispatcher.close(0)
    await turns()
    assert (world.reports, world.dispatcher.in_flight) == ([], 0)
    assert not world.dispatcher.holds(scope.state.key, ("life",), "alpha", 1)


async def test_an_answer_to_being_abandoned_is_not_reported() -> None:
    world = World()
    world.puppet.execute = clings  # type: ignore[method-assign]
    scope = world.dispatch(1)
    await turns()
    world.abandon(scope)
    await turns()
    assert (world.reports, world.dispatcher.in_flight) == ([], 0)


# --- what an attempt carries


async def test_the_idempotency_key_names_life_run_and_attempt() -> None:
    world = World()
    world.dispatch(1, generation=("l1",))
    world.dispatch(2, generation=("l1", 1, 1), path="loop_0-inner_3")
    world.dispatch(3, generation=("l1", 1, 2), path="loop_0-inner_3")
    await turns()
    assert [attempt.idempotency_key for attempt in world.puppet.started] == [
        "demo:one_c_1/alpha/l1.1",
        "demo:one_c_2/loop_0-inner_3-alpha/l1.1",
        "demo:one_c_3/loop_0-inner_3-alpha/l1.1.2.1",
    ]


@pytest.mark.parametrize(
    ("pattern", "has_token"), [("task_async", True), ("task_scheduler", True), ("task_sync", False)]
)
async def test_callback_urls_of_asynchronous_tasks_name_the_attempt(pattern: str, has_token: bool) -> None:
    world = World()
    world.dispatch(1, pattern=pattern)
    await turns()
    query = parse_qsl(urlsplit(world.puppet.started[0].callback_url).query)
    names = [name for name, _ in query]
    assert names == sorted(names) and dict(query)["task_name"] == "alpha"
    assert dict(query).get("token") == (attempt_token(("life",), 1) if has_token else None)


async def test_the_deadline_is_what_is_left_when_the_attempt_starts() -> None:
    world = World({"per_target": 1})
    world.dispatch(1, due_at=world.clock.now + 5000)
    world.dispatch(2, due_at=world.clock.now + 5000)
    await turns()
    world.clock.now += 2000
    world.puppet.end(world.puppet.started[0])
    await turns()
    assert [attempt.deadline_s for attempt in world.puppet.started] == [5.0, 3.0]


async def test_a_target_is_what_the_task_type_says_else_the_protocol() -> None:
    class Mute:
        protocols, title = ("mute",), "says nothing of targets"

    class Odd:
        def target(self, resource: str) -> str:
            raise ValueError(resource)

    target_of = target_finder({"test": World().puppet, "mute": Mute(), "odd": Odd()})  # type: ignore[dict-item]
    assert target_of("test", "test://alpha/x") == "alpha"
    assert target_of("mute", "mute://alpha") == "mute"
    assert target_of("odd", "odd://alpha") == "odd"
