"""Whole executions with groups and sub-flows: any order of work, anything doubled, crashes anywhere.

Every step keeps the invariants (tests/unit/engine_world.py), and when everybody answers, everything ends: the
execution, its groups, its sub-flows; nothing is left to deliver and nobody has it in hand.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine_world import World
from tornflow.descriptors import parse_descriptor
from tornflow.engine.events import (
    AttemptEnded,
    Degraded,
    EventRaised,
    Paused,
    Redone,
    Resumed,
    StatusForced,
    TaskCompleted,
    Terminated,
    Woken,
)
from tornflow.engine.program import Program, Rules, compile_program
from tornflow.engine.scope import Scope
from tornflow.model.descriptor import FunctionTask, SuspenseTask
from tornflow.model.execution import ScopeKey
from tornflow.model.status import TaskStatus

RULES = Rules(inline_tasks_per_step=2, event_buffer=3, context_limit_bytes=2000)


def transforms(text: str) -> Any:
    """Return a transform that says what it is: ``broken`` raises."""

    def transform(_variables: Any) -> Any:
        raise ValueError(f"{text} transform")

    return transform


def compiled(flow: dict[str, Any]) -> Program:
    return compile_program(parse_descriptor(yaml.safe_dump(flow)), transforms)


def flow_of(name: str, tasks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"workspace": "demo", "dagName": name, "type": "flow", "tasks": tasks, **more}


CHILD = compiled(
    flow_of(
        "child",
        [
            {
                "category": "foreach",
                "name": "each",
                "inputMappings": [{"source": "[1, 2]", "target": "$.input.l"}],
                "iterationMapping": {"collection": "$.input.l", "item": "x"},
                "outputMappings": [{"source": "$.output.sub_context", "target": "$.context.done"}],
                "tasks": [
                    {"category": "function", "name": "inner", "pattern": "task_async", "resourceName": "http://svc"}
                ],
            }
        ],
    )
)
CHILDREN = {"rillflow://demo:child": CHILD}


# --- random flows

KINDS = [
    "pass", "sync", "sync", "async", "async", "scheduler", "child", "detached", "return", "switch", "suspense",
    "foreach", "foreach", "choice",
]  # fmt: skip


@st.composite
def flows(draw: st.DrawFn) -> dict[str, Any]:
    names = (f"t{number}" for number in itertools.count())
    tasks = _tasks(draw, names, depth=1)
    timer = {"timeoutInSeconds": draw(st.integers(1, 60))} if draw(st.integers(0, 3)) == 0 else {}
    return flow_of("ex", tasks, timeline=timer)


def _tasks(draw: st.DrawFn, names: Any, depth: int) -> list[dict[str, Any]]:
    """Edges only lead forward, so there is no cycle."""
    mine = [next(names) for _ in range(draw(st.integers(1, 4 if depth == 1 else 2)))]
    tasks = []
    for number, name in enumerate(mine):
        after = [other for other in mine[number + 1 :] if draw(st.booleans())]
        kinds = KINDS if depth < 3 else [kind for kind in KINDS if kind not in ("foreach", "choice")]
        task = {"name": name, "next": ",".join(after)} | _kind(draw, draw(st.sampled_from(kinds)), after, names, depth)
        tasks.append(task | _extras(draw))
    return tasks


def _extras(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if draw(st.integers(0, 5)) == 0:
        found["degrade"] = {"currentTask": draw(st.booleans()), "followings": draw(st.booleans())}
    if draw(st.integers(0, 5)) == 0:
        found |= {"inputType": draw(st.sampled_from(["stream", "block"]))}
        found |= {"outputType": draw(st.sampled_from(["stream", "block"]))}
    return found


def _timeline(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "timeoutInSeconds": draw(st.sampled_from([0, 0, 3, 20])),
        "suspenseIntervalSeconds": draw(st.sampled_from([0, 0, 2])),
        "skipOnTimeout": draw(st.sampled_from(["true", "false"])),
    }


def _kind(draw: st.DrawFn, kind: str, after: list[str], names: Any, depth: int) -> dict[str, Any]:
    is_tolerant = draw(st.integers(0, 3)) > 0
    broken = {"transform": "broken"} if draw(st.integers(0, 5)) == 0 else {}
    rule = {"source": "$.output.v", "target": "$.context.v", "tolerance": is_tolerant}
    mapping = {"outputMappings": [rule | broken]}
    tolerance = {"tolerance": draw(st.booleans()), "timeline": _timeline(draw)}
    condition = st.sampled_from(["$.input.v", "$.input.x", "$.input[?(", "$.input"])
    reads = {"inputMappings": [{"source": "$.context.v", "target": "$.input.v"}]}
    match kind:
        case "pass":
            return {"category": "pass", **mapping, **reads}
        case "return":
            return {"category": "return", **reads, "conditions": [draw(condition)] if draw(st.booleans()) else []}
        case "switch":
            cases = [{"condition": draw(st.sampled_from(["default", "$.input.v"])), "next": name} for name in after]
            return {"category": "switch", "switches": cases, **reads}
        case "suspense":
            return _suspense(draw) | tolerance | reads
        case "foreach":
            return _foreach(draw, names, depth) | tolerance
        case "choice":
            branches = [
                {"condition": draw(condition), "tasks": _tasks(draw, names, depth + 1)}
                for _ in range(draw(st.integers(1, 2)))
            ]
            return {"category": "choice", "choices": branches, **reads, **tolerance, **mapping}
    pattern = {"sync": "task_sync", "async": "task_async", "child": "flow_sync", "detached": "flow_async"}
    is_flow = kind in ("child", "detached")
    retry = {"maxRetryTimes": draw(st.integers(0, 2)), "intervalInSeconds": draw(st.integers(0, 3))}
    return {
        "category": "function",
        "pattern": pattern.get(kind, "task_scheduler"),
        "resourceName": "rillflow://demo:child" if is_flow else "http://svc",
        "successConditions": ["$.output.v"] if draw(st.integers(0, 4)) == 0 else [],
        "retry": retry,
        **mapping,
        **tolerance,
    }


def _suspense(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "category": "suspense",
        "outputMappings": [
            {"source": "$.output.v", "target": "$.context.v"},
            {"source": "$.output.event.v", "target": "$.context.v"},
        ],
    }
    if draw(st.booleans()):
        found["event"] = draw(st.sampled_from(["go", "other"]))
    if "event" not in found or draw(st.booleans()):
        found["conditions"] = ["$.input.v"]
    if draw(st.integers(0, 3)) == 0:
        found["interruptions"] = ["$.input.stop"]
    return found


def _foreach(draw: st.DrawFn, names: Any, depth: int) -> dict[str, Any]:
    elements = draw(st.sampled_from(["[1]", "[1, 2]", "[1, 2, 3]", "[{}, null]", "[]", "7"]))
    found: dict[str, Any] = {
        "category": "foreach",
        "inputMappings": [
            {"source": elements, "target": "$.input.l"},
            {"source": "$.context.v", "target": "$.input.v"},
        ],
        "iterationMapping": {"collection": "$.input.l", "item": "x", "index": "i"},
        "outputMappings": [{"source": "$.output.sub_context", "target": "$.context.subs"}, *_breaks(draw)],
        "tasks": _tasks(draw, names, depth + 1),
    }
    if draw(st.booleans()):
        limit = draw(st.sampled_from(["1", "2", "0", "x", "$.input.v"]))
        found["synchronization"] = {"maxConcurrency": limit, "conditions": draw(st.sampled_from([[], ["$.input.l"]]))}
    return found


def _breaks(draw: st.DrawFn) -> list[dict[str, Any]]:
    broken = {"source": "1", "target": "$.context.n", "transform": "broken", "tolerance": False}
    return [broken] if draw(st.integers(0, 5)) == 0 else []


# --- random stories


STORY = st.lists(
    st.tuples(st.sampled_from("wwwwwwaaaaccttrrkkdpuxfeeoogsv"), st.integers(0, 999)), min_size=5, max_size=40
)


def tell(world: World, root: ScopeKey, what: str, choice: int) -> None:
    roots = [scope.state.key for scope in world.scopes() if not scope.state.key.path]
    some_root = roots[choice % len(roots)]
    match what:
        case "w" if world.todo:
            world.todo.pop(choice % len(world.todo))()
        case "d" if world.todo:
            world.todo[choice % len(world.todo)]()
        case "a" if world.attempts:
            answer(world, choice)
        case "c":
            complete_one(world, choice)
        case "t":
            world.wait(choice % 23)
        case "r" if world.past:
            world.send(*world.past[choice % len(world.past)])
        case "k":
            world.crash(choice)
        case "v":
            live = list(world.live)
            world.live.pop(live[choice % len(live)], None)
        case "e":
            payload = [None, {"v": 1}, 3][choice % 3]
            world.send(some_root, EventRaised(world.now, "Go" if choice % 2 else "other", payload))
        case _:
            steer(world, root if choice % 2 else some_root, what, choice)


def steer(world: World, key: ScopeKey, what: str, choice: int) -> None:
    scope = world.scope(key)
    assert scope is not None
    names = list(scope.graph.tasks)
    name = names[choice % len(names)]
    match what:
        case "p":
            world.send(key, Paused(world.now))
        case "u":
            world.send(key, Resumed(world.now))
        case "x" if choice % 3 == 0:
            world.send(key, Terminated(world.now))
        case "f" if choice % 3 == 0:
            world.send(key, StatusForced(world.now, choice % 2 == 0))
        case "o":
            world.send(key, Redone(world.now, (name,) if choice % 3 else (), {"v": 1} if choice % 5 == 0 else {}))
        case "g":
            every = [*names, *itertools.chain(*(graph.tasks for graph in scope.program.bodies.values()))]
            world.send(key, Degraded(world.now, every[choice % len(every)], choice % 2 == 0, choice % 3 == 0))


def answer(world: World, choice: int) -> None:
    key, command = world.attempts.pop(choice % len(world.attempts))
    value = [{"v": 1}, {}, None, [1], {"result_type": "FAILED", "v": 2}, "text"][choice % 6]
    error = "refused" if choice % 7 == 6 else None
    world.send(key, AttemptEnded(world.now, command.task, command.attempt, value, error))


def waiting(world: World) -> list[tuple[Scope, str]]:
    """Return the tasks that somebody outside can complete: the shell refuses those of finished executions."""
    found = []
    for scope in world.scopes():
        root = world.scope(ScopeKey(scope.state.key.execution_id))
        if root is None or root.state.status.is_completed:
            continue
        found += [(scope, task.name) for task in scope.state.tasks.values() if task.status is TaskStatus.RUNNING]
    return found


def complete_one(world: World, choice: int) -> None:
    found = waiting(world)
    if found:
        complete(world, *found[choice % len(found)], choice)


def complete(world: World, scope: Scope, name: str, choice: int) -> None:
    key = scope.state.key
    definition = scope.graph.tasks[name].definition
    if isinstance(definition, SuspenseTask):
        world.send(key, Woken(world.now, name, [{}, {"v": 1}, {"w": 1}][choice % 3]))
    elif isinstance(definition, FunctionTask):
        world.send(key, TaskCompleted(world.now, name, {"v": choice} if choice % 4 else {}, choice % 3 != 0))


def bring_to_the_end(world: World) -> None:
    """Everybody answers, wakes and waits long enough: then everything must end, in a bounded number of steps."""
    for round_number in range(80):
        for scope in world.scopes():
            if not scope.state.key.path:
                world.send(scope.state.key, Resumed(world.now))
        steps = 0
        while world.todo:
            world.todo.pop(0)()
            steps += 1
            assert steps < 5000, "commands follow commands without end"
        while world.attempts:
            key, command = world.attempts.pop(0)
            world.send(key, AttemptEnded(world.now, command.task, command.attempt, {"v": 1}))
        for scope, name in waiting(world):
            complete(world, scope, name, 1 + 6 * round_number)
        for scope in world.scopes():
            if not scope.state.key.path:
                world.send(scope.state.key, EventRaised(world.now, "go", {"v": 1}))
                world.send(scope.state.key, EventRaised(world.now, "other", {"v": 1}))
        world.wait(100)
        if not world.todo and not world.attempts and all(one.state.status.is_completed for one in world.scopes()):
            return


def assert_all_over(world: World) -> None:
    for scope in world.scopes():
        state = scope.state
        assert state.status.is_completed, (state.key, state.status, {n: t.status for n, t in state.tasks.items()})
        assert state.outbox == {}, state.key
        stored = world.saved[state.key]
        assert (stored.owner, stored.due_at) == (None, None), state.key
        assert not any(task.is_in_flight for task in state.tasks.values())


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(flows(), STORY, st.sampled_from([0, 16_384]), st.booleans(), st.booleans())
def test_any_world_keeps_the_invariants_and_ends(
    flow: dict[str, Any], story: list[tuple[str, int]], inline_limit: int, crashes_last: bool, has_nodes: bool
) -> None:
    world = World(CHILDREN, inline_limit, replace(RULES, has_nodes=has_nodes))
    root = ScopeKey(world.start(compiled(flow), {"v": 1} if len(story) % 2 else {}))
    for what, choice in story:
        tell(world, root, what, choice)
    if crashes_last:
        world.crash(len(story))
    bring_to_the_end(world)
    assert_all_over(world)
