"""External events at suspense tasks: none is lost, none is taken twice, however many wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.golden.engine_play import Play, assert_in_order
from tornflow.engine.commands import Command
from tornflow.engine.events import EventHandedOver, EventRaised, EventReturned, Paused, Resumed, WaiterArrived, Woken
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import TaskFinished
from tornflow.model.messages import HandOver

PICKY = """
workspace: demo
dagName: picky
type: flow
tasks:
  - category: pass
    name: before
    next: gate
    timeline: {suspenseIntervalSeconds: 5}
  - category: suspense
    name: gate
    event: go
    conditions: [$.input.event.last]
    inputMappings: [{source: $.context.event, target: $.input.event}]
    outputMappings: [{source: $.output.event, target: $.context.event}]
"""


def started(text: str) -> tuple[Play, Scope]:
    play = Play(text, {}, {})
    return play, play.start(play.flow, {})


def told(play: Play, scope: Scope, event: Any) -> list[Command]:
    commands: list[Command] = []
    apply(scope, event, commands)
    assert_in_order(scope)
    scope.saved()
    return commands


def test_a_thousand_kept_events_are_offered_in_a_row() -> None:
    play, scope = started(PICKY)
    for number in range(1000):
        play.send(scope, EventRaised(play.now, "GO", {"last": 1} if number == 999 else {"n": number}))
    play.let_timers_fire()
    assert scope.state.status == "SUCCEED"
    assert scope.state.context["event"] == {"last": 1}


def test_a_pause_keeps_events_and_resume_gives_them_out_in_order() -> None:
    play, scope = started(PICKY)
    play.let_timers_fire()
    play.send(scope, Paused(play.now))
    for payload in ({"n": 1}, {"last": 2}, {"last": 3}):
        play.send(scope, EventRaised(play.now, "go", payload))
    assert len(scope.state.events) == 3
    play.send(scope, Resumed(play.now))
    assert scope.state.status == "SUCCEED"
    assert scope.state.context["event"] == {"last": 2}


def handed(scope: Scope) -> list[tuple[str, HandOver]]:
    found = [(name, posted.message) for name, posted in scope.state.outbox.items()]
    return [(name, message) for name, message in found if isinstance(message, HandOver)]


def arrived(play: Play, root: Scope, path: str, since: int) -> WaiterArrived:
    return WaiterArrived(play.now, path, "gate", ("go",), since, (*root.state.generation, 1))


def test_an_event_that_comes_back_is_taken_by_one_who_took_a_later_one() -> None:
    play, root = started(PICKY)
    for path in ("loop_0", "loop_1"):
        told(play, root, arrived(play, root, path, play.now))
    told(play, root, EventRaised(play.now, "go", "first"))
    told(play, root, EventRaised(play.now, "go", "second"))
    (returned, first), (_, second) = handed(root)
    assert [first.path, second.path] == ["loop_0", "loop_1"]
    told(play, root, arrived(play, root, "loop_1", play.now))  # not satisfied, waits again
    told(play, root, EventReturned(play.now, returned))
    _, again = handed(root)[-1]
    assert (again.path, again.payload) == ("loop_1", "first")
    assert again.number > second.number


def test_a_doubled_event_is_taken_once() -> None:
    play, scope = started(PICKY)
    play.let_timers_fire()
    event = EventHandedOver(play.now, "gate", 7, {"n": 1}, scope.state.generation)
    told(play, scope, event)
    attempt = scope.state.tasks["gate"]
    assert attempt.last_event == 7
    assert told(play, scope, event) == []
    play.send(scope, Woken(play.now, "gate", {"event": {"last": 1}}))
    assert scope.state.status == "SUCCEED"


def test_an_event_for_a_run_before_the_redo_is_refused() -> None:
    play, scope = started(PICKY)
    play.let_timers_fire()
    with pytest.raises(TaskFinished):
        told(play, scope, EventHandedOver(play.now, "gate", 7, {"last": 1}, ("another life",)))
    assert scope.state.status == "RUNNING"


def test_a_waiter_of_an_earlier_life_is_not_enrolled() -> None:
    play, root = started(PICKY)
    told(play, root, WaiterArrived(play.now, "loop_0", "gate", ("go",), play.now, ("another life", 1)))
    assert len(root.state.waiters) == 0


def test_a_waiter_that_is_told_of_twice_is_enrolled_once_and_one_of_a_later_run_takes_its_place() -> None:
    play, root = started(PICKY)
    first = arrived(play, root, "loop_0", play.now)
    told(play, root, first)
    told(play, root, first)
    assert [one.generation for one in root.state.waiters] == [(*root.state.generation, 1)]
    told(play, root, replace(first, generation=(*root.state.generation, 2), since=play.now + 5))
    assert [one.generation for one in root.state.waiters] == [(*root.state.generation, 2)]
