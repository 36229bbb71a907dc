"""The JSON Schema takes what the parser takes, and refuses what it refuses as far as a schema can."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tornflow.descriptors import DescriptorLimits, find_problems, grammar
from tornflow.descriptors.nodes import ListNode, MapNode, Node, compose
from tornflow.descriptors.scalars import free_value
from tornflow.lint import descriptor_schema
from tornflow.lint.schema_words import COMMON, FIELDS, TASK_FIELDS, TOP

ROOT = Path(__file__).parents[2]
VALIDATOR = Draft202012Validator(descriptor_schema())
HEAD = "workspace: demo\ndagName: ex\ntype: flow\n"
# What needs more than a look at one place: links, circles, names that are taken, references, depth.
BEYOND_A_SCHEMA = {30406, 30407, 30413}


def _value(node: Node) -> Any:
    match node:
        case ListNode():
            return [_value(item) for item in node.items]
        case MapNode():
            return {key: _value(item) for key, item in node.entries.items()}
        case _:
            return free_value(node)


def as_editors_see(text: str) -> Any:
    return _value(compose(text, DescriptorLimits())[0])


def samples() -> list[Any]:
    files = [*(ROOT / "conf" / "flows").glob("*.yaml"), *(ROOT / "examples").glob("**/*.yaml")]
    found = [pytest.param(path.read_text(encoding="utf-8"), id=path.name) for path in sorted(files)]
    examples = (ROOT / "tests" / "golden" / "examples.md").read_text(encoding="utf-8")
    for number, body in enumerate(re.findall(r"```yaml\n(.*?)```", examples, re.DOTALL)):
        found.append(pytest.param(HEAD + re.sub(r"^# child .*\n", "", body), id=f"example {number}"))
    return found


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(descriptor_schema())


def test_the_published_file_is_the_schema() -> None:
    file = ROOT / "docs" / "schema" / "rill-flow.schema.json"
    assert json.loads(file.read_text(encoding="utf-8")) == descriptor_schema(), (
        "draw it again: tornflow lint --schema > docs/schema/rill-flow.schema.json"
    )


def test_the_schema_has_every_field_of_the_parser_with_a_meaning() -> None:
    assert TOP.keys() == grammar._DESCRIPTOR_FIELDS.keys() | {"timer", "callback_config", "callbackConfig"}
    assert COMMON.keys() == grammar._COMMON.keys()
    for category, fields in TASK_FIELDS.items():
        assert COMMON.keys() | fields.fields.keys() == grammar._CATEGORIES[category].keys(), category
    every = [TOP, COMMON, *FIELDS.values(), *(fields.fields for fields in TASK_FIELDS.values())]
    assert [name for fields in every for name, (_, meaning) in fields.items() if len(meaning) < 8] == []


@pytest.mark.parametrize("text", samples())
def test_a_flow_is_valid_exactly_if_the_parser_takes_it(text: str) -> None:
    codes = {problem.code for problem in find_problems(text)} - {0}
    errors = [error.message for error in VALIDATOR.iter_errors(as_editors_see(text))]
    if not codes:
        assert errors == []
    elif not codes <= BEYOND_A_SCHEMA:
        assert errors != []


TASK = "category: pass, name: a"
FUNCTION = "category: function, name: a, pattern: task_sync, resourceName: http://h"
WRONG = [
    "workspace: demo\ndagName: ex\ntasks: [{category: pass, name: a}]",
    "workspace: demo\ndagName: ex\ntype: FLOW\ntasks: [{category: pass, name: a}]",
    "dagName: ex\ntype: flow\ntasks: [{category: pass, name: a}]",
    HEAD,
    HEAD + "tasks: []",
    HEAD + "tasks: {}",
    HEAD + "tasks: [null]",
    HEAD + "tasks: [text]",
    HEAD + "tasks: [{name: a}]",
    HEAD + "tasks: [{category: pass}]",
    HEAD + "tasks: [{category: unknown, name: a}]",
    HEAD + "tasks: [{category: pass, name: my_task}]",
    HEAD + "tasks: [{category: pass, name: ''}]",
    HEAD + f"tasks: [{{{TASK}, next: [b]}}]",
    HEAD + f"tasks: [{{{TASK}, tolerance: perhaps}}]",
    HEAD + f"tasks: [{{{TASK}, tolerance: 1}}]",
    HEAD + f"tasks: [{{{TASK}, inputMappings: {{source: a}}}}]",
    HEAD + f"tasks: [{{{TASK}, inputMappings: [null]}}]",
    HEAD + f"tasks: [{{{TASK}, inputMappings: [{{source: {{a: 1}}, target: $.input.a}}]}}]",
    HEAD + f"tasks: [{{{TASK}, progress: {{weight: heavy}}}}]",
    HEAD + f"tasks: [{{{TASK}, timeline: [1]}}]",
    HEAD + f"tasks: [{{{TASK}, input: [1]}}]",
    HEAD + "tasks: [{category: function, name: a, resourceName: http://h}]",
    HEAD + "tasks: [{category: function, name: a, pattern: sync, resourceName: http://h}]",
    HEAD + "tasks: [{category: function, name: a, pattern: task_sync}]",
    HEAD + f"tasks: [{{{FUNCTION}, successConditions: text}}]",
    HEAD + f"tasks: [{{{FUNCTION}, successConditions: [null]}}]",
    HEAD + f"tasks: [{{{FUNCTION}, retry: {{maxRetryTimes: often}}}}]",
    HEAD + "tasks: [{category: switch, name: a}]",
    HEAD + "tasks: [{category: choice, name: a}]",
    HEAD + "tasks: [{category: choice, name: a, choices: []}]",
    HEAD + "tasks: [{category: choice, name: a, choices: [{condition: x}]}]",
    HEAD + "tasks: [{category: foreach, name: a, tasks: [{category: pass, name: b}]}]",
    HEAD + "tasks: [{category: foreach, name: a, iterationMapping: {item: x}, tasks: [{category: pass, name: b}]}]",
    HEAD + "tasks: [{category: foreach, name: a, iterationMapping: {collection: $.input.l}}]",
    HEAD + "tasks: [{category: foreach, name: a, iterationMapping: {collection: $.input.l}, tasks: [{name: b}]}]",
    HEAD + "tasks: [{category: suspense, name: a, event: {name: x}}]",
    HEAD + "inputSchema: [1]\ntasks: [{category: pass, name: a}]",
    HEAD + "defaultContext: {a: {b: 1}}\ntasks: [{category: pass, name: a}]",
    HEAD + "commonMapping: {a: {source: x}}\ntasks: [{category: pass, name: a}]",
    HEAD + "callback: http://h\ntasks: [{category: pass, name: a}]",
    HEAD + "resources: [{name: a}]\ntasks: [{category: pass, name: a}]",
    "workspace: demo\ndagName: ex\ntype: resource",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_has_a_wrong_shape_is_refused_by_parser_and_schema(text: str) -> None:
    assert any(problem.code for problem in find_problems(text))
    assert list(VALIDATOR.iter_errors(as_editors_see(text))) != []
