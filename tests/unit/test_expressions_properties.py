"""Whatever the text is: it compiles or is a syntax error, it ends, and it changes nothing outside."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tornflow.engine.expressions import (
    FUNCTIONS,
    Budget,
    BudgetExceeded,
    ExpressionError,
    ExpressionSyntaxError,
    Sandbox,
    compile_expression,
)

SMALL = Budget(steps=3_000, value_bytes=20_000, total_bytes=100_000)
SANDBOX = Sandbox(now_ms=lambda: 1_700_000_000_000, random=lambda: 0.5, budget=SMALL)
PIECES = [
    *"+ - * / % ** == != < <= > >= && || ! =~ = ; , ( ) { } [ ] . ? : & | ^ ~ << >> >>> ->".split(),
    *"let if elsif else for in while break continue return fn lambda end try catch finally throw".split(),
    *"1 0 -1 2.5 3M 10N 64 1e300 'a' '' 'a,b' '#{x}' /a+/ /(a|b)*/ true false nil x y f e $1".split(),
    *"source context context.l context.m context.m.k context.l[0]".split(),
    *(f"{name}(" for name in FUNCTIONS),
    *(f"{name}(x)" for name in FUNCTIONS),
    *(f"{name}(context.l, x)" for name in FUNCTIONS),
    *(f"{name}('aab', 'a', 'b')" for name in FUNCTIONS),
    "lambda(x) -> x end",
    "let x = seq.list(1, 2); ",
    "while true { ",
    "for x in context.l { ",
    "try { ",
    "} catch(e) { ",
    "seq.add(context.l, x)",
]
VARIABLES: dict[str, Any] = {"source": 3, "context": {"l": [3, 1, 2], "m": {"k": "v", "n": [1.5, None]}}, "x": [1]}


def run_anything(text: str) -> None:
    variables = copy.deepcopy(VARIABLES)
    try:
        result = SANDBOX.compile(text)(variables)
        json.dumps(result, allow_nan=False)
    except ExpressionSyntaxError as error:
        assert error.message and error.line >= 1
    except ExpressionError as error:
        assert error.message
        assert not error.message.startswith("cannot be evaluated"), error.message
    assert variables == VARIABLES


@settings(max_examples=300, deadline=2000)
@given(st.text(max_size=60))
def test_any_text_runs_or_is_refused(text: str) -> None:
    run_anything(text)


@settings(max_examples=1500, deadline=2000)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join))
def test_any_pieces_run_or_are_refused(text: str) -> None:
    run_anything(text)


VALUES = [
    *("nil", "true", "-3", "2.5", "3M", "2 ** 70", "'ab'", "'12'", "context.l", "context.m", "range(0, 5)"),
    *("seq.set(1, 'a')", "tuple(1, nil)", "/a(b)?/", "+", "lambda(x) -> x end", "sysdate()", "seq.map('k', 1)"),
]


@settings(max_examples=2500, deadline=2000)
@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(st.sampled_from(VALUES), max_size=4))
def test_every_function_takes_any_arguments(name: str, arguments: list[str]) -> None:
    run_anything(f"{name}({', '.join(arguments)})")


OPERATORS = "+ - * / % ** == != < <= > >= & | ^ << >> >>> && ||".split()


@settings(max_examples=600, deadline=2000)
@given(st.sampled_from(VALUES), st.sampled_from(OPERATORS), st.sampled_from(VALUES))
def test_every_operator_takes_any_operands(left: str, symbol: str, right: str) -> None:
    assume("+" not in (left, right))
    run_anything(f"({left}) {symbol} ({right})")


@settings(max_examples=300, deadline=2000)
@given(st.integers(-(10**20), 10**20), st.integers(-(10**20), 10**20))
def test_integer_arithmetic_is_exact_and_truncates(a: int, b: int) -> None:
    assume(b)
    quotient, rest = compile_expression("seq.list(a / b, a % b)")({"a": a, "b": b})
    assert quotient * b + rest == a
    assert abs(rest) < abs(b) and (rest == 0 or (rest < 0) == (a < 0))
    script = compile_expression("seq.list(a + b, a - b, a * b, a < b, a == b)")
    assert script({"a": a, "b": b}) == [a + b, a - b, a * b, a < b, a == b]


ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", "(a)", "(b|ab)", "(?:a|b)", r"\w", "^", "$", "(a*)", "(?=b)"])
QUANTIFIED = st.builds(
    lambda atom, mark: atom if atom in "^$(?=b)" else atom + mark,
    ATOMS,
    st.sampled_from(["", "", "*", "+", "?", "{1,2}", "*?", "+?", "??"]),
)


@settings(max_examples=800, deadline=2000)
@given(st.lists(QUANTIFIED, min_size=1, max_size=4).map("".join), st.text("abc", max_size=7))
def test_patterns_match_like_the_well_known_engine(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern, text)
    script = "source =~ /" + pattern + "/ ? $0 : nil"
    try:
        found = compile_expression(script)({"source": text})
    except BudgetExceeded:
        return
    assert (found is not None) == (expected is not None)
    replaced = compile_expression("string.replace_first(source, /" + pattern + "/, '<>')")({"source": text})
    assert replaced == re.sub(pattern, "<>", text, count=1)


@settings(max_examples=200, deadline=2000)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_values_pass_through_unchanged(value: Any) -> None:
    assert compile_expression("source")({"source": value}) is value
    assert compile_expression("seq.list(source)")({"source": value}) == [value]
    assert compile_expression("seq.add(other, 1); source")({"source": value, "other": []}) == value
