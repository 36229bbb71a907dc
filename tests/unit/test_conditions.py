"""Conditions as callers use them; the golden file of paths holds the rules themselves."""

from __future__ import annotations

import pytest

from tornflow.engine.conditions import ConditionError, all_hold, any_holds, compile_condition

DOCUMENT = {"input": {"num": 3, "flag": False, "default": 1}}


def test_existence_counts_not_truth() -> None:
    assert compile_condition("$.input.flag")(DOCUMENT) is True
    assert compile_condition("$.input.missing")(DOCUMENT) is False


def test_a_missing_root_is_added() -> None:
    assert compile_condition("input.[?(@.num < 5)]")(DOCUMENT) is True
    assert compile_condition("default")(DOCUMENT) is False


@pytest.mark.parametrize("text", ["$.input.[?((", "", "   ", "$.input[?(true)]"])
def test_a_condition_that_does_not_parse_raises_only_when_it_is_evaluated(text: str) -> None:
    condition = compile_condition(text)
    with pytest.raises(ConditionError, match="^condition "):
        condition(DOCUMENT)


def test_a_filter_on_a_scalar_raises_and_names_the_condition() -> None:
    with pytest.raises(ConditionError, match=r"\$\.input\.num\[.*plain value"):
        compile_condition("$.input.num[?(@.a)]")(DOCUMENT)


def test_all_of_none_hold_and_none_of_none_does() -> None:
    assert all_hold((), DOCUMENT) is True
    assert any_holds((), DOCUMENT) is False


def test_lists_of_conditions_are_anded_or_ored() -> None:
    yes, no = compile_condition("$.input.num"), compile_condition("$.input.nothing")
    assert all_hold((yes, yes), DOCUMENT) and not all_hold((yes, no), DOCUMENT)
    assert any_holds((no, yes), DOCUMENT) and not any_holds((no, no), DOCUMENT)
