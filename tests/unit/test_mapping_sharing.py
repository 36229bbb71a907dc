"""The fast passes against a plain model of the reference: everything copied first, then shared by reference."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.engine.constants import constant
from tornflow.engine.jsonpath import compile_read
from tornflow.engine.mapping import PassEnv, compile_input, compile_output
from tornflow.model.descriptor import MappingRule

ENV = PassEnv("e", "http://host/t")
STEPS = st.sampled_from([".a", ".b", ".l[0]", ".l[1]"])
PLACES = st.lists(STEPS, min_size=1, max_size=3).map("".join)
ROOTS = st.sampled_from(["context", "context", "input", "output"])
SOURCES = st.builds("$.{}{}".format, ROOTS, PLACES) | st.sampled_from(
    ["1", '{"a":{"b":2}}', '{"l":[{"a":3},4]}', "$.context.l[*]", "$.context.a[?(@.a)]", "$.context.l[-1]", "$.output"]
)


def _rules(result: str) -> st.SearchStrategy[list[MappingRule]]:
    roots = st.sampled_from([result] * 6 + ["context", "output"])
    target = st.builds("$.{}{}".format, roots, PLACES)
    return st.lists(st.builds(MappingRule, source=SOURCES, target=target), max_size=6)


VALUES = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abl"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abl"), VALUES, max_size=3)


def _steps(target: str) -> list[str | int]:
    found: list[str | int] = []
    for piece in target.split(".")[1:]:
        name, _, index = piece.partition("[")
        found.append(name)
        if index:
            found.append(int(index[:-1]))
    return found


def _model(rules: list[MappingRule], context: Any, output: Any) -> dict[str, Any]:
    """Apply rill-dsl 5.1 and 5.5 word by word."""
    root = {"context": copy.deepcopy(context), "input": {}, "output": copy.deepcopy(output)}
    for rule in rules:
        assert rule.source is not None and rule.target is not None
        source: Any = rule.source
        if source.startswith("$"):
            value = compile_read(source)(root)
        else:
            value = constant(source)
        if value is not None:
            trial = copy.deepcopy((root, value))  # one copy, so that what they share stays shared
            if _write(trial[0], _steps(rule.target), trial[1]) and not _is_endless(trial[0]):
                _write(root, _steps(rule.target), value)
    return root


def _write(root: Any, steps: list[str | int], value: Any) -> bool:
    node, put = root, None
    for place, step in enumerate(steps):
        if isinstance(step, int):
            if not isinstance(node, list):
                node = []
                put(node)  # type: ignore[misc]
            node.extend([None] * (step + 1 - len(node)))
        elif node is None:
            node = {}
            put(node)  # type: ignore[misc]
        elif not isinstance(node, dict):
            return False
        if place == len(steps) - 1:
            node[step] = value
            return True
        put = _putter(node, step)
        node = node[step] if isinstance(step, int) else node.get(step)
    return True


def _putter(node: Any, step: Any) -> Any:
    def put(child: Any) -> None:
        node[step] = child

    return put


def _is_endless(value: Any) -> bool:
    try:
        repr_of = copy.deepcopy(value)
        return "..." in repr(repr_of)
    except RecursionError:
        return True


@given(_rules("input"), OBJECTS)
@settings(max_examples=700, deadline=None)
def test_input_passes_give_what_the_model_gives(rules: list[MappingRule], context: dict[str, Any]) -> None:
    before = copy.deepcopy(context)
    got = compile_input(rules, _no_scripts)(context, ENV)
    assert context == before
    assert got == _model(rules, context, {})["input"]


@given(_rules("context"), OBJECTS, OBJECTS)
@settings(max_examples=1000, deadline=None)
def test_output_passes_give_what_the_model_gives(
    rules: list[MappingRule], context: dict[str, Any], output: dict[str, Any]
) -> None:
    expected = _model(rules, context, output)["context"]
    old = dict(context)
    before = copy.deepcopy((context, output))
    compiled = compile_output(rules, _no_scripts)
    changed = compiled(context, output, ENV)
    assert context == expected
    assert (old, output) == before, "a value that was there before has changed"
    assert {key for key in context if key not in old or context[key] != old[key]} <= changed <= compiled.keys


def _no_scripts(text: str) -> Any:
    raise AssertionError(text)
