"""Every invariant of stored scopes finds what breaks it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tornflow.model.execution import Batch, GroupsState, KeptEvent, Mark, ParentLink, ScopeKey, ScopeState, TaskState
from tornflow.model.messages import GroupReport, Posted
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.runtime.codec import summary_of
from tornflow.runtime.invariants import (
    child_problems,
    group_problems,
    missing_groups,
    owners_in,
    scope_problems,
    stored_problems,
    summary_problems,
)
from tornflow.spi.storage import StoredScope

ID = "demo:flow_c_1"


def root() -> ScopeState:
    """Three groups: the first has ended, the second runs, the third waits."""
    marks = bytearray([Mark.SUCCEED, Mark.RUNNING, Mark.WAITING])
    groups = GroupsState(3, marks, next=2, open=1, limit=1, items=[1, 2, 3], holder="n1")
    task = TaskState("loop", TaskStatus.RUNNING, attempt=2, invocations=[[1, None]], groups=groups)
    state = ScopeState(ScopeKey(ID), "0" * 32, FlowStatus.RUNNING, revision=4, tasks={"loop": task})
    state.generation = ("life",)
    return state


def group(index: int = 1) -> ScopeState:
    task = TaskState("work", TaskStatus.RUNNING, attempt=1, owner="n2", timer="timeout", due_at=9)
    state = ScopeState(ScopeKey(ID, f"loop_{index}"), "0" * 32, FlowStatus.RUNNING, tasks={"work": task})
    state.generation = ("life", 2)
    return state


def ended(state: ScopeState) -> ScopeState:
    state.status, state.finished_at, state.expires_at = FlowStatus.SUCCEED, 5, 9
    for task in state.tasks.values():
        task.status, task.owner, task.timer, task.due_at = TaskStatus.SUCCEED, None, None, None
        if task.groups is not None:
            task.groups.holder = None
    return state


def stored(state: ScopeState, **columns: Any) -> StoredScope:
    due = [task.due_at for task in state.tasks.values() if task.due_at is not None]
    whole = StoredScope(
        state.key, 4, b"", {}, state.life, tuple(sorted(owners_in(state))), min(due) if due else None
    )  # fmt: skip
    return replace(whole, **columns)


def test_nothing_is_found_where_all_is_well() -> None:
    for state in (root(), group(), ended(root()), ended(group())):
        assert scope_problems(state) == []
        assert stored_problems(stored(state), state) == []
    assert summary_problems(summary_of(root()), root()) == []
    assert group_problems(group(), root()) == []
    assert missing_groups(root(), root().tasks["loop"], {0, 1}) == []


Change = Callable[[ScopeState], Any]


def groups_of(state: ScopeState) -> GroupsState:
    groups = state.tasks["loop"].groups
    assert groups is not None
    return groups


def change(**values: Any) -> Change:
    return lambda state: [setattr(state, name, value) for name, value in values.items()]


def change_groups(**values: Any) -> Change:
    return lambda state: [setattr(groups_of(state), name, value) for name, value in values.items()]


def change_task(**values: Any) -> Change:
    return lambda state: [setattr(state.tasks["loop"], name, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("break_it", "code", "words"),
    [
        (change(generation=()), "generation", "0 levels"),
        (change(generation=("life", 1)), "generation", "0 levels"),
        (change(reported="FAILED"), "root", "nobody to report to"),
        (change(finished_at=3), "end", "finished at 3"),
        (change_task(status=TaskStatus.NOT_STARTED), "stuck", "nothing runs"),
        (change_task(due_at=3), "task", "no timer is named"),
        (change_task(attempt_base=3), "task", "2 attempts after 3"),
        (change_task(invocations=[[1, None], [2, None]]), "task", "never ended"),
        (change_groups(total=4, items=None), "groups", "3 marks for 4"),
        (change_groups(marks=bytearray(b"SRX"), next=3), "groups", "unknown marks"),
        (change_groups(open=2, limit=0), "groups", "2 are counted as running, 1"),
        (change_groups(next=3), "groups", "the first 3 have started"),
        (change_groups(next=1), "groups", "the first 1 have started"),
        (change_groups(marks=bytearray(b"RRN"), open=2), "groups", "2 run, 1 may"),
        (change_groups(items=[1]), "groups", "1 elements for 3"),
        (change_groups(marks=bytearray(b"SSS"), next=3, open=0), "groups", "nobody gathers"),
        (change_groups(marks=bytearray(b"SSN"), open=0), "groups", "nothing starts them"),
    ],
)
def test_what_is_wrong_within_a_scope_is_found(break_it: Change, code: str, words: str) -> None:
    state = root()
    break_it(state)
    assert [problem.code for problem in scope_problems(state)] == [code]
    assert words in scope_problems(state)[0].message


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (change(finished_at=None), "without the moment"),
        (change(expires_at=None), "never expires"),
        (change(due_at=7), "paused or due"),
        (change(is_paused=True), "paused or due"),
        (change(events={1: KeptEvent("go", None)}), "events or waiters are left"),
    ],
)
def test_what_an_ended_scope_may_not_have_is_found(break_it: Change, words: str) -> None:
    state = ended(root())
    break_it(state)
    (problem,) = scope_problems(state)
    assert problem.code == "end" and words in problem.message


def test_an_attempt_of_a_task_that_does_not_run_is_found() -> None:
    state = group()
    state.tasks["work"].status = TaskStatus.SUCCEED
    assert "task" in [problem.code for problem in scope_problems(state)]


def test_what_belongs_to_roots_is_found_in_a_group() -> None:
    state = group()
    state.parent = ParentLink("other", "", "sub", 1)
    assert [problem.code for problem in scope_problems(state)] == ["root"]


@pytest.mark.parametrize(
    ("columns", "code"), [({"life": "other"}, "life"), ({"owners": ()}, "owners"), ({"due_at": None}, "due")]
)
def test_columns_that_do_not_fit_the_state_are_found(columns: dict[str, Any], code: str) -> None:
    assert [problem.code for problem in stored_problems(stored(group(), **columns), group())] == [code]


def test_every_work_in_hand_names_its_owner() -> None:
    state = root()
    groups_of(state).batches, groups_of(state).gatherer = [Batch("n2", 0, 1)], "n3"
    state.outbox = {"report": Posted("n4", GroupReport(FlowStatus.SUCCEED))}
    state.tasks["call"] = TaskState("call", TaskStatus.RUNNING, owner="n5")
    assert owners_in(state) == {"n1", "n2", "n3", "n4", "n5"}


def test_a_timer_where_none_can_fire_is_found() -> None:
    state = ended(group())
    assert [problem.code for problem in stored_problems(stored(state, due_at=3), state)] == ["due"]


def test_a_summary_that_tells_something_else_is_found() -> None:
    state = ended(root())
    wrong = replace(summary_of(state), status="running", finished_at=None)
    assert [problem.message.partition(" is ")[0] for problem in summary_problems(wrong, state)] == [
        "status", "finished_at"
    ]  # fmt: skip
    assert [problem.code for problem in summary_problems(None, state)] == ["summary"]
    assert summary_problems(replace(summary_of(state), descriptor_md5=""), state) == []  # stored before there was one


def test_groups_and_marks_that_contradict_each_other_are_found() -> None:
    def codes(state: ScopeState, parent: ScopeState | None) -> list[str]:
        return [problem.code for problem in group_problems(state, parent)]

    assert codes(group(), None) == ["parent"]
    stray = group()
    stray.generation = ("earlier", 2)
    assert codes(stray, root()) == ["stray"]
    assert codes(group(7), root()) == ["index"]
    assert codes(group(0), root()) == ["mark"]  # counted, though it runs
    assert codes(group(2), root()) == ["mark"]  # not started, though it is there
    earlier = group(0)
    earlier.generation = ("life", 1)
    assert codes(earlier, root()) == []  # left by the run before a redo


def test_a_report_that_nobody_will_deliver_is_found() -> None:
    parent, state = root(), ended(group())
    state.reported = "SUCCEED"
    assert group_problems(state, parent) == []  # the process that holds the groups hears of it
    groups_of(parent).holder = None
    assert [problem.code for problem in group_problems(state, parent)] == ["report"]
    state.outbox = {"report": Posted("n2", GroupReport(FlowStatus.SUCCEED))}
    assert group_problems(state, parent) == []


def test_a_running_group_that_does_not_exist_is_found() -> None:
    parent = root()
    (problem,) = missing_groups(parent, parent.tasks["loop"], {0})
    assert problem.key == ScopeKey(ID, "loop_1") and problem.code == "missing"
    groups_of(parent).batches = [Batch("n1", 1, 1)]
    assert missing_groups(parent, parent.tasks["loop"], {0}) == []  # it is being created


def test_a_sub_flow_that_nobody_waits_for_is_a_warning() -> None:
    child = ScopeState(ScopeKey("child"), "0" * 32, FlowStatus.RUNNING)
    child.parent = ParentLink(ID, "loop_1", "work", 1, ("life", 2))
    parent = group()
    parent.tasks["work"].child_id = "child"
    assert child_problems(child, parent) == []
    parent.tasks["work"].child_id, parent.tasks["work"].owner = "another", None
    over = group()
    over.tasks["work"].attempt = 2
    for wrong in (parent, over, None):
        (problem,) = child_problems(child, wrong)
        assert problem.code == "orphan" and problem.is_warning
    assert child_problems(ended(child), None) == []
