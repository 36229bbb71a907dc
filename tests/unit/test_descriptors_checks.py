"""Validation: codes, messages, order, places, warnings."""

from __future__ import annotations

import time

import pytest

from tornflow.descriptors import DescriptorLimits, find_problems, parse_descriptor
from tornflow.errors import InvalidDescriptor, Problem

HEAD = "workspace: demo\ndagName: main\ntype: flow\n"
FOREACH = "category: foreach, iterationMapping: {collection: $.input.l, item: x}"


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidDescriptor) as caught:
        parse_descriptor(text)
    return caught.value.problems


def flow(tasks: str, more: str = "") -> str:
    return f"{HEAD}{more}tasks:\n{tasks}\n"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("workspace: demo\ndagName: main\ntasks: [{category: pass, name: a}]", 30403, "dag type is invalid."),
        (HEAD.replace("flow", "FLOW") + "tasks: [{category: pass, name: a}]", 30403, "dag type is invalid."),
        (HEAD, 30405, "dag task empty."),
        (HEAD + "tasks: []", 30405, "dag task empty."),
        (
            flow(f"- {{{FOREACH}, name: F, tasks: [{{{FOREACH}, name: G, tasks: [{{{FOREACH}, name: K, "
                 "tasks: [{category: pass, name: d}]}]}]}"),
            30406,
            "exceed max depth: F->G->K",
        ),
        ("dagName: main\ntype: flow\ntasks: [{category: pass, name: a}]", 30408, "name invalid:null"),
        (flow("- {category: pass, name: my_task}"), 30408, "name invalid:my_task"),
        (flow("- {category: pass, name: ''}"), 30408, "name invalid:"),
        (flow("- {category: pass}"), 30408, "name invalid:null"),
        (flow("- {category: pass, name: aufgäbe}"), 30408, "name invalid:aufgäbe"),
        (flow(f"- {{category: pass, name: {'a' * 101}}}"), 30408, f"name invalid:{'a' * 101}"),
        (flow("- {category: pass, name: a}\n- {category: pass, name: a}"), 30407, "task name duplicated: a"),
        (flow("- {category: pass, name: demo}"), 30407, "task name duplicated: demo"),
        (
            flow("- {category: pass, name: a}\n- {category: choice, name: c, choices: "
                 "[{condition: $.input, tasks: [{category: pass, name: a}]}]}"),
            30407,
            "task name duplicated: a",
        ),
        (flow("- {category: pass, name: a, next: a}"), 30406, "circle found: a->a"),
        (
            flow("- {category: pass, name: x, next: a}\n- {category: pass, name: a, next: b}\n"
                 "- {category: pass, name: b, next: a}"),
            30406,
            "circle found: a->b->a",
        ),
        (flow("- {category: pass, name: a, next: zz}"), 30413, "next task zz not exist."),
        (flow("- {category: pass, name: a, next: ' '}"), 30413, "next task   not exist."),
        (flow("- {category: pass, name: a, next: 'b,,b'}\n- {category: pass, name: b}"), 30413,
         "next task  not exist."),
        (
            flow(f"- {{category: pass, name: a, next: inner}}\n- {{{FOREACH}, name: F, "
                 "tasks: [{category: pass, name: inner}]}"),
            30413,
            "next task inner not exist.",
        ),
        (flow("- {category: switch, name: s, switches: [{condition: default}]}"), 30413, "next task null not exist."),
        (
            flow("- {category: foreach, name: f, tasks: [{category: pass, name: a}]}"),
            30411,
            "foreach task f is invalid. Because iterationMapping is null.",
        ),
        (
            flow("- {category: foreach, name: f, iterationMapping: {collection: ' '}, "
                 "tasks: [{category: pass, name: a}]}"),
            30411,
            "foreach task f is invalid. Because iterationMapping collection is empty.",
        ),
        (flow(f"- {{{FOREACH}, name: f}}"), 30411, "foreach task f is invalid. Because tasks is empty."),
        (flow("- {category: choice, name: c}"), 30412, "choice task c is invalid. Because choices is empty."),
        (flow("- {category: choice, name: c, choices: [{condition: x}]}"), 30412,
         "choice task c is invalid. Because tasks is empty."),
        (
            flow("- {category: function, name: f, pattern: Task_sync, resourceName: 'http://x'}"),
            30410,
            "function task f is invalid. Because pattern can not be null.",
        ),
        (
            flow("- {category: function, name: f, pattern: task_sync}"),
            30410,
            "function task f is invalid. Because resourceName or resource can not be empty.",
        ),
        (
            flow("- {category: function, name: f, pattern: task_sync, resourceName: 'resource://no'}"),
            30410,
            "function task f is invalid. Because resourceName or resource can not be empty.",
        ),
        (
            flow("- {category: pass, name: a, inputMappings: [{reference: no}]}"),
            30406,
            "taskName: a mappingReference: no invalid",
        ),
        (
            flow("- {category: pass, name: a, outputMappings: [{reference: m}]}", "commonMapping: {m: []}\n"),
            30406,
            "taskName: a mappingReference: m invalid",
        ),
        (flow("- {category: pass, name: a}\n- "), 30406, "tasks[1] is empty"),
        ("type: resource\ntasks: [{category: pass, name: a}]\nresources: [{name: r, category: X}]", 30402,
         "resource type dag do not support tasks property"),
        ("type: resource\nworkspace: demo", 30402, "dag resources empty"),
        ("type: resource\nresources: [{name: r_1, category: X}]", 30408, "resource name invalid:r_1"),
        ("type: resource\nresources: [{name: r, category: X}, {name: r, category: X}]", 30408,
         "resource name duplicate:r"),
        (flow("- {category: pass, name: endTask}", "output: {a: 1}\n"), 30407, "task name duplicated: endTask"),
    ],
)
def test_the_first_problem_is_what_the_reference_answers(text: str, code: int, message: str) -> None:
    found = problems(text)
    assert (found[0].code, found[0].message) == (code, message)
    assert len(found) == 1


@pytest.mark.parametrize("tasks", ["- {name: a}", "- {category: jump, name: a}", "- {category: Pass, name: a}",
                                   "- {category: switch, name: a}", "- text"])
def test_a_task_without_known_category_or_cases_is_a_parse_error(tasks: str) -> None:
    found = problems(flow(tasks))
    assert [problem.code for problem in found] == [30402]


@pytest.mark.parametrize(
    "tasks",
    [
        "- {category: pass, name: a, next: 'b,'}\n- {category: pass, name: b}",
        "- {category: switch, name: s, switches: []}",
        "- {category: return, name: r}",
        "- {category: foreach, name: f, iterationMapping: {collection: 'broken[[['}, "
        "tasks: [{category: pass, name: a}]}",
        "- {category: choice, name: c, choices: [{tasks: []}]}",
        "- {category: pass, name: a, tasks: [{category: pass, name: b}]}",
        "- {category: choice, name: c, choices: [{condition: x, tasks: [{category: pass, name: a, next: b}]}, "
        "{condition: y, tasks: [{category: pass, name: b}]}]}",
    ],
)
def test_what_the_reference_does_not_check_is_accepted(tasks: str) -> None:
    assert parse_descriptor(flow(tasks)).tasks


def test_workspace_and_dag_name_may_be_equal() -> None:
    text = "workspace: demo\ndagName: demo\ntype: flow\ntasks: [{category: pass, name: a}]"
    assert parse_descriptor(text).service_id == "demo:demo"


def test_all_problems_come_at_once_in_the_order_of_the_checks() -> None:
    found = problems(
        "workspace: demo\ndagName: no_name\ntype: flow\ntasks:\n"
        "- {category: function, name: a, next: zz}\n"
        "- {category: pass, name: a, tolerance: maybe}\n"
        "- {category: pass, name: b, inputMappings: [{reference: r}]}\n"
    )
    assert [problem.code for problem in found] == [30402, 30408, 30407, 30413, 30410, 30410, 30406]
    assert [problem.line for problem in found] == [6, 2, 6, 5, 5, 5, 7]
    assert found[3].path == "tasks[0].next"
    assert found[3].column == 39


def test_a_field_of_wrong_shape_is_not_reported_missing_as_well() -> None:
    found = problems(flow("- {category: foreach, name: f, iterationMapping: x, tasks: {a: b}}"))
    assert [problem.code for problem in found] == [30402, 30402]


def test_one_answer_lists_a_bounded_number_of_problems() -> None:
    text = flow("\n".join(f"- {{category: pass, name: a_{i}}}" for i in range(500)))
    assert len(problems(text)) == 200
    with pytest.raises(InvalidDescriptor) as caught:
        parse_descriptor(text, DescriptorLimits(problems=7))
    assert len(caught.value.problems) == 7


def test_too_many_tasks_are_refused() -> None:
    text = flow("\n".join(f"- {{category: pass, name: a{i}}}" for i in range(11)))
    with pytest.raises(InvalidDescriptor) as caught:
        parse_descriptor(text, DescriptorLimits(tasks=10))
    assert caught.value.problems[0] == Problem(30508, "dag tasks:11 exceed the limit 10", "tasks", 5, 1)


def test_long_chains_and_dense_graphs_are_checked_quickly() -> None:
    chain = flow("\n".join(f"- {{category: pass, name: a{i}, next: a{i + 1}}}" for i in range(9000))
                 + "\n- {category: pass, name: a9000}")
    # Every task of a layer leads to every task of the next: 20 to the power of 40 routes.
    layers = [[f"l{layer}t{i}" for i in range(20)] for layer in range(40)]
    dense = flow("\n".join(
        f"- {{category: pass, name: {name}, next: '{','.join(layers[layer + 1]) if layer < 39 else ''}'}}"
        for layer, names in enumerate(layers) for name in names
    ))
    started = time.perf_counter()
    assert len(parse_descriptor(chain).tasks) == 9001
    assert len(parse_descriptor(dense).tasks) == 800
    assert time.perf_counter() - started < 10


def test_a_sound_flow_has_no_problems() -> None:
    assert find_problems(flow("- {category: pass, name: a, taskTemplateId: t}", "alias: release\n")) == []


def test_an_unknown_key_is_a_warning_that_names_the_nearest_field() -> None:
    found = find_problems(flow("- {category: pass, name: a, input_mappings: []}\n- {category: pass, name: b, zzz: 1}",
                               "callbackConfg: {}\n"))
    assert [(one.code, one.path, one.line, one.suggestion) for one in found] == [
        (0, "callbackConfg", 4, "callback"),
        (0, "tasks[0].input_mappings", 6, "inputMappings"),
        (0, "tasks[1].zzz", 7, ""),
    ]


def test_mappings_that_map_nothing_and_dead_links_are_warned_about() -> None:
    found = find_problems(flow(
        "- {category: pass, name: a, title: x, title: y, inputMappings: [{source: $.output.x, target: $.input.x}]}\n"
        "- {category: choice, name: c, choices: [{condition: x, tasks: [{category: pass, name: p, next: q}]}, "
        "{condition: y, tasks: [{category: pass, name: q}]}]}"
    ))
    assert [(one.code, one.path) for one in found] == [
        (0, "tasks[0].title"),
        (0, "tasks[0].inputMappings[0].source"),
        (0, "tasks[1].choices[0].tasks[0].next"),
    ]


def test_errors_and_warnings_come_together() -> None:
    found = find_problems(flow("- {category: pass, name: a, next: zz, zzz: 1}"))
    assert [one.code for one in found] == [30413, 0]
    assert [one.code for one in find_problems("a: [")] == [30402]
