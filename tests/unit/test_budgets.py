"""Budgets are counted, never timed: same input, same outcome, on any machine under any load."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tornflow.engine.conditions import ConditionError, compile_condition
from tornflow.engine.expressions import (
    LONG_SCRIPT_CHARS,
    Budget,
    BudgetExceeded,
    Meter,
    are_long,
    compile_expression,
    is_long,
    is_long_path,
)
from tornflow.engine.expressions.searching import find_from, padded
from tornflow.engine.jsonpath import MatchError, compile_match, compile_read
from tornflow.engine.mapping import MappingError, PassEnv, compile_input
from tornflow.model.descriptor import MappingRule

ENGINE = Path(__file__).parents[2] / "tornflow" / "engine"
CLOCKS = {"time", "perf_counter", "monotonic", "process_time", "time_ns", "monotonic_ns", "perf_counter_ns"}
MODULES = {"time", "random", "asyncio", "secrets", "uuid", "threading.Timer"}
LOOP = "while true { source * 1.5; string.contains('abc', 'c'); 'ab' =~ /(a|b)*/ }"


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: path.relative_to(ENGINE).as_posix())
def test_the_engine_has_no_clock_and_no_chance(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
        elif isinstance(node, ast.arg):
            assert node.arg not in ("clock", "deadline"), f"line {node.lineno}"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("time", "datetime")
        ):
            assert node.attr not in CLOCKS | {"now", "utcnow", "today"}, f"line {node.lineno}"
    assert not imported & MODULES


def used(text: str, variables: dict[str, Any], budget: Budget = Budget()) -> tuple[int, int, str]:  # noqa: B008
    meter = Meter(10**9, 10**9)
    with pytest.raises(BudgetExceeded) as error:
        compile_expression(text, budget)(variables, meter=meter)
    return meter.steps - meter.steps_left, meter.bytes - meter.bytes_left, str(error.value)


def test_the_same_script_uses_the_same_steps_and_bytes_each_time() -> None:
    first = used(LOOP, {"source": 3})
    assert first[0] > Budget().steps
    assert [used(LOOP, {"source": 3}) for _ in range(3)] == [first] * 3


def test_the_last_step_that_fits_is_the_same_each_time() -> None:
    text = "let n = 0; for i in range(0, 1000) { n = n + i; } n"
    meter = Meter(10**9, 10**9)
    assert compile_expression(text)({}, meter=meter) == 499_500
    needed = meter.steps - meter.steps_left
    assert compile_expression(text, Budget(steps=needed))({}) == 499_500
    with pytest.raises(BudgetExceeded, match=f"more than {needed - 1} steps"):
        compile_expression(text, Budget(steps=needed - 1))({})


def test_runs_share_a_meter_and_the_error_names_it() -> None:
    meter = Meter(1_000, 1 << 20, name="the task")
    loop = compile_expression("for i in range(0, 200) { i } 1")
    assert loop({}, meter=meter) == 1
    assert 0 < meter.steps_left < 800
    with pytest.raises(BudgetExceeded, match="the task needs more than 1000 steps"):
        for _ in range(10):
            loop({}, meter=meter)


def test_what_a_failed_run_has_used_is_gone_too() -> None:
    meter = Meter(5_000, 1 << 20)
    endless = compile_expression("while true { }", Budget(steps=3_000))
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            endless({}, meter=meter)
    assert meter.steps_left < 0
    with pytest.raises(BudgetExceeded):
        compile_expression("1")({}, meter=meter)


def test_bytes_are_shared_too() -> None:
    meter = Meter(10**6, 3_000)
    text = compile_expression("'" + "a" * 1_000 + "' + source")
    assert len(text({"source": "b"}, meter=meter)) == 1_001
    with pytest.raises(BudgetExceeded, match="more than 3000 bytes"):
        for _ in range(3):
            text({"source": "b"}, meter=meter)


def test_paths_and_patterns_use_the_meter_of_scripts() -> None:
    document = {"l": [{"t": f"word {number}"} for number in range(2_000)]}
    meter = Meter(100_000, 0)
    assert len(compile_read("$.l[?(@.t =~ /.*7/)]")(document, meter)) == 200
    assert 50_000 < meter.steps_left < 98_000
    assert compile_match("$.l[?(@.t == 'word 7')]")(document, meter)
    with pytest.raises(MatchError, match="the step needs more than 100000 steps"):
        for _ in range(10):
            compile_match("$.l[?(@.t =~ /.*7/)]")(document, meter)
    with pytest.raises(ConditionError, match="the step needs more than 100000 steps"):
        compile_condition("$.l[?(@.t == 1)]")(document, meter)


def test_the_rules_of_a_pass_share_the_meter_of_its_environment() -> None:
    rules = [
        MappingRule(source="$.context.n", target=f"$.input.v{number}", transform=LOOP, tolerance=number < 2)
        for number in range(3)
    ]
    meter = Meter(150_000, 1 << 20)
    fill = compile_input(rules, compile_expression)
    with pytest.raises(MappingError, match="the step needs more than 150000 steps"):
        fill({"n": 3}, PassEnv("x", "http://h", meter))


@pytest.mark.parametrize(
    "path",
    [
        "$.n[?($.n.sum() == @)]", "$.n[?($.n.append(1) == @)]", "$.n[?($.a == $.b)]", "$.n[?($.hay contains $.needle)]",
        "$.nn[" + ",".join("0" * 3_000) + "][" + ",".join("0" * 900) + "]", "$.n[?(" + "@ < 1 && " * 900 + "@ < 1)]",
        "$.o[*][" + ",".join(["'a'"] * 2_000) + "]", "$.s[?(@ =~ /(a|a)*c/)]", "$.n[?(@ == 'x' || $.s[0] =~ /a*b/)]",
    ],
    ids=lambda path: path[:30],
)  # fmt: skip
def test_whatever_a_path_multiplies_is_counted(path: str) -> None:
    document = {
        "n": list(range(20_000)), "nn": [[1]], "a": "q" * 900_000, "b": "q" * 900_000, "s": ["a" * 50_000] * 50,
        "o": [{"a": 1}] * 20_000, "hay": "a" * 29_999, "needle": "a" * 7_000 + "b" + "a" * 7_000,
    }  # fmt: skip
    with pytest.raises(MatchError, match="visits too much"):
        compile_read(path)(document)


@pytest.mark.parametrize("size", [50, 400, 3_000, 31_000])
@pytest.mark.parametrize("part", ["b", "ab", "a" * 60 + "b", "a" * 150 + "b", "a" * 150, "b" + "\0" * 150, "\0" * 101])
def test_searching_finds_what_the_plain_search_finds(size: int, part: str) -> None:
    for text in (
        "a" * size,
        "a" * size + "b",
        "b" + "a" * size,
        ("a" * 151 + "b") * (size // 152 + 1),
        "b" + "\0" * size,
    ):
        whole = padded(text, part)
        assert find_from(whole, len(text), part, 0) == text.find(part)
        assert find_from(whole, len(text), part, 7) == text.find(part, 7)


def test_long_is_a_matter_of_length_and_repetitions() -> None:
    assert not is_long("source * 2 + 1")
    assert is_long("a" * (LONG_SCRIPT_CHARS + 1))
    assert is_long("string.split(source, '((a{9}){9}){9}')")
    assert are_long(["source + 1"] * 50) and not are_long(["source + 1"] * 5)
    assert not is_long_path("$.context.items[?(@.price > 10)].name")
    assert is_long_path("$[?(" + "@.a && " * 100 + "@.a)]")
