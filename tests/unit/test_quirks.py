"""One test for each quirk ([Q]) of the Rill language: our explicit behaviour where the reference crashes or hangs.

Those that other rooms own are tested there:
sections 1.4 (sugar, ``endTask``) in test_descriptors_sugar.py, 3 (crashing validation) and 8.2 (a case without
``next``) in test_descriptors_checks.py, 12.2 (methods with a body) in test_task_type_http_request.py,
5.4 (trigger URLs in groups) in test_mapping.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.by_hand import RULES, ByHand, function, loop, started
from tornflow.engine.events import Redone, TaskCompleted
from tornflow.engine.program import Rules

STRICT = [{"source": "$.output", "target": "$.context.v", "tolerance": False, "transform": "1/0"}]


def test_4_3_a_stream_reader_without_predecessors_is_ready_at_once() -> None:
    play = started(function("only", "task_sync", inputType="stream"))
    play.answer({"v": 1})
    assert play.at().state.status == "SUCCEED"


@pytest.mark.parametrize(
    ("answer", "recorded", "mapped"),
    [
        ({"v": 1}, {"v": 1}, {"v": 1}),
        ({"v": 1, "data": {"w": 2}}, {"w": 2}, {"v": 1, "data": {"w": 2}}),
        ({"data": [1]}, {"data": [1]}, {"data": [1]}),
        ([1], None, {"data": [1]}),
        (7, None, None),
    ],
)
def test_12_4_the_data_of_an_answer_is_recorded_and_mappings_see_all_of_it(
    answer: Any, recorded: Any, mapped: Any
) -> None:
    everything = [{"source": "$.output", "target": "$.context.v"}]
    play = started(function("a", "task_sync", outputMappings=everything))
    play.answer(answer)
    assert (play.state_of("a").output, play.at().state.context.get("v")) == (recorded, mapped)


def test_7_1_a_null_element_fails_the_foreach_and_says_which() -> None:
    source = [{"source": '["a", null]', "target": "$.input.l"}]
    play = started(loop(function("inner"), inputMappings=source))
    task = play.state_of("loop")
    assert (task.status, task.msg) == ("FAILED", "foreach loop: element 1 is null")
    assert play.at().state.status == "FAILED"


@pytest.mark.parametrize(("is_strict", "open_groups"), [(False, 1), (True, 2)])
def test_7_5_a_limit_without_conditions_holds_unless_strict(is_strict: bool, open_groups: int) -> None:
    limited = loop(function("inner"), synchronization={"maxConcurrency": "1"})
    play = started(limited, rules=Rules(is_strict=is_strict))
    groups = play.state_of("loop").groups
    assert groups is not None and groups.open == open_groups


def test_7_6_results_are_gathered_in_index_order() -> None:
    mapping = [{"source": "$.output.sub_context[*].v", "target": "$.context.all"}]
    inner = function("inner", outputMappings=[{"source": "$.output.v", "target": "$.context.v"}])
    play = started(loop(inner, outputMappings=mapping))
    for path, value in (("loop_1", "second"), ("loop_0", "first")):
        play.answer({})
        play.tell(TaskCompleted(play.now, "inner", {"v": value}, True), path)
    assert play.at().state.context["all"] == ["first", "second"]


def test_7_7_a_foreach_that_takes_too_long_is_failed_with_timeout() -> None:
    play = started(loop(function("inner"), timeline={"timeoutInSeconds": 3}))
    play.wait(4)
    task = play.state_of("loop")
    assert (task.status, task.msg) == ("FAILED", "timeout")


def test_7_7_a_strict_mapping_that_fails_at_the_end_of_a_foreach_fails_it() -> None:
    play = started(loop(function("inner", "task_sync"), outputMappings=STRICT))
    play.answer({"v": 1})
    task = play.state_of("loop")
    assert task.status == "FAILED" and task.msg
    assert play.at().state.status == "FAILED"


def test_7_7_a_strict_mapping_that_fails_on_a_completion_fails_the_task() -> None:
    play = started(function("work", outputMappings=STRICT))
    play.answer({})
    play.tell(TaskCompleted(play.now, "work", {"v": 1}, True))
    task = play.state_of("work")
    assert task.status == "FAILED" and task.msg


def test_11_1_retry_conditions_without_an_answer_mean_no_retry_and_keep_the_message() -> None:
    play = started(function("work", "task_sync", retry={"maxRetryTimes": 3, "conditions": ["$.output.again"]}))
    play.answer(error="connection refused")
    task = play.state_of("work")
    assert (task.status, task.attempt, task.msg) == ("FAILED", 1, "connection refused")


def test_11_1_a_redo_renews_the_retry_budget() -> None:
    play = started(function("work", "task_sync", retry={"maxRetryTimes": 1}))
    for _ in range(2):
        play.answer(error="no")
    assert play.at().state.status == "FAILED"
    play.tell(Redone(play.now, ("work",), {}))
    play.answer(error="no")
    assert play.state_of("work").status == "RUNNING"
    play.answer({"v": 1})
    assert play.at().state.status == "SUCCEED"
    assert play.state_of("work").attempt == 4


def test_11_2_a_timeout_is_a_failure_whatever_fail_conditions_say() -> None:
    play = started(function("work", failConditions=["$.output.bad"], timeline={"timeoutInSeconds": 2}))
    play.answer({})
    play.wait(3)
    task = play.state_of("work")
    assert (task.status, task.msg) == ("FAILED", "timeout")


def test_11_5_a_redone_switch_decides_afresh() -> None:
    switch = {
        "category": "switch",
        "name": "which",
        "inputMappings": [{"source": "$.context.v", "target": "$.input.v"}],
        "switches": [{"condition": "$.input.v", "next": "yes"}, {"condition": "default", "next": "no"}],
    }
    play = started(switch, {"category": "pass", "name": "yes"}, {"category": "pass", "name": "no"})
    statuses = {name: play.state_of(name).status.value for name in ("yes", "no")}
    assert statuses == {"yes": "SKIPPED", "no": "SUCCEED"}
    play.tell(Redone(play.now, ("which",), {"v": 1}))
    statuses = {name: play.state_of(name).status.value for name in ("yes", "no")}
    assert statuses == {"yes": "SUCCEED", "no": "SKIPPED"}


def test_11_5_a_redone_foreach_forgets_the_sub_contexts_of_before() -> None:
    inner = function("inner", "task_sync", outputMappings=[{"source": "$.output.v", "target": "$.context.v"}])
    mapping = [{"source": "$.output.sub_context", "target": "$.context.all"}]
    play = started(loop(inner, outputMappings=mapping))
    play.answer({"v": "old"})
    play.tell(Redone(play.now, ("loop",), {}))
    play.answer({"w": "new"})
    assert play.at().state.context["all"] == [{"x": 1}, {"x": 2}]


def test_12_4_a_broken_condition_in_a_completion_fails_the_task() -> None:
    play = started(function("work", successConditions=["$.output[?("]))
    play.answer({})
    play.tell(TaskCompleted(play.now, "work", {"v": 1}, True))
    task = play.state_of("work")
    assert task.status == "FAILED" and "condition" in str(task.msg)


def test_12_4_code_and_message_of_a_completion_are_kept() -> None:
    play = started(function("work"))
    play.answer({})
    play.tell(TaskCompleted(play.now, "work", {"error_code": 17, "error_msg": "no film"}, False))
    state = play.at().state
    assert (state.status, state.code, state.msg) == ("FAILED", "17", "no film")


def test_13_the_callback_is_sent_although_the_failed_task_has_nothing_to_say() -> None:
    play = ByHand(function("work"))
    scope = play.start(play.flow, {})
    scope.state.callback = {"resourceName": "http://told"}
    play.answer({})
    play.tell(TaskCompleted(play.now, "work", {}, False))
    assert play.callbacks == [play.root.execution_id]
    assert play.at().state.outbox == {}


def test_14_2_two_tasks_that_finish_together_both_keep_their_writes() -> None:
    both = [
        function(name, outputMappings=[{"source": "$.output.v", "target": f"$.context.{name}"}]) for name in ("a", "b")
    ]
    play = started(*both)
    play.answer({})
    for name in ("a", "b"):
        play.tell(TaskCompleted(play.now, name, {"v": name}, True))
    context = play.at().state.context
    assert (context["a"], context["b"]) == ("a", "b")


def test_14_5_a_timer_survives_a_crash_and_fires_once() -> None:
    play = started(function("work", "task_sync", timeline={"suspenseIntervalSeconds": 5}))
    assert play.attempts == []
    play.crash()
    play.wait(6)
    play.wait(6)
    assert len(play.attempts) == 1
    play.bring_to_the_end()
    assert play.at().state.status == "SUCCEED"


def test_14_5_an_attempt_in_flight_comes_again_after_a_crash_with_its_number() -> None:
    play = started(function("work", "task_sync"))
    before = list(play.attempts)
    play.crash()
    assert play.attempts == before
    play.answer({"v": 1})
    assert play.at().state.status == "SUCCEED"


def test_15_1_a_context_that_grows_too_large_fails_the_task_and_names_the_limit() -> None:
    play = started(function("work", "task_sync", outputMappings=[{"source": "$.output.v", "target": "$.context.v"}]))
    play.answer({"v": "x" * RULES.context_limit_bytes})
    task = play.state_of("work")
    assert task.status == "FAILED" and "engine.context_limit_bytes" in str(task.msg)
    assert "v" not in play.at().state.context
