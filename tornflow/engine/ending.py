"""When a scope ends, and what it still has to tell others (rill-dsl 4.4, 4.6, 13)."""

from __future__ import annotations

from tornflow.engine.commands import AbandonAttempt, AnnounceFlow, ReportGroup
from tornflow.engine.function import abandon_child
from tornflow.engine.groups import stop_groups, stop_members
from tornflow.engine.turn import Turn
from tornflow.model.messages import ConfirmParent, GroupReport, SendCallback, TellParent
from tornflow.model.status import FlowStatus, TaskStatus


def settle(turn: Turn) -> None:
    """End the flow if nothing runs any more. A failed task ends it only when all is quiet."""
    scope = turn.scope
    if scope.ready or scope.state.is_paused:
        return
    if scope.failed and scope.state.key.path and scope.state.reported is None:
        # A group is reported FAILED while others of it still run; they may go on (rill-dsl 4.4).
        _copy_first_failure(turn)
        _report(turn, FlowStatus.FAILED)
    if scope.active:
        return
    if scope.failed:
        _copy_first_failure(turn)
        finish(turn, FlowStatus.FAILED)
    elif scope.keyed:
        _report_key(turn)
    elif scope.ok == len(scope.graph.tasks):
        finish(turn, FlowStatus.SUCCEED)
    else:
        # Validation leaves no way to get here; if there is one, an end with a reason beats a flow that never ends.
        scope.state.code, scope.state.msg = "stuck", "no task can run any more"
        finish(turn, FlowStatus.FAILED)


def _copy_first_failure(turn: Turn) -> None:
    state = turn.scope.state
    for name in turn.scope.graph.tasks:
        task = state.tasks.get(name)
        if task is not None and task.status is TaskStatus.FAILED:
            state.code, state.msg, state.ext = task.code, task.msg, task.ext
            return


def _report_key(turn: Turn) -> None:
    """The important part of the flow is done; it goes on when the tasks that said so report their end."""
    state = turn.scope.state
    if state.status is FlowStatus.KEY_SUCCEED:
        return
    state.status = FlowStatus.KEY_SUCCEED
    turn.scope.is_dirty = True
    if state.parent is not None:
        # Its own message: the one of the end must not be taken for delivered.
        turn.post_message(f"parent:key:{len(state.invocations)}", TellParent(FlowStatus.KEY_SUCCEED))
    if not state.key.path:
        turn.commands.append(AnnounceFlow(FlowStatus.KEY_SUCCEED))


def _report(turn: Turn, status: FlowStatus) -> None:
    state = turn.scope.state
    state.reported = status.value
    turn.scope.is_dirty = True
    if turn.scope.rules.has_nodes:
        # This node may die while the one that has the parent in hand lives on and would never look at the group again.
        turn.post_message("report", GroupReport(status, state.code, state.msg, state.ext))
    else:
        # One node: whoever loses this loses the parent's work as well, and recovery reviews the groups.
        turn.commands.append(ReportGroup(status, state.code, state.msg, state.ext))


def finish(turn: Turn, status: FlowStatus, *, tells_nobody: bool = False) -> None:
    """Give the flow, or the group, its final status and put what must be told into the outbox.

    ``tells_nobody``: no callback (rill-http-api 7.5); a parent flow is told all the same, it would wait for ever.
    """
    scope, state = turn.scope, turn.scope.state
    state.status = status
    state.finished_at = turn.at
    state.due_at = None
    state.is_paused = False
    if state.invocations:
        state.invocations[-1][1] = turn.at
    scope.ready.clear()
    _let_go(turn)
    scope.is_dirty = True
    if state.key.path:
        if state.reported is None and status is not FlowStatus.TERMINATED:
            _report(turn, status)
        return
    run = len(state.invocations)
    if state.parent is not None:
        _forget_confirmation(turn)
        turn.post_message(f"parent:{run}", TellParent(status, state.code, state.msg, state.ext))
    if (state.callback or scope.program.descriptor.callback) and not tells_nobody:
        turn.post_message(f"callback:{run}", SendCallback(run))
    scope.dirty_events.update(state.events)
    state.events.clear()
    state.waiters.clear()
    turn.commands.append(AnnounceFlow(status, state.code, state.msg))


def _forget_confirmation(turn: Turn) -> None:
    """A flow that has ended need not ask whether anybody waits for it."""
    for message_id, (_, message) in list(turn.scope.state.outbox.items()):
        if isinstance(message, ConfirmParent):
            turn.drop_message(message_id)


def _let_go(turn: Turn) -> None:
    """Abandon what is in flight. Statuses stay as they are (rill-dsl 11.2); late answers change nothing."""
    scope = turn.scope
    if not scope.active and not scope.keyed and not scope.failed:
        return
    for name, task in scope.state.tasks.items():
        abandon_child(turn, task)
        if task.is_in_flight:
            scope.set_owner(scope.task(name), None)
            turn.commands.append(AbandonAttempt(name, task.attempt))
        elif task.groups is not None and task.status is TaskStatus.RUNNING:
            stop_groups(turn, scope.task(name))
        elif task.groups is not None and task.status is TaskStatus.FAILED:
            stop_members(turn, task)


def terminate(turn: Turn) -> None:
    """Stop by order: nothing new starts, sub-flows that are waited for stop as well."""
    state = turn.scope.state
    state.code, state.msg = "terminated", "terminated"
    finish(turn, FlowStatus.TERMINATED)


def time_out(turn: Turn) -> None:
    turn.scope.state.msg = "timeout"
    finish(turn, FlowStatus.FAILED)
