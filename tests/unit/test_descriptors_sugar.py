"""The input/output shorthand, the stored form, the YAML to read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.descriptors import dump_stored, load_stored, parse_descriptor, to_yaml, unconvert
from tornflow.descriptors.yaml_text import document_to_yaml
from tornflow.errors import InvalidDescriptor
from tornflow.model.descriptor import Descriptor

HEAD = "workspace: demo\ndagName: main\ntype: flow\n"


def flow(tasks: str, more: str = "") -> str:
    return f"{HEAD}{more}tasks:\n{tasks}\n"


def rules(descriptor: Descriptor, name: str, field: str) -> list[tuple[str | None, str | None]]:
    task = next(task for task in descriptor.tasks if task.name == name)
    return [(rule.source, rule.target) for rule in getattr(task, field)]


def test_input_entries_become_mappings_and_producers_store_what_is_read() -> None:
    descriptor = parse_descriptor(flow("""
- {category: pass, name: a, next: b}
- {category: pass, name: b, inputMappings: [{source: $.a.raw, target: $.input.raw}],
   input: {n: 3, f: 1.50, yes: on, none: ~, body.user.id: "$.a.user['x.y'].id", list: [1, two], whole: $.a,
           rule: {source: $.a.name, transform: "source + 1", tolerance: false}}}
"""))
    assert rules(descriptor, "b", "input_mappings") == [
        ("$.context.a.raw", "$.input.raw"),
        ("3", "$.input.n"),
        ("1.5", "$.input.f"),
        ("true", "$.input.yes"),
        ("$.context.a.user['x.y'].id", "$.input.body.user.id"),
        ('[1,"two"]', "$.input.list"),
        ("$.context.a", "$.input.whole"),
        ("$.context.a.name", "$.input.rule"),
    ]
    assert rules(descriptor, "a", "output_mappings") == [
        ("$.output.raw", "$.context.a.raw"),
        ("$.output.user['x.y'].id", "$.context.a.user['x.y'].id"),
        ("$.output", "$.context.a"),
        ("$.output.name", "$.context.a.name"),
    ]
    last = descriptor.tasks[1].input_mappings[-1]
    assert (last.transform, last.tolerance) == ("source + 1", False)
    assert descriptor.tasks[0].next == ("b",)


def test_output_makes_an_end_task_behind_what_it_reads() -> None:
    descriptor = parse_descriptor(flow(
        "- {category: pass, name: a, next: b}\n- {category: pass, name: b}",
        "output: {label: $.a.code, other: $.b, fixed: '5'}\n",
    ))
    assert [task.next for task in descriptor.tasks] == [("b", "endTask"), ("endTask",), ()]
    assert descriptor.end_task_name == "endTask"
    assert rules(descriptor, "endTask", "output_mappings") == [
        ("$.output.label", "$.context.label"),
        ("$.output.other", "$.context.other"),
        ("$.output.fixed", "$.context.fixed"),
    ]


def test_an_end_task_that_reads_no_task_runs_last() -> None:
    descriptor = parse_descriptor(flow(
        "- {category: pass, name: a, next: b}\n- {category: pass, name: b}\n- {category: pass, name: c}",
        "output: {city: $.context.city}\n",
    ))
    assert [task.next for task in descriptor.tasks] == [("b",), ("endTask",), ("endTask",), ()]


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        ("$.a.items.*.id", ".items"),
        ("$.a.l[?(@.k==1)].v", ".l"),
        ("$.a.l[-1].v", ".l"),
        ("$.a.l.length()", ".l"),
        ("$.a..id", ""),
        ("$.a.l[0].v", ".l[0].v"),
        ("$['a'].b", ".b"),
    ],
)
def test_the_longest_definite_part_of_a_reference_is_stored(path: str, stored: str) -> None:
    descriptor = parse_descriptor(flow(
        f"- {{category: pass, name: a, next: b}}\n- {{category: pass, name: b, input: {{x: \"{path}\"}}}}"
    ))
    assert rules(descriptor, "a", "output_mappings") == [(f"$.output{stored}", f"$.context.a{stored}")]


@pytest.mark.parametrize("source", ["$.context.a.x", "$.input.a", "$.tasks.a.trigger_url", "$.ab.x", "a.x", "$a.x"])
def test_other_sources_are_no_references(source: str) -> None:
    descriptor = parse_descriptor(flow(
        f"- {{category: pass, name: a, next: b}}\n- {{category: pass, name: b, input: {{x: {source}}}}}"
    ))
    assert rules(descriptor, "a", "output_mappings") == []
    assert rules(descriptor, "b", "input_mappings") == [(source, "$.input.x")]


def test_without_shorthand_nothing_is_rewritten() -> None:
    descriptor = parse_descriptor(flow(
        "- {category: pass, name: a}\n- {category: pass, name: b, inputMappings: [{source: $.a.x, target: $.input.x}]}"
    ))
    assert rules(descriptor, "b", "input_mappings") == [("$.a.x", "$.input.x")]


def test_input_of_a_nested_task_is_no_shorthand() -> None:
    descriptor = parse_descriptor(flow(
        "- {category: foreach, name: f, iterationMapping: {collection: c}, "
        "tasks: [{category: pass, name: a, input: {x: 1}}]}"
    ))
    assert "inputMappings" not in descriptor.tasks[0].document["tasks"][0]


@pytest.mark.parametrize("entry", ["{source: {k: 1}}", "{source: a, tolerance: perhaps}", "{transform: [1]}"])
def test_a_malformed_entry_is_refused_with_its_place(entry: str) -> None:
    with pytest.raises(InvalidDescriptor) as caught:
        parse_descriptor(flow(f"- category: pass\n  name: a\n  input:\n    x: {entry}"))
    problem = caught.value.problems[0]
    assert (problem.code, problem.line) == (30402, 8)
    assert problem.path.startswith("tasks[0].input.x.")


SAMPLES = [
    flow("- {category: pass, name: a}"),
    flow("- {category: pass, name: a, next: b}\n- {category: pass, name: b, input: {x: $.a.y, z: 1}}"),
    flow("- {category: pass, name: a, next: b, outputMappings: [{source: '1', target: $.context.a.mine}]}\n"
         "- {category: switch, name: b, input: {x: $.a.y}, switches: [{condition: default, next: c}]}\n"
         "- {category: pass, name: c, parameters: {k: 1e3, d: '2020-01-01', n: ~, m: {}, l: [], t: 'on'}}",
         "output: {r: $.a.y, s: $.c.k}\nversion: 1.0\nalias: preview\n"),
    flow("- {category: function, name: a, pattern: flow_sync, resourceProtocol: rillflow, foo: bar}",
         "output: {fixed: '1'}\ntimer: {timeoutInSeconds: 3}\n"),
    "type: resource\nworkspace: demo\ndagName: lib\nresources: [{name: a, category: X, deep: {k: [1, {}]}}]\n",
]


@pytest.mark.parametrize("text", SAMPLES)
def test_what_is_read_back_is_the_same_descriptor_when_stored_again(text: str) -> None:
    descriptor = parse_descriptor(text)
    again = parse_descriptor(to_yaml(descriptor))
    assert again == descriptor
    assert to_yaml(again) == to_yaml(descriptor)


@pytest.mark.parametrize("text", SAMPLES)
def test_the_stored_form_loses_nothing(text: str) -> None:
    descriptor = parse_descriptor(text)
    assert load_stored(dump_stored(descriptor)) == descriptor


def test_a_large_descriptor_is_stored_small() -> None:
    lines = "\n".join(f"- {{category: pass, name: a{i}, title: 'some words about it'}}" for i in range(5000))
    descriptor = parse_descriptor(flow(lines))
    body = dump_stored(descriptor)
    assert len(body) < 100_000
    assert load_stored(body) == descriptor


@pytest.mark.parametrize("body", [b"", b"{}", b"z123", b"[]", b'{"md5":"x","document":{}}', b"nonsense"])
def test_a_damaged_stored_form_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        load_stored(body)


def test_generated_parts_are_not_read_back_and_own_ones_stay() -> None:
    descriptor = parse_descriptor(SAMPLES[2])
    plain = unconvert(descriptor.document)
    assert [task["name"] for task in plain["tasks"]] == ["a", "b", "c"]
    assert plain["tasks"][0]["outputMappings"] == [{"source": "1", "target": "$.context.a.mine"}]
    assert plain["tasks"][0]["next"] == "b"
    assert "inputMappings" not in plain["tasks"][1]
    assert "end_task_name" not in plain
    assert unconvert(plain) == plain
    assert "endTask" not in to_yaml(descriptor)


def test_the_yaml_quotes_every_text() -> None:
    text = to_yaml(parse_descriptor(SAMPLES[0]))
    assert text.startswith('workspace: "demo"\ndagName: "main"\ntype: "flow"\ntasks:\n- name: "a"\n')
    assert "tolerance: false" in text


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=140), _json, max_size=4))
def test_any_parameters_survive_being_written_and_read(parameters: dict[str, Any]) -> None:
    document: dict[str, Any] = {
        "workspace": "demo",
        "dagName": "main",
        "type": "flow",
        "tasks": [{"name": "a", "category": "pass", "parameters": parameters}],
    }
    written = document_to_yaml(document)
    assert parse_descriptor(written).tasks[0].document["parameters"] == parameters
