"""Pause, resume and degrade of groups: numbered, so that their order does not matter (engine/control.py)."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.unit.by_hand import ByHand, function, loop, started
from tornflow.engine.commands import Deliver
from tornflow.engine.events import Controlled, Degraded, Paused, Resumed
from tornflow.engine.groups import group_state, run_of
from tornflow.engine.transition import apply
from tornflow.model.messages import ControlGroups

BODY = (function("a", next="b"), function("b"))


def deaf() -> ByHand:
    """A loop whose messages to groups are not delivered; the test does."""
    play = ByHand(loop(*BODY))
    play.carry = lambda *_: True  # type: ignore[method-assign]
    return play.begin()


def told(play: ByHand, *events: Any) -> list[Controlled]:
    """Return what each decision would tell a group."""
    found = []
    for event in events:
        play.tell(event)
        state = play.at().state
        run = run_of(play.at(), state.tasks["loop"])
        degrade = {name: list(flags) for name, flags in state.degrade.items()}
        found.append(Controlled(play.now, run, state.control, state.is_paused, degrade))
    return found


DECISIONS = (Paused(1), Degraded(2, "b", True, False), Resumed(3), Degraded(4, "b", False, True))


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_in_any_order_a_group_ends_with_what_was_decided_last(order: tuple[int, ...]) -> None:
    play = deaf()
    messages = told(play, *DECISIONS)
    for place in order:
        play.tell(messages[place], "loop_0")
    group = play.at("loop_0").state
    assert (group.control, group.is_paused, group.degrade) == (4, False, {"b": [False, True]})


def test_the_same_word_twice_changes_nothing() -> None:
    play = deaf()
    (message,) = told(play, Paused(1))
    play.tell(message, "loop_0")
    before = play.saved[play.at("loop_0").state.key]
    play.tell(message, "loop_0")
    assert play.saved[play.at("loop_0").state.key] == before


def test_a_decision_that_decides_nothing_is_not_counted() -> None:
    play = started(loop(*BODY))
    for event in (Resumed(1), Paused(2), Paused(3), Degraded(4, "b", True, True), Degraded(5, "b", True, True)):
        play.tell(event)
    assert play.at().state.control == 2


def test_a_new_group_starts_with_what_its_parent_was_told() -> None:
    play = deaf()
    told(play, Degraded(1, "b", True, False), Paused(2))
    state = group_state(play.at(), play.state_of("loop"), 1)
    assert (state.control, state.is_paused, state.degrade) == (2, True, {"b": [True, False]})
    assert state.generation == (*play.at().state.generation, 1)


def test_what_was_told_to_an_earlier_run_of_a_group_does_not_reach_the_present_one() -> None:
    play = deaf()
    (message,) = told(play, Paused(1))
    before = play.saved[play.at("loop_0").state.key]
    other = Controlled(message.at, ("another life", 1), 9, True, {})
    play.tell(other, "loop_0")
    assert play.saved[play.at("loop_0").state.key] == before


def test_only_the_newest_decision_lies_in_the_outbox() -> None:
    play = deaf()
    scope, commands = play.at(), []
    for event in DECISIONS:
        apply(scope, event, commands)
    (posted,) = scope.state.outbox.values()
    assert posted.message == ControlGroups(4)
    assert sum(isinstance(command, Deliver) for command in commands) == 4


def test_a_group_passes_on_what_it_is_told() -> None:
    inner = {**loop(function("leaf")), "name": "inner"}
    play = started(loop(inner))
    play.tell(Paused(play.now))
    paths = ("loop_0", "loop_1", "loop_0-inner_0", "loop_1-inner_1")
    assert [play.at(path).state.is_paused for path in paths] == [True] * 4
    play.tell(Resumed(play.now))
    assert [play.at(path).state.is_paused for path in paths] == [False] * 4


def test_completions_during_a_pause_take_effect_on_resume_in_every_group() -> None:
    play = started(loop(function("a", "task_sync", next="b"), function("b", "task_sync")))
    play.tell(Paused(play.now))
    play.answer({"v": 1})
    assert play.attempts == []
    play.tell(Resumed(play.now))
    assert sorted(command.task for _, command in play.attempts) == ["b", "b"]
    play.answer({"v": 1})
    assert play.at().state.status == "SUCCEED"
