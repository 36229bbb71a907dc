"""Whatever the text is, the linter answers, and what it says has a place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.descriptors import find_problems
from tornflow.lint import RULES, Severity, lint

ROOT = Path(__file__).parents[2]
SOUND = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples" / "flows").glob("*.yaml"))]
KEYS = st.sampled_from([
    "name", "category", "next", "tasks", "choices", "switches", "condition", "conditions", "event", "inputMappings",
    "outputMappings", "source", "target", "transform", "reference", "iterationMapping", "collection", "item",
    "synchronization", "maxConcurrency", "timeline", "timeoutInSeconds", "progress", "args", "calculation", "retry",
    "pattern", "resourceName", "resource", "input", "output", "commonMapping", "defaultContext", "callback",
    "inputSchema", "degrade", "followings", "resources", "suspenseIntervalSeconds", "successConditions",
])  # fmt: skip
WORDS = st.sampled_from([
    "a", "b", "a,b", "flow", "pass", "function", "foreach", "choice", "switch", "suspense", "return", "default", "true",
    "$.input", "$.context.a", "$.input.a[?(@.x == 1)]", "$.input[", "$", "$..a", "$.tasks.a.trigger_url", "$.a.b",
    "$.tasks.", "a: b", "1 +", "source", "foo(1)", "'#{", "'#{a(1)}'", "lambda(", "rillflow://", "http://[", "://",
    "-1", "9" * 5000, "\udcff", "é", "", " ",
])  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS, st.text(max_size=20))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=40,
)


def checked(text: str) -> None:
    for remark in lint(text, ["http"]):
        assert remark.rule in RULES and remark.message
        assert remark.line >= 0 and remark.column >= 0
        assert remark.line <= text.count("\n") + 2
    refused = {problem.path for problem in find_problems(text) if problem.code}
    assert refused == {remark.path for remark in lint(text) if remark.rule == "refused"}


def written(value: Any) -> str:
    """Return a value as flow-style YAML, texts plain where that is possible."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "null" if value is None else str(value).lower()


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_answered(text: str) -> None:
    checked(text)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5), st.lists(st.dictionaries(KEYS, VALUES, max_size=8), max_size=4))
def test_any_tree_of_known_keys_is_answered(more: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
    named = [{"category": "pass", "name": "a", **task} for task in tasks]
    lines = [f"{key}: {written(value)}" for key, value in more.items() if key != "tasks"]
    checked("\n".join(["workspace: w", "dagName: d", "type: flow", *lines, f"tasks: {written(named)}"]))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SOUND), st.data())
def test_a_sample_with_a_piece_cut_out_or_replaced_is_answered(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = min(len(text), start + data.draw(st.integers(0, 30)))
    checked(text[:start] + data.draw(st.one_of(WORDS, st.just(""))) + text[end:])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SOUND), st.data())
def test_taking_out_a_line_never_hides_an_error_of_the_parser(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    shorter = "\n".join(lines)
    errors = [problem for problem in find_problems(shorter) if problem.code]
    remarks = [remark for remark in lint(shorter) if remark.severity is Severity.ERROR]
    assert len(remarks) >= len(errors)


def test_a_large_flow_takes_seconds_at_most() -> None:
    rule = "{source: '$.context.x%d', target: $.context.x%d, transform: 'source + 1'}"
    tasks = [
        f"- {{category: pass, name: t{i}, next: t{i + 1}, outputMappings: [{rule % (i, i + 1)}]}}" for i in range(1500)
    ]
    text = "workspace: w\ndagName: d\ntype: flow\ntasks:\n" + "\n".join([*tasks, "- {category: pass, name: t1500}"])
    remarks = lint(text)
    said = [(remark.rule, re.findall(r"x\d+", remark.message)) for remark in remarks]
    assert said == [("undeclared-context", ["x0"])]
