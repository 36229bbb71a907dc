"""Progress and the odd corners of FlowView (rill-http-api 4.10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tornflow.api.rill.views import invoke_msg, progress
from tornflow.model.descriptor import PassTask, Progress
from tornflow.model.execution import ScopeKey, ScopeState, TaskState
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
