"""Constant texts to values (rill-dsl 5.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tornflow.engine.constants import constant, default_context


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12), ("-3", -3), ("+5", 5), ("007", 7), ("1e3", 1000), ("15e-1", 1), ("-15e-1", -1),
        ("0e99", 0), ("1e-400", 0),
        ("2.50", 2.5), (".5", 0.5), ("5.", 5.0), ("1.5e2", 150.0), (" 7 ", 7), ("-0", 0),
        ("9223372036854775808", 9223372036854775808), ("123456789012345678901e2", 12345678901234567890100),
        ("TRUE", True), ("false", False), (" True ", True),
        ('{"k":[1,null]}', {"k": [1, None]}), ("[1] tail", [1]), (" {k: 1, b-c: {d: 'x'}} ", " {k: 1, b-c: {d: 'x'}} "),
        ('{k: 1, b_c: {d: "e: f"}}', {"k": 1, "b_c": {"d": "e: f"}}), ("{}", {}), ("[]", []),
        ("{oops", "{oops"), ("[1,", "[1,"), ("[NaN]", "[NaN]"), ("[1e999]", "[1e999]"), ('["\\ud800"]', '["\\ud800"]'),
        ("null", "null"), ('"quoted"', '"quoted"'), ("'q'", "'q'"), ("0x10", "0x10"),
        ("1_000", "1_000"), ("NaN", "NaN"),
        ("yes", "yes"), (" pad ", " pad "), ("1 2", "1 2"), (".", "."), ("e3", "e3"),
        ("١", "١"), ("1.5e999", "1.5e999"),
        ("1e999", "1e999"), ("9" * 401, "9" * 401), ("2023-01-01", "2023-01-01"),
    ],
)  # fmt: skip
def test_constants_become_what_the_spec_says(text: str, expected: Any) -> None:
    got = constant(text)
    assert (got, type(got)) == (expected, type(expected))


def test_a_constant_nested_too_deeply_stays_text() -> None:
    text = "[" * 100_000
    assert constant(text) == text


@given(st.text(max_size=40) | st.from_regex(r"[-+0-9.eE{}\[\]:,a\"]{1,20}"))
def test_every_text_has_a_value_that_can_be_written_as_json(text: str) -> None:
    value = constant(text)
    assert value is not None
    json.dumps(value, allow_nan=False)


def test_default_context_converts_each_value_and_no_path() -> None:
    given_values = {"a": "1", "b": '{"x":[true]}', "c": "plain", "d": "2.50", "e": "$.x"}
    assert default_context(given_values) == {"a": 1, "b": {"x": [True]}, "c": "plain", "d": 2.5, "e": "$.x"}
