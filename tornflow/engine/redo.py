"""Running parts of a flow again, and forcing its status (rill-dsl 11.5; decisions, 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tornflow.engine.commands import AnnounceFlow
from tornflow.engine.ending import finish
from tornflow.engine.events import Redone, StatusForced
from tornflow.engine.function import abandon_child
from tornflow.engine.groups import stop_groups
from tornflow.engine.program import Graph
from tornflow.engine.turn import MISSING, Turn, positive_integer, restore
from tornflow.errors import IllegalTransition, LimitExceeded
from tornflow.model.execution import TaskState
from tornflow.model.messages import SendCallback, TellParent
from tornflow.model.names import root_task
from tornflow.model.status import FlowStatus, TaskStatus

_RANK = {
    FlowStatus.NOT_STARTED: 0,
    FlowStatus.RUNNING: 1,
    FlowStatus.KEY_SUCCEED: 2,
    FlowStatus.SUCCEED: 3,
    FlowStatus.FAILED: 4,
    FlowStatus.TERMINATED: 4,
}


def redone(turn: Turn, event: Redone) -> None:
    """Reset the named tasks and everything behind them, then go on.

    Decided afresh: what a switch or return had ruled out is open again, the retry budget is new.

    Raises:
        LimitExceeded: the context would be too large with the data; nothing was changed.
    """
    scope, state = turn.scope, turn.scope.state
    data = {key: value for key, value in event.data.items() if value is not None}
    _merge(turn, data)
    chosen = _chosen(turn, event.names)
    if not chosen:
        return
    if state.status.is_completed:
        _revive(turn)
        # What ran when the flow was ended by order or timeout was abandoned with it: nobody would end it any more.
        chosen += [name for name, task in state.tasks.items() if task.status is TaskStatus.RUNNING]
    for name in _reachable(scope.graph, chosen):
        task = scope.peek(name)
        if task is not None:
            _reset(turn, scope.task(name))
    scope.recount()
    for name, compiled in scope.graph.tasks.items():
        if scope.status_of(name) is TaskStatus.NOT_STARTED and turn.may_start(compiled):
            turn.make_ready(name)


def _merge(turn: Turn, data: dict[str, Any]) -> None:
    scope, context = turn.scope, turn.scope.state.context
    before = {key: context.get(key, MISSING) for key in data}
    context.update(data)
    size, limit = scope.settle_context(set(data)), scope.rules.context_limit_bytes
    if data and size > limit:
        restore(context, before)
        scope.settle_context(set(data))
        raise LimitExceeded(
            f"context too long: {size} bytes, the limit engine.context_limit_bytes is {limit}",
            limit="engine.context_limit_bytes",
            allowed=limit,
            given=size,
        )
    scope.touch_context(set(data))


def _chosen(turn: Turn, names: Iterable[str]) -> list[str]:
    scope = turn.scope
    wanted = [root_task(name) for name in names]
    if wanted:
        known = (name for name in wanted if name in scope.graph.tasks)
        return [name for name in known if scope.status_of(name) is not TaskStatus.NOT_STARTED]
    return [
        name
        for name, task in scope.state.tasks.items()
        if task.status is not TaskStatus.NOT_STARTED and not task.status.is_ok
    ]


def _revive(turn: Turn) -> None:
    state = turn.scope.state
    state.status = FlowStatus.RUNNING
    state.finished_at = state.expires_at = None
    state.code = state.msg = state.ext = state.error_type = None
    state.invocations.append([turn.at, None])
    for message_id, (_, message) in list(state.outbox.items()):
        # What was to be told of the end before is told at the next end.
        if isinstance(message, TellParent | SendCallback):
            turn.drop_message(message_id)
    turn.commands.append(AnnounceFlow(FlowStatus.RUNNING))
    arm_flow_timeout(turn)


def arm_flow_timeout(turn: Turn) -> None:
    """Start the clock of the whole flow, if it has one (rill-dsl 11.2)."""
    scope = turn.scope
    if scope.program.timeout is None or scope.state.key.path:
        return
    root = {"context": scope.state.context, "input": {}, "output": {}}
    seconds = positive_integer(scope.program.timeout(root, scope.env))
    if seconds is not None:
        scope.state.due_at = turn.elapsed(seconds)


def _reachable(graph: Graph, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in found:
            found.add(name)
            open_names.extend(graph.tasks[name].successors)
    return found


def _reset(turn: Turn, task: TaskState) -> None:
    """Make a task as if it had not started; its past invocations and its attempt numbers stay."""
    abandon_child(turn, task)
    turn.end_attempt(task)
    if task.status is TaskStatus.RUNNING and task.groups is not None:
        stop_groups(turn, task)
    turn.scope.set_status(task, TaskStatus.NOT_STARTED)
    turn.forget_answer(task)
    task.input = task.progress_args = task.groups = task.timer = None
    task.is_marked = False
    task.skip_next = []
    task.attempt_base = task.attempt


def status_forced(turn: Turn, event: StatusForced) -> None:
    """End the flow by order, without callback (rill-http-api 7.5).

    Raises:
        IllegalTransition: the status now is not lower than the one asked for.
    """
    state = turn.scope.state
    wanted = FlowStatus.SUCCEED if event.success else FlowStatus.FAILED
    if _RANK[state.status] >= _RANK[wanted]:
        raise IllegalTransition(f"status is {state.status.value} now, and cannot be set to {wanted.value}")
    state.expires_at = None
    if event.msg is not None:
        state.code, state.msg = "internal_error", event.msg
    finish(turn, wanted, tells_nobody=event.msg is None)
