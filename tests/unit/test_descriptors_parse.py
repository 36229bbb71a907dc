"""Text to model: scalars, shapes, normal form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.descriptors import DescriptorLimits, parse_descriptor
from tornflow.errors import InvalidDescriptor
from tornflow.model.descriptor import (
    ChoiceTask,
    ForeachTask,
    FunctionTask,
    PassTask,
    ReturnTask,
    SuspenseTask,
    SwitchTask,
)
from tornflow.model.status import Pattern

HEAD = "workspace: demo\ndagName: main\ntype: flow\n"


def flow(tasks: str, more: str = "") -> str:
    return f"{HEAD}{more}tasks:\n{tasks}\n"


def first_task(tasks: str, more: str = "") -> Any:
    return parse_descriptor(flow(tasks, more)).tasks[0]


LIMITS = DescriptorLimits()


def refused(text: str | bytes, limits: DescriptorLimits = LIMITS) -> tuple[int, str]:
    with pytest.raises(InvalidDescriptor) as caught:
        parse_descriptor(text, limits)
    return caught.value.problems[0].code, caught.value.problems[0].message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-7", -7),
        ("yes", True),
        ("on", True),
        ("True", True),
        ("off", False),
        ("NO", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("0x10", 16),
        ("010", 8),
        ("1_000", 1000),
        ("0b11", 3),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("2023-01-01", "2023-01-01"),
        ("12:30:45", "12:30:45"),
        ("0o10", "0o10"),
        ("y", "y"),
        ("n", "n"),
        ("08", "08"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ('!!int "3"', 3),
        ("_", "_"),
    ],
)
def test_a_free_form_scalar_means_what_jackson_makes_of_it(written: str, value: Any) -> None:
    task = first_task(f"- category: function\n  name: a\n  pattern: task_sync\n  resourceName: http://x\n"
                      f"  parameters:\n    k: {written}")
    assert task.document["parameters"] == {"k": value}
    assert type(task.document["parameters"]["k"]) is type(value)


@pytest.mark.parametrize("written", [".nan", ".inf", "-.INF", "1e999", "9" * 5000])
def test_a_free_form_scalar_without_json_value_is_refused_with_its_place(written: str) -> None:
    code, message = refused(flow(f"- {{category: function, name: a, parameters: {{k: {written}}}}}"))
    assert code == 30402
    assert message.startswith("tasks[0].parameters.k: ")


@pytest.mark.parametrize("written", ["1.50", "yes", "0x10", "2023-01-01", "1_000", ".nan", "$.context.a"])
def test_a_text_field_keeps_the_raw_scalar(written: str) -> None:
    task = first_task(f"- {{category: pass, name: a, inputMappings: [{{source: {written}, target: $.input.a}}]}}")
    assert task.input_mappings[0].source == written


def test_null_in_a_text_field_is_absent_unless_quoted() -> None:
    task = first_task(
        "- {category: pass, name: a, inputMappings: [{source: ~, target: b}, {source: null}, {source: 'null'}]}"
    )
    assert [rule.source for rule in task.input_mappings] == [None, None, "null"]
    assert task.document["inputMappings"] == [{"target": "b"}, {}, {"source": "null"}]


@pytest.mark.parametrize(("written", "value"), [("yes", True), ('"true"', True), ("Off", False), ("false", False)])
def test_booleans_have_many_spellings(written: str, value: bool) -> None:
    assert first_task(f"- {{category: pass, name: a, tolerance: {written}}}").tolerance is value


@pytest.mark.parametrize("written", ["2", "'yes'", "maybe", "[true]"])
def test_other_words_are_no_booleans(written: str) -> None:
    assert refused(flow(f"- {{category: pass, name: a, tolerance: {written}}}"))[0] == 30402


@pytest.mark.parametrize(("written", "value"), [("3", 3), ("'3'", 3), ("1.7", 1), ("-1.7", -1), ("0x10", 16)])
def test_integers_accept_numeric_text_and_cut_fractions(written: str, value: int) -> None:
    task = first_task(
        f"- {{category: function, name: a, pattern: task_sync, resourceName: 'http://x', "
        f"retry: {{maxRetryTimes: {written}, multiplier: '1.5'}}}}"
    )
    assert (task.retry.max_retry_times, task.retry.multiplier) == (value, 1.5)


@pytest.mark.parametrize("written", ["many", "99999999999", "true", "1e300", "{}"])
def test_other_values_are_no_integers(written: str) -> None:
    text = flow(f"- {{category: pass, name: a, progress: {{weight: {written}}}}}")
    code, message = refused(text)
    assert code == 30402
    assert message.startswith("tasks[0].progress.weight: ")


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("inputMappings: {source: a}", "tasks[0].inputMappings"),
        ("inputMappings: [{source: {a: 1}}]", "tasks[0].inputMappings[0].source"),
        ("inputMappings: [~]", "tasks[0].inputMappings[0]"),
        ("timeline: 5", "tasks[0].timeline"),
        ("parameters: [1]", "tasks[0].parameters"),
        ("next: [a, b]", "tasks[0].next"),
        ("input: text", "tasks[0].input"),
    ],
)
def test_a_wrong_shape_is_a_parse_error_that_names_the_field(field: str, path: str) -> None:
    with pytest.raises(InvalidDescriptor) as caught:
        parse_descriptor(flow(f"- category: pass\n  name: a\n  {field}"))
    problem = caught.value.problems[0]
    assert (problem.code, problem.path) == (30402, path)
    assert problem.line == 7
    assert problem.column > 3


@pytest.mark.parametrize("more", ["inputSchema: [1]\n", "defaultContext: {a: {b: 1}}\n", "output: 5\n"])
def test_top_level_fields_have_shapes_too(more: str) -> None:
    assert refused(flow("- {category: pass, name: a}", more))[0] == 30402


def test_the_last_of_equal_keys_wins() -> None:
    assert first_task("- {category: pass, name: a, title: one, title: two}").document["title"] == "two"


def test_only_the_first_document_is_read() -> None:
    assert parse_descriptor(flow("- {category: pass, name: a}") + "---\n{{{").dag_name == "main"


@pytest.mark.parametrize(
    "tasks",
    [
        "- &a {category: pass, name: a}\n- *a",
        "- {category: pass, name: a, parameters: &p {k: 1}}\n- {<<: *p, category: pass, name: b}",
    ],
)
def test_aliases_are_refused_with_their_line(tasks: str) -> None:
    with pytest.raises(InvalidDescriptor) as caught:
        parse_descriptor(flow(tasks))
    problem = caught.value.problems[0]
    assert (problem.code, problem.line) == (30402, 6)
    assert "alias" in problem.message


def test_an_anchor_alone_is_harmless() -> None:
    assert first_task("- &a {category: pass, name: a}").name == "a"


def test_json_is_yaml_and_keeps_characters_beyond_16_bits() -> None:
    document = {
        "workspace": "demo",
        "dagName": "main",
        "type": "flow",
        "tasks": [{"name": "a", "category": "pass", "title": "\U0001f600 and /", "description": "tab\tline\n"}],
    }
    for text in (json.dumps(document), json.dumps(document, indent="\t"), json.dumps(document, separators=(",", ":"))):
        assert parse_descriptor(text).tasks[0].document["title"] == "\U0001f600 and /"


@pytest.mark.parametrize(
    "text",
    ["just text", "[1]", " \n", "# only a comment", "a: [1", "{a: b", "a:\n\t- b", "a: \x01", "? [x]\n: y",
     "--- \n..."],
)
def test_what_is_no_descriptor_at_all_is_a_parse_error(text: str) -> None:
    assert refused(text)[0] == 30402


def test_bytes_that_are_not_utf8_are_a_parse_error() -> None:
    assert refused(b"a: \xff")[0] == 30402
    assert refused("a: \ud800")[0] == 30402


def test_empty_text_has_its_own_code() -> None:
    assert refused("") == (30401, "dag descriptor empty.")
    assert refused(b"") == (30401, "dag descriptor empty.")


def test_size_is_checked_first_and_in_bytes() -> None:
    assert refused("{" * 645_121) == (30508, "dag info length:645121 exceed the limit")
    assert refused("\u00e9\u00e9", DescriptorLimits(size_bytes=3)) == (30508, "dag info length:4 exceed the limit")


@pytest.mark.parametrize("opener", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_without_recursion(opener: str) -> None:
    code, message = refused(opener * 100_000)
    assert code == 30402
    assert "deeper than 64" in message


def test_too_many_values_are_refused() -> None:
    code, message = refused("a: [" + "1," * 60 + "]", DescriptorLimits(nodes=50))
    assert (code, message) == (30402, "more than 50 values")


def test_a_bomb_of_references_is_refused() -> None:
    common = "commonMapping:\n  m: [" + "{source: a, target: $.input.b}," * 200 + "]\n"
    task = "- {category: pass, name: %s, inputMappings: [" + "{reference: m}," * 20 + "]}"
    text = flow("\n".join(task % f"a{i}" for i in range(40)), common)
    assert refused(text) == (30508, "dag mappings:160000 exceed the limit 100000")


def test_unknown_keys_have_no_effect_but_are_kept() -> None:
    task = "- {category: pass, name: a, taskTemplateId: 7, outputSchema: '[]', foo: {x: .nan}}"
    text = flow(task, "alias: release\n")
    descriptor = parse_descriptor(text)
    assert descriptor.document["alias"] == "release"
    assert descriptor.document["tasks"][0] == {
        "name": "a",
        "category": "pass",
        "tolerance": False,
        "keyCallback": False,
        "taskTemplateId": 7,
        "outputSchema": "[]",
        "foo": {"x": ".nan"},
    }


def test_aliases_of_top_level_fields_have_one_normal_form() -> None:
    tasks = "tasks: [{category: pass, name: a}]\n"
    old = parse_descriptor(
        "namespace: demo\nservice: main\ntype: flow\ntimer: {timeoutInSeconds: 30}\n"
        "callback_config: {resourceName: 'http://x'}\n" + tasks
    )
    new = parse_descriptor(HEAD + "timeline: {timeoutInSeconds: '30'}\ncallback: {resourceName: http://x}\n" + tasks)
    assert old == new
    assert old.timeline.timeout_s == "30"
    assert old.callback is not None
    assert old.callback.resource_name == "http://x"


def test_the_present_name_wins_over_the_legacy_one() -> None:
    descriptor = parse_descriptor(flow("- {category: pass, name: a}", "namespace: other\n"))
    assert descriptor.service_id == "demo:main"
    assert "namespace" not in descriptor.document


def test_equal_meaning_has_an_equal_id_whatever_the_spelling() -> None:
    one = parse_descriptor("version: 1.0\n" + flow("- {category: pass, name: a, next: '', title: ~}"))
    two = parse_descriptor('# comment\ntype: flow\ntasks: [{name: "a", category: pass, tolerance: no}]\n'
                           'dagName: main\nworkspace: demo\nversion: "1.0"\n')
    assert one.md5 == two.md5
    assert one == two
    assert one.md5 != parse_descriptor(flow("- {category: pass, name: b}")).md5


def test_every_category_becomes_its_class() -> None:
    tasks = parse_descriptor(flow("""
- {category: function, name: f, next: "p,p", pattern: task_async, resourceName: "http://x/y", requestType: get,
   successConditions: [$.output.ok], failConditions: [$.output.bad], retry: {intervalInSeconds: 2, conditions: [c]}}
- {category: pass, name: p, timeline: {timeoutInSeconds: 5, suspenseIntervalSeconds: 3}, inputType: Stream}
- {category: return, name: r}
- {category: switch, name: s, switches: [{condition: default, next: "x1,x2"}, {condition: c, next: x2, break: true}]}
- {category: choice, name: c, choices: [{condition: $.input.a, tasks: [{category: pass, name: c1}]}]}
- {category: foreach, name: e, iterationMapping: {collection: $.input.l, item: i}, synchronization: {maxConcurrency: 2},
   tasks: [{category: return, name: e1, conditions: []}]}
- {category: suspense, name: w, conditions: [a], interruptions: [b], event: [one, two]}
- {category: pass, name: x1, degrade: {current: true, why: because}}
- {category: pass, name: x2, keyCallback: true, keyExp: k, outputType: stream, progress: {weight: 3}}
""")).tasks
    f, p, r, s, c, e, w, x1, x2 = tasks
    assert isinstance(f, FunctionTask)
    assert (f.pattern, f.protocol, f.request_type, f.next) == (Pattern.TASK_ASYNC, "http", "get", ("p",))
    assert (f.retry.interval_s, f.retry.conditions, f.fail_conditions) == (2, ("c",), ("$.output.bad",))
    assert isinstance(p, PassTask)
    assert p.is_stream_input
    assert (p.timeline.timeout_s, p.timeline.suspense_interval_s) == (None, "3")
    assert isinstance(r, ReturnTask)
    assert r.conditions is None
    assert isinstance(s, SwitchTask)
    assert s.next == ("x1", "x2")
    assert s.document["next"] == "x1,x2,x2"
    assert [(case.next, case.is_break) for case in s.switches] == [(("x1", "x2"), False), (("x2",), True)]
    assert isinstance(c, ChoiceTask)
    assert c.choices[0].tasks[0].name == "c1"
    assert isinstance(e, ForeachTask)
    assert (e.iteration.item, e.iteration.index, e.synchronization.max_concurrency) == ("i", None, "2")
    assert isinstance(e.tasks[0], ReturnTask)
    assert e.tasks[0].conditions == ()
    assert isinstance(w, SuspenseTask)
    assert w.events == ("one", "two")
    assert x1.degrade.current
    assert (x2.key_callback, x2.key_exp, x2.is_stream_output, x2.progress.weight) == (True, "k", True, 3)


def test_an_event_is_a_name_or_a_list_of_names() -> None:
    one = parse_descriptor(flow("- {category: suspense, name: a, event: go}"))
    same = parse_descriptor(flow("- {category: suspense, name: a, event: [go, go]}"))
    assert one == same
    assert isinstance(one.tasks[0], SuspenseTask)
    assert one.tasks[0].events == ("go",)
    assert refused(flow("- {category: suspense, name: a, event: ' '}"))[0] == 30402
    assert refused(flow("- {category: suspense, name: a, event: {go: 1}}"))[0] == 30402


def test_an_explicit_next_of_a_switch_replaces_the_computed_one() -> None:
    task = first_task("- {category: switch, name: s, next: b, switches: [{condition: c, next: a}]}\n"
                      "- {category: pass, name: a}\n- {category: pass, name: b}")
    assert task.next == ("b",)


def test_links_between_branches_of_a_choice_are_dropped() -> None:
    task = first_task("- {category: choice, name: c, choices: ["
                      "{condition: x, tasks: [{category: pass, name: a, next: b}]}, "
                      "{condition: y, tasks: [{category: pass, name: b}]}]}")
    assert task.choices[0].tasks[0].next == ()


def test_a_protocol_alone_makes_a_resource_name() -> None:
    task = first_task("- {category: function, name: a, pattern: task_sync, resourceProtocol: chat}")
    assert (task.resource_name, task.protocol) == ("chat://", "chat")


def test_a_named_resource_is_attached_and_an_inline_one_wins() -> None:
    text = flow(
        "- {category: function, name: a, pattern: task_sync, resourceName: 'resource://mail'}\n"
        "- {category: function, name: b, pattern: task_sync, resource: {name: own, category: Sms, port: 25}}",
        "resources: [{name: mail, category: Smtp, host: h, input_mappings: [{source: 1.0, target: x}]}]\n",
    )
    a, b = parse_descriptor(text).tasks
    assert isinstance(a, FunctionTask)
    assert a.resource is not None
    assert (a.resource.category, a.resource.fields["host"], a.protocol) == ("Smtp", "h", "resource")
    assert a.resource.fields["input_mappings"] == [{"source": "1.0", "target": "x"}]
    assert a.document["resource"]["host"] == "h"
    assert isinstance(b, FunctionTask)
    assert b.resource is not None
    assert (b.resource.name, b.resource.fields, b.protocol) == ("own", {"port": 25}, "resource")


def test_references_are_replaced_in_place_in_tasks_but_not_in_the_document() -> None:
    text = flow(
        "- {category: foreach, name: f, iterationMapping: {collection: c}, tasks: [{category: pass, name: a, "
        "inputMappings: [{source: x, target: $.input.x}, {reference: m, source: y}, {source: z, target: $.input.z}]}]}",
        "commonMapping: {m: [{source: '1', target: $.input.m}, {reference: m}]}\n",
    )
    descriptor = parse_descriptor(text)
    outer = descriptor.tasks[0]
    assert isinstance(outer, ForeachTask)
    assert [rule.source for rule in outer.tasks[0].input_mappings] == ["x", "1", None, "z"]
    assert [rule.get("source") for rule in outer.document["tasks"][0]["inputMappings"]] == ["x", "1", None, "z"]
    assert len(descriptor.document["tasks"][0]["tasks"][0]["inputMappings"]) == 3


def test_an_unknown_reference_of_the_callback_is_dropped() -> None:
    descriptor = parse_descriptor(flow(
        "- {category: pass, name: a}",
        "callback: {resourceName: 'http://x', fullDAGInfo: yes, "
        "inputMappings: [{reference: no}, {source: a, target: b}]}\n",
    ))
    assert descriptor.callback is not None
    assert [rule.source for rule in descriptor.callback.input_mappings] == ["a"]
    assert descriptor.callback.full_dag_info


def test_default_context_values_stay_text() -> None:
    defaults = "defaultContext: {a: 2.50, b: '{\"x\":1}', c: ~}\n"
    descriptor = parse_descriptor(flow("- {category: pass, name: a}", defaults))
    assert descriptor.default_context == {"a": "2.50", "b": '{"x":1}'}


def test_a_resource_library_has_no_tasks() -> None:
    head = "workspace: demo\ndagName: lib\ntype: resource\n"
    descriptor = parse_descriptor(head + "resources: [{name: a, category: X}]\n")
    assert (descriptor.type, descriptor.tasks, descriptor.resources[0].name) == ("resource", (), "a")


_text = st.text(st.sampled_from("abc:-[]{},&*#?|>!%@'\"\\ \n\t01.~yn$"), max_size=40)


@settings(max_examples=300, deadline=None)
@given(_text)
def test_any_text_is_read_or_refused_properly(text: str) -> None:
    for whole in (text, flow(text), flow(f"- {{category: pass, name: a, input: {text}}}")):
        try:
            parse_descriptor(whole)
        except InvalidDescriptor as error:
            assert error.problems
            assert all(problem.message for problem in error.problems)


_wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["a", "flow", "function"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["name", "category", "next", "tasks", "choices", "switches", "condition", "input", "inputMappings",
             "source", "reference", "target", "resource", "retry", "timeline", "iterationMapping", "collection",
             "event", "output"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(_wild, _wild, st.sampled_from(["foreach", "choice", "switch", "function", "suspense", "return", "pass"]))
def test_any_shape_is_read_or_refused_properly(value: Any, more: Any, category: str) -> None:
    task = {"name": "a", "category": category} | (value if isinstance(value, dict) else {"tasks": value})
    document = {"workspace": "demo", "dagName": "main", "type": "flow", "tasks": [task], "commonMapping": more,
                "output": more, "resources": value}
    try:
        parse_descriptor(json.dumps(document))
    except InvalidDescriptor as error:
        assert error.problems
