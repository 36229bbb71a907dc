"""Naming again what was in the hands of a node that is gone: all of it, once, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.by_hand import ByHand, function, loop
from tornflow.engine.commands import (
    Command,
    Continue,
    Deliver,
    DispatchTask,
    GatherGroups,
    ReviewGroups,
    StartGroups,
)
from tornflow.engine.events import AttemptEnded, GroupsStarted, Recovered, Terminated
from tornflow.engine.program import Rules
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.model.execution import Mark
from tornflow.model.messages import Posted, SendCallback, StopChild

DEAD, HEIR = "dead", "heir"


class Silent(ByHand):
    """Nothing is carried out: what a step asks for stays in hand."""

    def act(self, scope: Scope, command: Command) -> None: ...


def left_behind(*tasks: dict[str, Any], has_nodes: bool = True) -> ByHand:
    """A scope whose node has died in the middle of all that its first step asked for."""
    play = Silent(*tasks, rules=Rules(has_nodes=has_nodes))
    play.begin()
    for scope in play.scopes:
        assert set(scope.owners) <= {"node"}
    return play


def hand(play: ByHand, owner: str = DEAD) -> Scope:
    """Read the scope as the heir finds it, in the hands of ``owner``."""
    scope = play.read(play.root, play.flow)
    state = scope.state
    for message_id, posted in state.outbox.items():
        state.outbox[message_id] = Posted(owner, posted.message)
    for task in state.tasks.values():
        if task.owner is not None:
            task.owner = owner
        if task.groups is not None:
            groups = task.groups
            groups.batches = [batch._replace(owner=owner) for batch in groups.batches]
            groups.gatherer = owner if groups.gatherer else None
            groups.holder = owner if groups.holder else None
    scope.node = HEIR
    scope.recount()
    return scope


def recover(scope: Scope, owner: str = DEAD) -> list[Command]:
    commands: list[Command] = []
    apply(scope, Recovered(1_700_000_000_000, owner), commands)
    return commands


def test_an_attempt_is_named_again_with_its_number_and_belongs_to_the_heir() -> None:
    play = left_behind(function("a", "task_sync"), function("b"))
    scope = hand(play)
    commands = recover(scope)
    named = sorted((one.task, one.attempt) for one in commands if isinstance(one, DispatchTask))
    assert named == [("a", 1), ("b", 1)]
    assert scope.owners == (HEIR,)
    assert all(scope.state.tasks[name].owner == HEIR for name in ("a", "b"))


def test_a_second_call_and_one_for_an_owner_that_has_changed_do_nothing() -> None:
    scope = hand(left_behind(function("a", "task_sync")))
    recover(scope)
    scope.saved()
    assert recover(scope) == []
    assert recover(scope, "a third node") == []
    assert not scope.is_dirty


def test_work_of_the_living_stays_theirs() -> None:
    scope = hand(left_behind(function("a", "task_sync"), function("b", "task_sync")))
    scope.set_owner(scope.state.tasks["b"], "living")
    commands = recover(scope)
    assert [one.task for one in commands if isinstance(one, DispatchTask)] == ["a"]
    assert scope.owners == (HEIR, "living")


def test_an_answer_to_the_node_that_was_thought_dead_still_counts_once() -> None:
    scope = hand(left_behind(function("a", "task_sync")))
    recover(scope)
    answered = AttemptEnded(1_700_000_000_001, "a", 1, scope.state.generation, {"v": 1})
    for _ in range(2):
        apply(scope, answered, [])
    assert scope.state.status == "SUCCEED"
    assert scope.owners == ()


def test_a_batch_of_groups_is_created_by_the_heir_and_begins_where_it_did() -> None:
    scope = hand(left_behind(loop(function("inner"))))
    commands = recover(scope)
    (start,) = [one for one in commands if isinstance(one, StartGroups)]
    assert (start.first, start.indices) == (0, (0, 1))
    groups = scope.state.tasks["loop"].groups
    assert groups is not None and [batch.owner for batch in groups.batches] == [HEIR]
    apply(scope, GroupsStarted(1_700_000_000_000, "loop", start.generation, start.first), [])
    assert scope.owners == ()


def test_groups_of_a_batch_that_have_reported_are_not_created_again() -> None:
    play = left_behind(loop(function("inner")))
    scope = hand(play)
    groups = scope.state.tasks["loop"].groups
    assert groups is not None
    groups.mark(0, Mark.SUCCEED)
    groups.open -= 1
    (start,) = [one for one in recover(scope) if isinstance(one, StartGroups)]
    assert start.indices == (1,)


def test_results_are_gathered_by_the_heir() -> None:
    scope = hand(left_behind(loop(function("inner"))))
    groups = scope.state.tasks["loop"].groups
    assert groups is not None
    groups.batches, groups.gatherer, groups.open = [], DEAD, 0
    for index in (0, 1):
        groups.mark(index, Mark.SUCCEED)
    scope.recount()
    (gather,) = [one for one in recover(scope) if isinstance(one, GatherGroups)]
    assert (gather.indices, groups.gatherer) == ((0, 1), HEIR)


@pytest.mark.parametrize("has_nodes", [False, True])
def test_groups_that_reported_through_memory_report_again(has_nodes: bool) -> None:
    scope = hand(left_behind(loop(function("inner")), has_nodes=has_nodes))
    reviews = [one for one in recover(scope) if isinstance(one, ReviewGroups)]
    assert [one.indices for one in reviews] == ([] if has_nodes else [(0, 1)])


def test_messages_of_a_finished_scope_are_delivered_by_the_heir_and_nothing_else_happens() -> None:
    play = left_behind(function("a", "task_sync"))
    play.at().state.callback = {"resourceName": "http://told"}
    play.tell(Terminated(play.now))
    scope = hand(play)
    commands = recover(scope)
    assert [type(one) for one in commands] == [Deliver]
    (posted,) = scope.state.outbox.values()
    assert posted == Posted(HEIR, SendCallback(1))
    assert scope.owners == (HEIR,)


def test_only_messages_of_the_dead_are_taken() -> None:
    scope = hand(left_behind(function("a")))
    scope.state.outbox["one"] = Posted(DEAD, StopChild("a", 1, "x"))
    scope.state.outbox["two"] = Posted("living", StopChild("a", 1, "y"))
    scope.recount()
    delivered = [one.message_id for one in recover(scope) if isinstance(one, Deliver)]
    assert delivered == ["one"]
    assert {name: posted.owner for name, posted in scope.state.outbox.items()} == {"one": HEIR, "two": "living"}


def test_tasks_that_a_step_had_left_for_the_next_are_started() -> None:
    """The step before did its share; the node died before it could go on."""
    names = [f"p{number}" for number in range(5)]
    play = Silent(*({"category": "pass", "name": name} for name in names), rules=Rules(inline_tasks_per_step=2))
    play.begin()
    assert play.at().ready and play.saved[play.root].owners == ("node",)
    scope = play.read(play.root, play.flow)
    scope.node = HEIR
    commands = recover(scope, "node")
    assert len(scope.ready) < 3
    assert any(isinstance(one, Continue) for one in commands)


def test_our_own_work_is_named_again_after_a_write_of_unknown_outcome() -> None:
    scope = hand(left_behind(function("a", "task_sync")), HEIR)
    commands = recover(scope, HEIR)
    assert [(type(one), one.task) for one in commands if isinstance(one, DispatchTask)] == [(DispatchTask, "a")]
    assert not scope.is_dirty, "nothing has changed, so nothing is written"
