"""One test for each quirk ([Q]) of the Rill language: our explicit behaviour where the reference crashes or hangs.

Those that other rooms own are tested there:
sections 1.4 (sugar, ``endTask``) in test_descriptors_sugar.py, 3 (crashing validation) and 8.2 (a case without
``next``) in test_descriptors_checks.py, 12.2 (PUT and DELETE with a body) in test_task_type_http_request.py,
5.4 (trigger URLs in groups) in test_mapping.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engine_world import World
from tests.unit.test_engine_stops import function, loop, scope_at, settle, started
from tests.unit.test_engine_worlds import CHILDREN, RULES, bring_to_the_end, compiled, flow_of
from tornflow.engine.events import AttemptEnded, Redone, TaskCompleted
from tornflow.engine.program import Rules
from tornflow.model.execution import ScopeKey, TaskState

STRICT = [{"source": "$.output", "target": "$.context.v", "tolerance": False, "transform": "broken"}]


def answer(world: World, value: Any = None, error: str | None = None, task: str | None = None) -> None:
    """Answer what is in flight now."""
    mine = [one for one in world.attempts if task in (None, one[1].task)]
    world.attempts = [one for one in world.attempts if one not in mine]
    for key, command in mine:
        world.send(key, AttemptEnded(world.now, command.task, command.attempt, value, error))
    settle(world)


def state_of(world: World, root: ScopeKey, name: str, path: str = "") -> TaskState:
    return scope_at(world, root, path).state.tasks[name]


def test_4_3_a_stream_reader_without_predecessors_is_ready_at_once() -> None:
    world, root = started(function("only", "task_sync", inputType="stream"))
    answer(world, {"v": 1})
    assert scope_at(world, root).state.status == "SUCCEED"


def test_7_1_a_null_element_fails_the_foreach_and_says_which() -> None:
    source = [{"source": '["a", null]', "target": "$.input.l"}]
    world, root = started(loop(function("inner"), inputMappings=source))
    task = state_of(world, root, "loop")
    assert (task.status, task.msg) == ("FAILED", "foreach loop: element 1 is null")
    assert scope_at(world, root).state.status == "FAILED"


@pytest.mark.parametrize(("is_strict", "open_groups"), [(False, 1), (True, 2)])
def test_7_5_a_limit_without_conditions_holds_unless_strict(is_strict: bool, open_groups: int) -> None:
    world = World(CHILDREN, 0, Rules(is_strict=is_strict))
    flow = flow_of("ex", [loop(function("inner"), synchronization={"maxConcurrency": "1"})])
    root = ScopeKey(world.start(compiled(flow), {}))
    settle(world)
    groups = state_of(world, root, "loop").groups
    assert groups is not None and groups.open == open_groups


def test_7_6_results_are_gathered_in_index_order() -> None:
    mapping = [{"source": "$.output.sub_context[*].v", "target": "$.context.all"}]
    inner = function("inner", outputMappings=[{"source": "$.output.v", "target": "$.context.v"}])
    world, root = started(loop(inner, outputMappings=mapping))
    for path, value in (("loop_1", "second"), ("loop_0", "first")):
        answer(world, {})
        world.send(ScopeKey(root.execution_id, path), TaskCompleted(world.now, "inner", {"v": value}, True))
    settle(world)
    assert scope_at(world, root).state.context["all"] == ["first", "second"]


def test_7_7_a_foreach_that_takes_too_long_is_failed_with_timeout() -> None:
    world, root = started(loop(function("inner"), timeline={"timeoutInSeconds": 3}))
    world.wait(4)
    task = state_of(world, root, "loop")
    assert (task.status, task.msg) == ("FAILED", "timeout")


def test_7_7_a_strict_mapping_that_fails_at_the_end_of_a_foreach_fails_it() -> None:
    world, root = started(loop(function("inner", "task_sync"), outputMappings=STRICT))
    answer(world, {"v": 1})
    task = state_of(world, root, "loop")
    assert task.status == "FAILED" and task.msg
    assert scope_at(world, root).state.status == "FAILED"


def test_7_7_a_strict_mapping_that_fails_on_a_completion_fails_the_task() -> None:
    world, root = started(function("work", outputMappings=STRICT))
    answer(world, {})
    assert world.send(root, TaskCompleted(world.now, "work", {"v": 1}, True))
    task = state_of(world, root, "work")
    assert task.status == "FAILED" and task.msg


def test_11_1_retry_conditions_without_an_answer_mean_no_retry_and_keep_the_message() -> None:
    world, root = started(function("work", "task_sync", retry={"maxRetryTimes": 3, "conditions": ["$.output.again"]}))
    answer(world, error="connection refused")
    task = state_of(world, root, "work")
    assert (task.status, task.attempt, task.msg) == ("FAILED", 1, "connection refused")


def test_11_1_a_redo_renews_the_retry_budget() -> None:
    world, root = started(function("work", "task_sync", retry={"maxRetryTimes": 1}))
    for _ in range(2):
        answer(world, error="no")
    assert scope_at(world, root).state.status == "FAILED"
    world.send(root, Redone(world.now, ("work",), {}))
    answer(world, error="no")
    assert state_of(world, root, "work").status == "RUNNING"
    answer(world, {"v": 1})
    assert scope_at(world, root).state.status == "SUCCEED"
    assert state_of(world, root, "work").attempt == 4


def test_11_2_a_timeout_is_a_failure_whatever_fail_conditions_say() -> None:
    world, root = started(function("work", failConditions=["$.output.bad"], timeline={"timeoutInSeconds": 2}))
    answer(world, {})
    world.wait(3)
    task = state_of(world, root, "work")
    assert (task.status, task.msg) == ("FAILED", "timeout")


def test_11_5_a_redone_switch_decides_afresh() -> None:
    switch = {
        "category": "switch",
        "name": "which",
        "inputMappings": [{"source": "$.context.v", "target": "$.input.v"}],
        "switches": [{"condition": "$.input.v", "next": "yes"}, {"condition": "default", "next": "no"}],
    }
    world, root = started(switch, {"category": "pass", "name": "yes"}, {"category": "pass", "name": "no"})
    statuses = {name: state_of(world, root, name).status.value for name in ("yes", "no")}
    assert statuses == {"yes": "SKIPPED", "no": "SUCCEED"}
    world.send(root, Redone(world.now, ("which",), {"v": 1}))
    settle(world)
    statuses = {name: state_of(world, root, name).status.value for name in ("yes", "no")}
    assert statuses == {"yes": "SUCCEED", "no": "SKIPPED"}


def test_11_5_a_redone_foreach_forgets_the_sub_contexts_of_before() -> None:
    inner = function("inner", "task_sync", outputMappings=[{"source": "$.output.v", "target": "$.context.v"}])
    mapping = [{"source": "$.output.sub_context", "target": "$.context.all"}]
    world, root = started(loop(inner, outputMappings=mapping))
    answer(world, {"v": "old"})
    world.send(root, Redone(world.now, ("loop",), {}))
    settle(world)
    answer(world, {"w": "new"})
    assert scope_at(world, root).state.context["all"] == [{"x": 1}, {"x": 2}]


def test_12_4_a_broken_condition_in_a_completion_fails_the_task() -> None:
    world, root = started(function("work", successConditions=["$.output[?("]))
    answer(world, {})
    assert world.send(root, TaskCompleted(world.now, "work", {"v": 1}, True))
    task = state_of(world, root, "work")
    assert task.status == "FAILED" and "condition" in str(task.msg)


def test_12_4_code_and_message_of_a_completion_are_kept() -> None:
    world, root = started(function("work"))
    answer(world, {})
    world.send(root, TaskCompleted(world.now, "work", {"error_code": 17, "error_msg": "no film"}, False))
    state = scope_at(world, root).state
    assert (state.status, state.code, state.msg) == ("FAILED", "17", "no film")


def test_13_the_callback_is_sent_although_the_failed_task_has_nothing_to_say() -> None:
    world, root = started(function("work"))
    answer(world, {})
    world.send(root, TaskCompleted(world.now, "work", {}, False))
    settle(world)
    assert world.callbacks == [root.execution_id]
    assert scope_at(world, root).state.outbox == {}


def test_14_2_two_tasks_that_finish_together_both_keep_their_writes() -> None:
    both = [
        function(name, outputMappings=[{"source": "$.output.v", "target": f"$.context.{name}"}]) for name in ("a", "b")
    ]
    world, root = started(*both)
    answer(world, {})
    for name in ("a", "b"):
        world.send(root, TaskCompleted(world.now, name, {"v": name}, True))
    context = scope_at(world, root).state.context
    assert (context["a"], context["b"]) == ("a", "b")


def test_14_5_a_timer_survives_a_crash_and_fires_once() -> None:
    world, root = started(function("work", "task_sync", timeline={"suspenseIntervalSeconds": 5}))
    assert world.attempts == []
    world.crash(0)
    world.wait(6)
    world.wait(6)
    assert len(world.attempts) == 1
    bring_to_the_end(world)
    assert scope_at(world, root).state.status == "SUCCEED"


def test_14_5_an_attempt_in_flight_comes_again_after_a_crash_with_its_number() -> None:
    world, root = started(function("work", "task_sync"))
    before = list(world.attempts)
    world.crash(0)
    assert world.attempts == before
    answer(world, {"v": 1})
    assert scope_at(world, root).state.status == "SUCCEED"


def test_15_1_a_context_that_grows_too_large_fails_the_task_and_names_the_limit() -> None:
    world, root = started(
        function("work", "task_sync", outputMappings=[{"source": "$.output.v", "target": "$.context.v"}])
    )
    answer(world, {"v": "x" * RULES.context_limit_bytes})
    task = state_of(world, root, "work")
    assert task.status == "FAILED" and "engine.context_limit_bytes" in str(task.msg)
    assert "v" not in scope_at(world, root).state.context
