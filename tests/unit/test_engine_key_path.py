"""Key-path mode: the important part of a flow reports before the rest is done (rill-dsl 4.8)."""

from __future__ import annotations

from tests.golden.engine_play import Play
from tornflow.engine.events import TaskCompleted
from tornflow.engine.scope import Scope

FLOW = """
workspace: demo
dagName: ex
type: flow
tasks:
- {category: function, name: work, pattern: task_async, resourceName: http://svc, next: "eager,patient",
   outputMappings: [{source: $.output.v, target: $.context.v}]}
- {category: pass, name: eager, keyCallback: true}
- {category: pass, name: patient}
"""


def _statuses(scope: Scope) -> dict[str, str]:
    return {name: scope.status_of(name).value for name in scope.graph.tasks}


def _report(play: Play, scope: Scope, result: str, value: int) -> None:
    payload = {"result_type": result, "v": value}
    play.send(scope, TaskCompleted(play.now, "work", payload, result == "SUCCESS"))


def test_a_key_success_starts_only_followers_with_a_key_callback() -> None:
    play = Play(FLOW, {}, {})
    scope = play.start(play.flow, {})
    _report(play, scope, "KEY_SUCCEED", 1)
    assert _statuses(scope) == {"work": "KEY_SUCCEED", "eager": "SUCCEED", "patient": "NOT_STARTED"}
    assert (scope.state.status, scope.state.context["v"]) == ("KEY_SUCCEED", 1)


def test_the_second_completion_ends_the_flow() -> None:
    play = Play(FLOW, {}, {})
    scope = play.start(play.flow, {})
    _report(play, scope, "KEY_SUCCEED", 1)
    _report(play, scope, "SUCCESS", 2)
    assert _statuses(scope) == {"work": "SUCCEED", "eager": "SUCCEED", "patient": "SUCCEED"}
    assert (scope.state.status, scope.state.context["v"]) == ("SUCCEED", 2)


def test_a_failure_after_a_key_success_fails_the_flow() -> None:
    play = Play(FLOW, {}, {})
    scope = play.start(play.flow, {})
    _report(play, scope, "KEY_SUCCEED", 1)
    _report(play, scope, "FAILED", 2)
    assert scope.state.status == "FAILED"


def test_a_child_reports_its_key_success_and_its_end_to_its_parent() -> None:
    parent = """
workspace: demo
dagName: ex
type: flow
tasks:
- {category: function, name: sub, pattern: flow_sync, resourceName: "rillflow://demo:child", next: after}
- {category: pass, name: after, keyCallback: true}
"""
    play = Play(parent, {"child": FLOW.replace("dagName: ex", "dagName: child")}, {})
    root = play.start(play.flow, {})
    child = play.roots()[1]
    _report(play, child, "KEY_SUCCEED", 1)
    assert _statuses(root) == {"sub": "KEY_SUCCEED", "after": "SUCCEED"}
    assert root.state.status == "KEY_SUCCEED"
    _report(play, child, "SUCCESS", 2)
    assert (_statuses(root)["sub"], root.state.status) == ("SUCCEED", "SUCCEED")
