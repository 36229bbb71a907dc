"""The golden cases, and what a table cannot say."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tornflow.engine.expressions import (
    FUNCTIONS,
    Budget,
    BudgetExceeded,
    Expression,
    ExpressionError,
    ExpressionSyntaxError,
    Host,
    Sandbox,
    compile_expression,
)

ROOT = Path(__file__).parents[2]
GOLDEN = yaml.safe_load((ROOT / "tests/golden/expressions.yaml").read_text())
SANDBOX = Sandbox(now_ms=lambda: 1_700_000_000_000, random=lambda: 0.5)


def shown(value: Any) -> str:
    """Text that tells 1, 1.0 and True apart at any depth."""
    return repr(value)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["expr"][:60] or "empty")
def test_golden_case_gives_its_value_or_error(case: dict[str, Any]) -> None:
    if "syntax" in case:
        with pytest.raises(ExpressionSyntaxError) as syntax:
            SANDBOX.compile(case["expr"])
        assert case["syntax"] in syntax.value.message
        assert syntax.value.line >= 1 and syntax.value.column >= 1
        return
    expression = SANDBOX.compile(case["expr"])
    variables = GOLDEN["variables"] | case.get("with", {})
    before = copy.deepcopy(variables)
    if "error" in case:
        with pytest.raises(ExpressionError) as error:
            expression(variables)
        assert case["error"] in error.value.message
        assert not isinstance(error.value, BudgetExceeded)
    else:
        assert shown(expression(variables)) == shown(case["is"])
    assert shown(variables) == shown(before)


def test_golden_cases_name_every_function() -> None:
    text = " ".join(case["expr"] for case in GOLDEN["cases"])
    unused = {name for name in FUNCTIONS if f"{name}(" not in text and f", {name})" not in text}
    assert unused == {"print"}


def test_document_names_every_function() -> None:
    text = (ROOT / "docs/expressions.md").read_text()
    assert {name for name in FUNCTIONS if f"`{name}(" not in text} == set()


def test_error_says_line_and_column_of_the_innermost_place() -> None:
    with pytest.raises(ExpressionError) as error:
        compile_expression("let a = 1;\nfn f(x) {\n  return x + nil;\n}\nf(a)")({})
    assert (error.value.line, error.value.column) == (3, 12)
    assert str(error.value) == "cannot apply + to long and nil (line 3, column 12)"
    assert error.value.details == {"line": 3, "column": 12}


def test_syntax_error_says_line_and_column() -> None:
    with pytest.raises(ExpressionSyntaxError) as error:
        compile_expression("let a = 1;\nlet = 2;")
    assert (error.value.line, error.value.column) == (2, 5)


def test_unchanged_input_is_given_back_as_the_same_object() -> None:
    context = {"list": [1], "big": [2]}
    assert compile_expression("context.big")({"context": context}) is context["big"]


def test_writing_copies_only_for_this_run() -> None:
    expression = compile_expression("seq.add(source, 2); seq.add(context.list, 3); source")
    shared = [1]
    variables = {"source": shared, "context": {"list": shared}}
    assert expression(variables) == [1, 2, 3], "one list under two names"
    assert expression(variables) == [1, 2, 3], "the first run left nothing behind"
    assert shared == [1]


def test_result_shares_nothing_with_what_the_script_wrote() -> None:
    expression = compile_expression("let l = seq.list(1); seq.list(l, l)")
    result = expression({})
    assert result == [[1], [1]]
    assert type(result) is list and type(result[0]) is list


def test_assignment_does_not_reach_the_variables_of_the_caller() -> None:
    variables = {"source": 1}
    assert compile_expression("source = 2; other = 3; source + other")(variables) == 5
    assert variables == {"source": 1}


def test_time_and_chance_come_from_the_host() -> None:
    expression: Expression = compile_expression("now() + rand(10)")
    with pytest.raises(ExpressionError, match="no clock"):
        expression({})
    assert expression({}, Host(now_ms=lambda: 100, random=lambda: 0.99)) == 109
    assert Sandbox(lambda: 1, lambda: 0.0).compile("now() + rand(10)")({}) == 1




def test_budget_cannot_be_caught_by_the_script() -> None:
    with pytest.raises(BudgetExceeded):
        compile_expression("try { while true {} } catch(e) { 'caught' }")({})


def test_call_depth_is_restored_after_a_caught_error() -> None:
    script = "fn f() { throw 'x' } let n = 0; for i in range(0, 200) { try { f() } catch(e) { n = n + 1; } } n"
    assert compile_expression(script)({}) == 200


def test_limits_of_the_text_are_syntax_errors() -> None:
    with pytest.raises(ExpressionSyntaxError, match="longer than 10 characters"):
        compile_expression("1 + 1 + 1 + 1", Budget(source_chars=10))
    with pytest.raises(ExpressionSyntaxError, match="nested deeper"):
        compile_expression("!" * 5000 + "true")
    with pytest.raises(ExpressionSyntaxError, match="nested deeper"):
        compile_expression("f(" * 5000 + ")" * 5000)


def test_redundant_parentheses_and_long_sums_are_not_deep() -> None:
    assert compile_expression("(" * 2000 + "1" + ")" * 2000)({}) == 1
    assert compile_expression("+".join(["1"] * 2000))({}) == 2000


def test_importing_the_package_does_not_import_the_parser_library() -> None:
    code = "import sys, tornflow.engine.expressions; sys.exit('lark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
