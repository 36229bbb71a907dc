"""Makes a failing plan smaller while it keeps failing in the same way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.flows import Flow, Task
from tests.simulation.plan import Plan
from tests.simulation.store import Habits
from tests.simulation.world import Outcome, run

_SAID_BY_CHANCE = re.compile(r"[~(\[{].*|\b[\w:]*\d[\w:.-]*")


def kind_of(problem: str) -> str:
    """Return what is wrong without the names and numbers of this one world."""
    return " ".join(_SAID_BY_CHANCE.sub("", problem).split())[:60]


def shrink(outcome: Outcome, budget: int = 400) -> Outcome:
    """Try smaller plans one after another and return the smallest that still has the first problem."""
    wanted = kind_of(outcome.problems[0])
    best, left = outcome, budget

    def fails(plan: Plan) -> bool:
        nonlocal best, left
        if left == 0:
            return False
        left -= 1
        tried = run(plan)
        if not any(kind_of(problem) == wanted for problem in tried.problems):
            return False
        best = tried
        return True

    size = None
    while size != _size(best.plan) and left:
        size = _size(best.plan)
        for step in (_parts("faults"), _parts("actions"), _calmer, _parts("flows"), _smaller_flows):
            _take_steps(lambda: best.plan, step, fails)
    return best


def _size(plan: Plan) -> int:
    return len(plan.lines()) + sum(len(flow.everything()) for flow in (*plan.flows, *plan.children)) + plan.nodes


def _take_steps(
    current: Callable[[], Plan], step: Callable[[Plan], Iterator[Plan]], fails: Callable[[Plan], bool]
) -> None:
    """Go on from the first smaller plan that fails, until none does."""
    while any(fails(plan) for plan in step(current())):
        pass


def _parts(name: str) -> Callable[[Plan], Iterator[Plan]]:
    """Leave out halves, quarters, ... and single entries of a list of the plan."""

    def smaller(plan: Plan) -> Iterator[Plan]:
        entries = getattr(plan, name)
        least = 1 if name == "flows" else 0
        size = len(entries)
        while size >= 1:
            for first in range(0, len(entries), size):
                rest = entries[:first] + entries[first + size :]
                if len(rest) >= least and len(rest) < len(entries):
                    yield replace(plan, **{name: rest})
            size //= 2

    return smaller


def _calmer(plan: Plan) -> Iterator[Plan]:
    calm = Habits(pace_s=plan.habits.pace_s)
    if plan.nodes > 1:
        faults = tuple(one for one in plan.faults if one.node < plan.nodes - 1)
        yield replace(plan, nodes=plan.nodes - 1, faults=faults)
    for change in (
        {"habits": calm},
        {"habits": replace(plan.habits, slow_share=0.0)},
        {"habits": replace(plan.habits, batch_s=0.0)},
        {"skews_ms": (0,) * len(plan.skews_ms)},
        {"tuning": {}},
        {"rules": {}},
        {"pace_s": 0.01},
    ):
        smaller = replace(plan, **change)  # type: ignore[arg-type]
        if smaller != plan:
            yield smaller


def _smaller_flows(plan: Plan) -> Iterator[Plan]:
    for number, flow in enumerate(plan.flows):
        for smaller in _fewer_tasks(flow.tasks):
            flows = (*plan.flows[:number], replace(flow, tasks=smaller), *plan.flows[number + 1 :])
            yield replace(plan, flows=flows)
        plain = Flow(flow.name, flow.tasks)
        if plain != flow:
            yield replace(plan, flows=(*plan.flows[:number], plain, *plan.flows[number + 1 :]))


def _fewer_tasks(tasks: tuple[Task, ...]) -> Iterator[tuple[Task, ...]]:
    for gone in tasks:
        rest = tuple(_unlinked(one, gone.name) for one in tasks if one is not gone)
        if rest:
            yield rest
    for number, task in enumerate(tasks):
        for other in _simpler(task):
            yield (*tasks[:number], other, *tasks[number + 1 :])


def _unlinked(task: Task, gone: str) -> Task:
    following = tuple(name for name in task.next if name != gone)
    return replace(task, next=following, before=tuple(name for name in task.before if name != gone))


def _simpler(task: Task) -> Iterator[Task]:
    if task.size > 1:
        yield replace(task, size=1)
    for number, body in enumerate(task.bodies):
        for smaller in _fewer_tasks(body):
            yield replace(task, bodies=(*task.bodies[:number], smaller, *task.bodies[number + 1 :]))
    plain = Task(task.name, "sync", task.next, task.before)
    if plain != task:
        yield plain
    for change in ({"is_shaky": False}, {"timeout_s": 0, "never": 0}, {"fails": 0}, {"retries": 0}, {"limit": 0}):
        if any(getattr(task, name) != value for name, value in change.items()):
            yield replace(task, **change)  # type: ignore[arg-type]
