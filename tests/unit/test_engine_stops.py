"""What is stopped with its flow does not run on and does not block a redo: bugs that random worlds found."""

from __future__ import annotations

from typing import Any

from tests.unit.engine_world import World
from tests.unit.test_engine_worlds import CHILDREN, RULES, bring_to_the_end, compiled, flow_of
from tornflow.engine.events import AttemptEnded, Redone, Submitted, Terminated
from tornflow.engine.scope import Scope
from tornflow.model.execution import ScopeKey
from tornflow.model.status import FlowStatus


def function(name: str, pattern: str = "task_async", **more: Any) -> dict[str, Any]:
    return {"category": "function", "name": name, "pattern": pattern, "resourceName": "http://svc", **more}


def loop(*body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "category": "foreach",
        "name": "loop",
        "inputMappings": [{"source": "[1, 2]", "target": "$.input.l"}],
        "iterationMapping": {"collection": "$.input.l", "item": "x"},
        "tasks": list(body),
        **more,
    }


def started(*tasks: dict[str, Any]) -> tuple[World, ScopeKey]:
    world = World(CHILDREN, 0, RULES)
    root = ScopeKey(world.start(compiled(flow_of("ex", list(tasks))), {}))
    settle(world)
    return world, root


def settle(world: World) -> None:
    while world.todo:
        world.todo.pop(0)()


def scope_at(world: World, root: ScopeKey, path: str = "") -> Scope:
    scope = world.scope(ScopeKey(root.execution_id, path))
    assert scope is not None
    return scope


def test_redo_of_one_task_runs_again_what_the_termination_had_stopped() -> None:
    world, root = started(loop(function("inner")), function("other", "task_sync"), function("third", "task_sync"))
    world.send(root, Terminated(world.now))
    settle(world)
    assert scope_at(world, root, "loop_0").state.status == "TERMINATED"
    world.send(root, Redone(world.now, ("third",), {}))
    bring_to_the_end(world)
    assert scope_at(world, root).state.status == "SUCCEED"


def test_groups_are_stopped_when_their_timeout_ends_the_flow_as_well() -> None:
    world, root = started(loop(function("inner"), timeline={"timeoutInSeconds": 5}))
    world.wait(6)
    settle(world)
    assert scope_at(world, root).state.status == "FAILED"
    assert [scope_at(world, root, f"loop_{index}").state.status for index in (0, 1)] == ["TERMINATED"] * 2
    assert world.attempts == []


def test_members_of_a_failed_group_stop_with_the_flow() -> None:
    world, root = started(loop(function("bad", "task_sync"), function("slow", next="after"), function("after")))
    for key, command in [one for one in world.attempts if one[1].task == "bad"]:
        world.send(key, AttemptEnded(world.now, command.task, command.attempt, error="refused"))
    settle(world)
    assert scope_at(world, root).state.status == "FAILED"
    for path in ("loop_0", "loop_1"):
        group = scope_at(world, root, path).state
        assert (group.reported, group.status) == ("FAILED", FlowStatus.TERMINATED)
        assert "after" not in group.tasks


def test_a_crash_between_two_groups_being_stored_starts_the_other() -> None:
    world = World(CHILDREN, 0, RULES)
    root = ScopeKey(world.start(compiled(flow_of("ex", [loop(function("inner"))])), {}))
    world.todo.pop(0)()
    world.crash(0)
    settle(world)
    assert {key.path for key in world.saved} == {"", "loop_0", "loop_1"}
    bring_to_the_end(world)
    assert scope_at(world, root).state.status == "SUCCEED"


def test_nested_groups_run_again_after_a_redo() -> None:
    inner = loop(function("leaf", "task_sync"), name="inner")
    world, root = started(loop(inner))
    bring_to_the_end(world)
    first = scope_at(world, root, "loop_0-inner_1").state
    assert first.status == "SUCCEED"
    world.send(root, Redone(world.now, ("loop",), {}))
    bring_to_the_end(world)
    second = scope_at(world, root, "loop_0-inner_1").state
    assert second.status == "SUCCEED" and second.generation > first.generation
    assert scope_at(world, root).state.status == "SUCCEED"


def test_a_stream_reader_that_is_redone_starts_with_one_finished_predecessor() -> None:
    world, root = started(
        function("quick", "task_sync", next="reader"),
        function("slow", next="reader"),
        function("reader", "task_sync", inputType="stream"),
    )
    for _ in range(2):
        for key, command in list(world.attempts):
            if command.task != "slow":
                world.attempts.remove((key, command))
                world.send(key, AttemptEnded(world.now, command.task, command.attempt, {"v": 1}))
    assert scope_at(world, root).status_of("reader") == "SUCCEED"
    world.send(root, Redone(world.now, ("reader",), {}))
    assert scope_at(world, root).status_of("reader") == "RUNNING"


def test_a_second_submission_changes_nothing() -> None:
    world, root = started(function("only"))
    before = world.saved[root]
    world.send(root, Submitted(world.now))
    assert world.saved[root] == before
