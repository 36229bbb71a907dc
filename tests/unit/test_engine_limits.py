"""Bounds of an execution that requests could otherwise push without end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.golden.engine_play import Play
from tornflow.engine.commands import Command
from tornflow.engine.events import Degraded, Delivered, EventRaised, Paused, Redone, Resumed, TaskCompleted
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import LimitExceeded
from tornflow.model.execution import ScopeKey

FLOW = """
workspace: demo
dagName: ex
type: flow
tasks:
- {category: function, name: a, pattern: task_async, resourceName: http://svc}
"""


def _running(**rules: int) -> tuple[Play, Scope]:
    play = Play(FLOW, {}, {})
    scope = play.start(play.flow, {})
    scope.rules = replace(scope.rules, **rules)
    return play, scope


def test_redo_cannot_grow_the_context_beyond_its_limit() -> None:
    play, scope = _running(context_limit_bytes=2000)
    before = dict(scope.state.context)
    commands: list[Command] = []
    with pytest.raises(LimitExceeded, match="context_limit_bytes"):
        apply(scope, Redone(play.now, ("a",), {"pad": "x" * 3000}), commands)
    assert (scope.state.context, commands) == (before, [])
    assert scope.status_of("a") == "RUNNING"


def test_kept_events_are_bounded_in_number_and_in_bytes() -> None:
    play, scope = _running(event_buffer=2, context_limit_bytes=2000)
    play.send(scope, EventRaised(play.now, "one", "x" * 1500))
    with pytest.raises(LimitExceeded, match="bytes of events"):
        apply(scope, EventRaised(play.now, "two", "x" * 1500), [])
    play.send(scope, EventRaised(play.now, "two", "small"))
    with pytest.raises(LimitExceeded, match="event_buffer"):
        apply(scope, EventRaised(play.now, "three", "small"), [])
    assert [kept.name for kept in scope.state.events.values()] == ["one", "two"]


def test_a_degrade_after_the_end_counts_for_the_next_redo() -> None:
    play, scope = _running()
    play.send(scope, TaskCompleted(play.now, "a", {}, False))
    play.send(scope, Degraded(play.now, "a", True, False))
    assert scope.state.status == "FAILED"
    play.send(scope, Redone(play.now, (), {}))
    assert (scope.state.status, scope.status_of("a")) == ("SUCCEED", "SKIPPED")


LOOP = """
workspace: demo
dagName: ex
type: flow
tasks:
- category: foreach
  name: F
  inputMappings: [{source: "[1]", target: $.input.l}]
  iterationMapping: {collection: $.input.l, item: x}
  tasks: [{category: function, name: w, pattern: task_async, resourceName: http://svc}]
"""


def test_of_two_orders_of_one_moment_the_groups_follow_the_later() -> None:
    play = Play(LOOP, {}, {})
    scope = play.start(play.flow, {})
    commands: list[Command] = []
    apply(scope, Paused(play.now), commands)
    scope.saved()
    (first,) = scope.state.outbox
    apply(scope, Resumed(play.now), commands)
    # The delivery of the first must not take the second for done: its groups would stay paused for ever.
    apply(scope, Delivered(play.now, first), commands)
    (second,) = scope.state.outbox
    assert second != first
    play.deliver(scope, second)
    assert (play.find(ScopeKey(scope.state.key.execution_id, "F_0")).state.control, scope.state.control) == (2, 2)
