"""The executable examples of the language description (tests/golden/examples.md) against the pure engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.golden.engine_play import Play
from tornflow.descriptors import parse_descriptor
from tornflow.errors import InvalidDescriptor
from tornflow.model.execution import Mark, TaskState
from tornflow.model.names import instance_name
from tornflow.model.status import TaskStatus

TEXT = Path(__file__).with_name("examples.md").read_text("utf-8")
HEADER = "version: 1.0.0\nworkspace: demo\ndagName: {name}\ntype: flow\n"


def _examples() -> list[Any]:
    found = []
    for title, body in re.findall(r"^#### (E\d+ .*?)\n(.*?)(?=^###|\Z)", TEXT, re.DOTALL | re.MULTILINE):
        flows = re.findall(r"```yaml\n(.*?)```", body, re.DOTALL)
        story = json.loads(re.search(r"```json\n(.*?)```", body, re.DOTALL).group(1))  # type: ignore[union-attr]
        found.append(pytest.param(flows, story, id=title.split()[0]))
    return found


def _with_header(text: str, name: str) -> str:
    return HEADER.format(name=name) + re.sub(r"^# child .*\n", "", text)


def test_every_example_of_the_description_is_here() -> None:
    assert len(_examples()) == 59


@pytest.mark.parametrize(("flows", "story"), _examples())
def test_example(flows: list[str], story: dict[str, Any]) -> None:
    expect = story["expect"]
    flow = _with_header(flows[0], "ex")
    if "error" in expect:
        with pytest.raises(InvalidDescriptor) as caught:
            parse_descriptor(flow)
        assert caught.value.problems[0].code == expect["error"]
        return
    children = {"child": _with_header(flows[1], "child")} if len(flows) > 1 else {}
    play = Play(flow, children, story.get("replies", {}))
    root = play.start(play.flow, story["submit"])
    for step in story.get("steps", []):
        play.perform(step)
    _judge(play, root.state, expect)


def _instances(play: Play, state: Any) -> dict[str, Any]:
    """Return the task instances of an execution, those of its groups included."""
    found = {}
    for scope in play.scopes:
        if scope.state.key.execution_id == state.key.execution_id:
            found |= {instance_name(scope.state.key.path, name): task for name, task in scope.state.tasks.items()}
    for name, task in list(found.items()):
        if task.groups is not None:
            for index, mark in enumerate(task.groups.marks):
                if mark == Mark.SKIPPED:
                    for inner in play.flow.bodies[f"{name}/{index}"].tasks:
                        found[f"{name}_{index}-{inner}"] = TaskState(inner, TaskStatus.SKIPPED)
    return found


def _judge(play: Play, state: Any, expect: dict[str, Any]) -> None:
    instances = _instances(play, state)
    statuses = {name: task.status.value for name, task in instances.items()}
    assert {name: statuses.get(name, "NOT_STARTED") for name in expect.get("tasks", {})} == expect.get("tasks", {})
    assert state.status.value == expect["dag"]
    assert {key: state.context.get(key) for key in expect.get("context", {})} == expect.get("context", {})
    assert [key for key in expect.get("absent", []) if key in state.context] == []
    assert {name: play.inputs.get(name) for name in expect.get("inputs", {})} == expect.get("inputs", {})
    messages = {name: task.msg for name, task in instances.items()}
    assert {name: messages.get(name) for name in expect.get("messages", {})} == expect.get("messages", {})
    assert play.rejected == expect.get("rejected", 0)
    if "waits" in expect:
        assert play.waits == expect["waits"]
