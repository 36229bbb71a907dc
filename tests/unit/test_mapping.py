"""Mapping passes: rule order, targets, tolerance, sharing, and what never changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tornflow.engine import mapping_rules
from tornflow.engine.mapping import MappingError, PassEnv, compile_input, compile_output, compile_source
from tornflow.model.descriptor import MappingRule

ENV = PassEnv("demo:flow_c_1", "http://host:8080/flow/trigger.json")


def _scripts(text: str) -> Callable[[Mapping[str, Any]], Any]:
    """Stand in for expressions: Python lambdas by name."""
    known: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "source": lambda v: v["source"],
        "context": lambda v: v["context"],
        "context list": lambda v: [v["context"], v["context"].get("o")],
        "double": lambda v: v["source"] * 2,
        "or default": lambda v: "dflt" if v["source"] is None else v["source"],
        "nil": lambda v: None,
        "broken": lambda v: 1 / 0,
        "names": lambda v: sorted(v),
        "bomb": lambda v: _doubled(60),
    }
    if text not in known:
        raise SyntaxError("unknown function")
    return known[text]


def _doubled(times: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(times):
        value = [value, value]
    return value


def rule(
    source: str | None, target: str | None, *, transform: str | None = None, tolerance: bool | None = None
) -> MappingRule:
    return MappingRule(source, target, transform, tolerance)


def map_input(context: dict[str, Any], *rules: MappingRule) -> dict[str, Any]:
    """Run an input pass and check that it left the context alone."""
    before = copy.deepcopy(context)
    result = compile_input(rules, _scripts)(context, ENV)
    assert context == before
    return result


def map_output(context: dict[str, Any], output: Any, *rules: MappingRule) -> set[str]:
    """Run an output pass and check that no value that was there before has changed."""
    values, before = dict(context), copy.deepcopy((context, output))
    compiled = compile_output(rules, _scripts)
    changed = compiled(context, output, ENV)
    assert (values, output) == before
    assert changed <= compiled.keys
    return changed


def test_rules_run_in_order_and_see_what_earlier_ones_wrote() -> None:
    result = map_input(
        {"a": "A"},
        rule("$.context.a", "$.input.first"), rule("$.input.first", "$.input.second"),
        rule("$.input.later", "$.input.none"), rule("1", "$.input.later"), rule("x", "$.input.first"),
        rule("tmp", "$.context.scratch"), rule("$.context.scratch", "$.input.third"),
    )  # fmt: skip
    assert result == {"first": "x", "second": "A", "later": 1, "third": "tmp"}


def test_missing_containers_are_made_and_leaves_replaced() -> None:
    result = map_input(
        {},
        rule("1", "$.input.a.b.c.d"), rule("2", "$.input.list[2].v"), rule("3", "$.input['x.y'].z"),
        rule('{"p":1}', "$.input.m"), rule('{"q":2}', "$.input.m"), rule("9", "$.input.m.r"),
        rule("5", "$.input.scalar"), rule("6", "$.input.scalar.sub"), rule("7", "$.input.scalar2"),
        rule("8", "$.input.scalar2[0]"), rule("9", "$.input.grid[1][1]"), rule("n", "input.noDollar"),
    )  # fmt: skip
    assert result == {
        "a": {"b": {"c": {"d": 1}}}, "list": [None, None, {"v": 2}], "x.y": {"z": 3}, "m": {"q": 2, "r": 9},
        "scalar": 5, "scalar2": [8], "grid": [None, [None, 9]], "noDollar": "n",
    }  # fmt: skip


def test_an_output_pass_writes_into_the_context_and_says_where() -> None:
    context = {"have": ["p", "q", "r"], "deep": {"kept": True}, "other": {}}
    changed = map_output(
        context, {"r": [7]}, rule("x", "$.context.have[1]"), rule("$.output.r", "$.context.deep.er.r"),
        rule("$.output.r", "context.noDollar"), rule("$.output.none", "$.context.never"),
    )  # fmt: skip
    assert changed == {"have", "deep", "noDollar"}
    assert context == {"have": ["p", "x", "r"], "deep": {"kept": True, "er": {"r": [7]}}, "other": {}, "noDollar": [7]}


def test_the_input_is_empty_in_an_output_pass_and_the_output_in_an_input_pass() -> None:
    context: dict[str, Any] = {"i": 1}
    assert map_output(context, {"a": 1}, rule("$.input.a", "$.context.x")) == set()
    assert map_input({}, rule("$.output.a", "$.input.x"), rule("$.output", "$.input.y")) == {"y": {}}


@pytest.mark.parametrize(
    "dropped",
    [
        rule("1", None), rule("1", " "), rule(None, "$.input.x"), rule(" ", "$.input.x", transform=" "),
        rule("1", "$.input"), rule("1", "$.context"), rule("$.context.none", "$.input.x"),
        rule("$.context.[?((", "$.input.x", tolerance=False), rule("$.context.none", "$.input[*]", tolerance=False),
        rule("$.context.v", "$.input.x", transform="nil", tolerance=False),
    ],
)  # fmt: skip
def test_rules_without_effect_write_nothing_even_when_strict(dropped: MappingRule) -> None:
    assert map_input({"v": 1}, dropped) == {}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (rule("1", "$.input.v.x"), "a number stands where 'x' needs an object"),
        (rule("1", "$.input[0]"), "is an object"),
        (rule("1", "$.input.l[*]"), "names and indexes"),
        (rule("1", "$.input.l[-1]"), "names and indexes"),
        (rule("1", "$.input.l[10001]"), "names and indexes"),
        (rule("1", "$.input..l"), "names and indexes"),
        (rule("1", "$.other.x"), "a target starts with"),
        (rule("1", "$.input.["), "expected"),
        (rule("1", "$.input.x", transform="broken"), "division by zero"),
        (rule("1", "$.input.x", transform="does not compile"), "unknown function"),
    ],
)
def test_broken_rules_are_skipped_unless_strict(broken: MappingRule, reason: str) -> None:
    first, last = rule("0", "$.input.v"), rule("2", "$.input.after")
    assert map_input({}, first, broken, last) == {"v": 0, "after": 2}
    strict = rule(broken.source, broken.target, transform=broken.transform, tolerance=False)
    with pytest.raises(MappingError, match=reason) as caught:
        map_input({}, first, strict, last)
    assert repr(broken.target) in str(caught.value)


@pytest.mark.parametrize("entangling", [(), (rule('{"a":1}', "$.context.z"), rule("2", "$.context.z.b"))])
def test_a_strict_failure_leaves_the_context_as_it_was(entangling: tuple[MappingRule, ...]) -> None:
    context = {"a": 1, "o": {"k": [1]}, "z": 3}
    before, order = copy.deepcopy(context), list(context)
    with pytest.raises(MappingError):
        map_output(
            context, {"v": 5}, *entangling, rule("$.output.v", "$.context.a"), rule("$.output.v", "$.context.o.k[0]"),
            rule("$.output.v", "$.context.new"), rule("1", "$.context.a.x", tolerance=False),
        )  # fmt: skip
    assert context == before and list(context) == order


def test_transforms_get_four_variables_and_run_on_null() -> None:
    result = map_input(
        {"n": 4}, rule("$.context.none", "$.input.d", transform="or default"),
        rule(None, "$.input.v", transform="names"), rule("$.context.n", "$.input.n", transform="double"),
    )  # fmt: skip
    assert result == {"d": "dflt", "v": ["context", "input", "output", "source"], "n": 8}


def test_a_transform_that_asks_for_copies_cannot_reach_the_context() -> None:
    def careless(variables: Mapping[str, Any]) -> Any:
        variables["context"]["o"]["k"].append(1)
        variables["source"].append(2)
        return variables["source"]

    careless.needs_copies = True  # type: ignore[attr-defined]
    context: dict[str, Any] = {"o": {"k": []}}
    compiled = compile_input([rule("$.context.o.k", "$.input.k", transform="any")], lambda text: careless)
    assert compiled(context, ENV) == {"k": [2]}
    assert context == {"o": {"k": []}}


def test_objects_mapped_twice_are_shared_inside_the_pass_only() -> None:
    context = {"o": {"k": 1}}
    result = map_input(
        context, rule("$.context.o", "$.input.a"), rule("$.context.o", "$.input.b"), rule("2", "$.input.a.new")
    )
    assert result == {"a": {"k": 1, "new": 2}, "b": {"k": 1, "new": 2}}


def test_a_write_below_a_copied_source_shows_in_the_copy() -> None:
    context: dict[str, Any] = {"a": {"k": 1}}
    assert map_output(context, {}, rule("$.context.a", "$.context.z"), rule("2", "$.context.a.k")) == {"a", "z"}
    assert context == {"a": {"k": 2}, "z": {"k": 2}}


def test_a_write_below_a_copy_shows_in_its_source() -> None:
    context: dict[str, Any] = {"a": {"k": 1}}
    assert map_output(context, {}, rule("$.context.a", "$.context.z"), rule("2", "$.context.z.k")) == {"a", "z"}
    assert context == {"a": {"k": 2}, "z": {"k": 2}}


@pytest.mark.parametrize("transform", [None, "context"])
def test_a_whole_context_is_a_snapshot_and_never_contains_itself(transform: str | None) -> None:
    context: dict[str, Any] = {"a": 1}
    taken = rule(None if transform else "$.context", "$.input.all", transform=transform)
    result = map_input(context, taken)
    context["later"] = 2
    assert result == {"all": {"a": 1}}
    taken = rule(None if transform else "$.context", "$.context.all", transform=transform)
    compile_output([taken], _scripts)(context, {}, ENV)
    assert context == {"a": 1, "later": 2, "all": {"a": 1, "later": 2}}


@pytest.mark.parametrize(
    "source", ["$", "$.*", "$..o", "$.context[?(@.o)]", "$.context..[?(@.o)]", "$['context','input']", "$.first($.*)"]
)
def test_no_result_holds_the_live_context(source: str) -> None:
    context: dict[str, Any] = {"o": {"k": 1}}
    result = map_input(context, rule(source, "$.input.x"))
    before = repr(result)
    context["later"] = result["later"] = 1
    result.pop("later")
    assert repr(result) == before


def test_values_that_would_contain_themselves_are_errors() -> None:
    assert map_input({}, rule('{"k":1}', "$.input.a.b"), rule("$.input.a", "$.input.a.me")) == {"a": {"b": {"k": 1}}}
    ring = [rule('{"k":1}', "$.input.a.x"), rule("$.input.a", "$.input.b.y"), rule("$.input.b", "$.input.a.z")]
    assert map_input({}, *ring) == {"a": {"x": {"k": 1}}, "b": {"y": {"x": {"k": 1}}}}
    with pytest.raises(MappingError, match="would contain itself"):
        map_input({}, *ring[:2], rule("$.input.b", "$.input.a.z", tolerance=False))


def test_a_pass_that_doubles_its_own_values_ends_with_an_error() -> None:
    rules = [rule("[1]", "$.input.v0")]
    for level in range(40):
        rules += [rule(f"$.input.v{level}", f"$.input.v{level + 1}.{side}") for side in "lr"]
    with pytest.raises(MappingError, match=str(mapping_rules.MAX_PASS_CHARACTERS)):
        map_input({}, *rules)


def test_a_script_that_returns_a_doubled_value_ends_with_an_error() -> None:
    with pytest.raises(MappingError, match="characters in one pass"):
        map_input({}, rule(None, "$.input.x", transform="bomb"))


def test_many_rules_cannot_copy_a_large_value_without_end() -> None:
    rules = [rule("$.context.big", f"$.input.c{number}") for number in range(200)]
    with pytest.raises(MappingError, match="characters in one pass"):
        map_input({"big": "x" * 100_000}, *rules)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$.tasks.answer.trigger_url", "http://host:8080/flow/trigger.json?execution_id=demo:flow_c_1&task_name=answer"),
        ("$.tasks.a.trigger_url?s=1&v=1.5?x=2", "http://host:8080/flow/trigger.json?execution_id=demo:flow_c_1&task_name=a&s=1&v=1.5"),
        ("$.tasks.a.other", None), ("$.tasks.a", None), ("$.tasks.a?.trigger_url", None),
    ],
)  # fmt: skip
def test_trigger_urls_carry_the_execution_and_the_query(source: str, expected: str | None) -> None:
    assert compile_source(source)({"context": {}, "input": {}, "output": {}}, ENV) == expected


def test_the_context_names_the_execution_before_the_pass_does() -> None:
    root = {"context": {"flow_execution_id": "mine"}, "input": {}, "output": {}}
    assert "execution_id=mine&" in compile_source("$.tasks.a.trigger_url")(root, ENV)


def test_a_source_is_not_trimmed_before_it_is_recognised() -> None:
    root = {"context": {"a": 1}, "input": {}, "output": {}}
    assert compile_source(" $.context.a")(root, ENV) == " $.context.a"
    assert compile_source("$.context.a")(root, ENV) == 1
    assert compile_source(None)(root, ENV) is compile_source("  ")(root, ENV) is None


def test_constants_stay_what_they_are_from_run_to_run() -> None:
    compiled = compile_input([rule('{"k":[]}', "$.input.a"), rule("1", "$.input.a.k[0]")], _scripts)
    assert compiled({}, ENV) == compiled({}, ENV) == {"a": {"k": [1]}}
