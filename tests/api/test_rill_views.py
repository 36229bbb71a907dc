"""Progress and the odd corners of FlowView (rill-http-api 4.10)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tornflow.api.rill.handler import without_nulls
from tornflow.api.rill.views import flow_view, group_view, invoke_msg, progress, task_view
from tornflow.model.descriptor import Descriptor, ForeachTask, Iteration, PassTask, Progress
from tornflow.model.execution import GroupsState, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.status import Category, FlowStatus, TaskStatus


def task(name: str, weight: int = 1, calculation: str | None = None) -> PassTask:
    return PassTask(
        name=name, category=Category.PASS, document={}, progress=Progress(weight=weight, calculation=calculation)
    )


def state(**statuses: TaskStatus) -> ScopeState:
    made = ScopeState(ScopeKey("x"), "", FlowStatus.RUNNING)
    made.tasks = {name: TaskState(name, status, invocations=[[1000, None]]) for name, status in statuses.items()}
    return made


@pytest.mark.parametrize("ended", [TaskStatus.SUCCEED, TaskStatus.FAILED, TaskStatus.SKIPPED])
def test_progress_is_weighed_and_truncated(ended: TaskStatus) -> None:
    tasks = [task("a", 2), task("b", 3), task("c")]
    assert progress(state(a=ended, b=TaskStatus.RUNNING), tasks, now=0) == 33


def test_a_calculation_counts_while_its_task_runs() -> None:
    seen: list[tuple[str, Mapping[str, Any]]] = []

    def evaluate(text: str, variables: Mapping[str, Any]) -> float:
        seen.append((text, variables))
        return 0.5

    tasks = [task("a", calculation="half"), task("b", calculation="half")]
    running = state(a=TaskStatus.RUNNING)
    running.tasks["a"].progress_args = {"frames": 7}
    assert progress(running, tasks, now=1500, evaluate=evaluate) == 25
    assert seen == [("half", {"params": {"frames": 7}, "taskRunningTimeInMillis": 500})]
    assert progress(running, tasks, now=1500) == 0


@pytest.mark.parametrize("result", ["no number", None, float("nan"), 10**9, -5])
def test_a_calculation_that_breaks_leaves_a_percentage(result: Any) -> None:
    tasks = [task("a", calculation="odd"), task("b")]
    both = state(a=TaskStatus.RUNNING, b=TaskStatus.SUCCEED)
    assert 0 <= progress(both, tasks, now=0, evaluate=lambda *_: result) <= 100


def test_weights_of_nothing_fall_back_to_counting() -> None:
    assert progress(state(a=TaskStatus.SUCCEED), [task("a", 0), task("b", 0)], now=0) == 50
    assert progress(state(), [], now=0) == 0


def test_a_task_that_was_never_touched_has_no_message() -> None:
    assert invoke_msg(TaskState("a")) is None
    assert invoke_msg(replace(TaskState("a"), msg="skipped")) is not None


# --- groups


def groups(marks: str, started: int, still_open: int, identities: list[str | None] | None = None) -> GroupsState:
    return GroupsState(len(marks), bytearray(marks, "ascii"), started, still_open, identities=identities)


def with_groups(found: GroupsState, status: TaskStatus = TaskStatus.RUNNING) -> ScopeState:
    made = state(a=status)
    made.tasks["a"].groups = found
    return made


def test_groups_are_shown_by_index_with_raw_names() -> None:
    found = groups("SFKRN", 4, 1, ["x", None, "", "7", None])
    view = task_view(task("a"), with_groups(found).tasks["a"])
    words = ["SUCCEED", "FAILED", "SKIPPED", "RUNNING", "READY"]
    assert view["sub_group_index_to_status"] == {str(index): word for index, word in enumerate(words)}
    assert view["sub_group_index_to_identity"] == {"0": "x", "2": "", "3": "7"}
    assert "sub_group_index_to_status" not in task_view(task("a"), TaskState("a"))


def test_a_started_foreach_has_the_mapping_that_clients_look_for() -> None:
    collection = Iteration("$.input.l", "x")
    loop = ForeachTask(name="l", category=Category.FOREACH, document={}, iteration=collection, tasks=())
    empty = TaskState("l", TaskStatus.SUCCEED)  # of an empty list: without groups
    assert task_view(loop, empty)["sub_group_key_judgement_mapping"] == {}
    for view in (task_view(loop, TaskState("l")), task_view(loop, None), task_view(task("a"), empty)):
        assert "sub_group_key_judgement_mapping" not in view


def test_tasks_of_a_branch_that_was_not_taken_have_no_message() -> None:
    passed_over = group_view([task("a")], None, "c_1", is_passed_over=True)["c_1-a"]
    assert (passed_over["status"], "invoke_msg" in passed_over) == ("SKIPPED", False)


def test_a_loop_counts_for_the_share_of_its_groups_that_ended() -> None:
    tasks = [task("a", 3), task("b")]
    assert progress(with_groups(groups("SRNN", 2, 1)), tasks, now=0) == 18  # 3/4 of 1/4, truncated
    assert progress(with_groups(groups("KKKK", 4, 0)), tasks, now=0) == 75
    assert progress(with_groups(groups("", 0, 0)), tasks, now=0) == 0


def test_a_calculation_wins_over_the_groups() -> None:
    tasks = [task("a", calculation="tenth"), task("b")]
    assert progress(with_groups(groups("SR", 2, 1)), tasks, now=0, evaluate=lambda *_: 0.1) == 5


def test_a_hundred_thousand_groups_are_shown_in_less_than_100_ms() -> None:
    count = 100_000
    found = GroupsState(count, bytearray([Mark.SUCCEED]) * count, count, 1)
    found.identities = [f"sku-{index}" for index in range(count)]
    descriptor = Descriptor(workspace="w", dag_name="d", type="flow", md5="", document={}, tasks=(task("a"),))
    made = with_groups(found)
    best = min(_seconds(lambda: without_nulls({"ret": flow_view(made, descriptor, now=0)})) for _ in range(8))
    assert best < 0.1


def _seconds(work: Any) -> float:
    before = time.process_time()  # others use this machine too
    work()
    return time.process_time() - before
