"""Normal skip: a task whose every predecessor ruled it out is SKIPPED with a marker (rill-dsl 4.5)."""

from __future__ import annotations

from tornflow.engine.program import CompiledTask
from tornflow.engine.scope import Scope
from tornflow.engine.turn import Turn
from tornflow.model.status import TaskStatus

MARKER = "skip due to dependent tasks return or degrade"


def is_ruled_out(scope: Scope, compiled: CompiledTask) -> bool:
    """Return whether a task that is about to start must be skipped instead."""
    return bool(compiled.predecessors) and all(
        _rules_out(scope, before, compiled.name) for before in compiled.predecessors
    )


def _rules_out(scope: Scope, name: str, follower: str) -> bool:
    task = scope.state.tasks.get(name)
    if task is None:
        return False
    if task.is_marked or follower in task.skip_next:
        return True
    return scope.degrade_of(scope.graph.tasks[name].definition)[1]


def skip(turn: Turn, name: str) -> None:
    """Skip a task with the marker.

    The reference also walks ahead and marks followers at once; here each of them becomes ready with its last
    predecessor and is judged by the same rule, which ends in the same statuses without a second walk.
    """
    task = turn.scope.task(name)
    task.is_marked = True
    turn.complete(task, TaskStatus.SKIPPED, MARKER)
