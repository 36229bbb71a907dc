"""Output mappings to ``$.custom_status``: a text beside the context (engine/custom_status.py)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.by_hand import ByHand, function, loop
from tornflow.engine.custom_status import LIMIT_CHARS, is_custom_status
from tornflow.model.status import TaskStatus


def to_status(source: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "target": "$.custom_status", **more}


def run(*rules: dict[str, Any], answer: Any = None, **context: Any) -> ByHand:
    """Run one task with these outputMappings to its answer."""
    first = function("a", pattern="task_sync", outputMappings=list(rules), next="b")
    play = ByHand(first, function("b", pattern="task_sync"))
    play.begin(**context).answer({"v": 1} if answer is None else answer, task="a")
    return play


@pytest.mark.parametrize(
    ("source", "answer", "status"),
    [
        ("packed", {"v": 1}, "packed"),
        ("$.output.v", {"v": "waiting"}, "waiting"),
        ("$.output.v", {"v": ""}, ""),
        ("$.output.v", {"v": 3}, "3"),
        ("$.output.v", {"v": [1, {"a": "ü"}]}, '[1,{"a":"ü"}]'),
        ("$.output.none", {"v": 3}, None),
        ("$.context.left", {"v": 3}, "5"),
    ],
)
def test_a_text_is_kept_as_it_is_and_any_other_value_as_json(source: str, answer: Any, status: str | None) -> None:
    play = run(to_status(source), answer=answer, left=5)
    assert play.at().state.custom_status == status
    assert "custom_status" not in play.at().state.context
    assert "$.custom_status" not in play.at().state.context


def test_the_last_rule_that_gives_something_wins() -> None:
    play = run(to_status("one"), to_status("$.output.v"), to_status("$.output.none"), answer={"v": "two"})
    assert play.at().state.custom_status == "two"


def test_it_sees_what_its_pass_wrote_to_the_context() -> None:
    play = run({"source": "$.output.v", "target": "$.context.total"}, to_status("$.context.total"), answer={"v": "all"})
    assert (play.at().state.custom_status, play.at().state.context["total"]) == ("all", "all")


def test_it_stays_until_another_task_sets_it() -> None:
    play = run(to_status("packed"))
    play.answer({"v": 2}, task="b")
    assert play.at().state.status.is_completed
    assert play.at().state.custom_status == "packed"


@pytest.mark.parametrize(
    ("rule", "answer", "reason"),
    [
        (to_status("$.output.v", tolerance=False, transform="nonsense("), {"v": 1}, "nonsense("),
        (to_status("$.output.v"), {"v": "x" * (LIMIT_CHARS + 1)}, f"the limit is {LIMIT_CHARS}"),
    ],
)
def test_a_failing_rule_fails_the_task_and_changes_nothing(rule: dict[str, Any], answer: Any, reason: str) -> None:
    play = run({"source": "1", "target": "$.context.written"}, rule, answer=answer)
    state = play.at().state
    assert (state.custom_status, "written" in state.context) == (None, False)
    assert state.tasks["a"].status is TaskStatus.FAILED
    assert reason in (state.tasks["a"].msg or "")


def test_a_tolerated_rule_is_passed_over() -> None:
    play = run(to_status("$.output.v", transform="nonsense("), {"source": "1", "target": "$.context.written"})
    assert (play.at().state.custom_status, play.at().state.context["written"]) == (None, 1)


def test_a_context_beyond_its_limit_leaves_it_as_it_was() -> None:
    play = run(to_status("new"), {"source": "$.output.v", "target": "$.context.v"}, answer={"v": "x" * 3000})
    assert play.at().state.custom_status is None
    assert "engine.context_limit_bytes" in (play.state_of("a").msg or "")


def test_in_a_group_it_has_no_effect() -> None:
    play = ByHand(loop(function("a", outputMappings=[to_status("inner")], pattern="task_sync"))).begin()
    play.answer({"v": 1})
    assert play.at().state.status.is_completed
    assert play.at().state.custom_status is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("$.custom_status", True),
        ("$['custom_status']", True),
        ("$.custom_status.a", False),
        ("$.context.custom_status", False),
        ("custom_status", True),
        ("$.custom_status[", False),
        (None, False),
    ],
)
def test_only_the_whole_of_it_is_a_target(target: str | None, expected: bool) -> None:
    assert is_custom_status(target) is expected
