"""The heart: one event changes one scope and yields commands.

Theory. A scope is in order when nothing is left to do *now*: every ready task was started (or waits for the next step,
because this one did its share), and if no task is ready or running, the flow has its final status. Each event disturbs
that order in one place; ``step`` applies the disturbance, then starts what became ready, then settles. Nothing here
does input or output, reads a clock or makes ids, and a late, doubled or foreign event changes nothing.

An event that its sender must be told about (a completion for a task that does not wait for one) raises
``IllegalTransition`` *before* anything is changed. Everything else never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from tornflow.engine import control, function, groups, redo, suspense
from tornflow.engine.commands import AnnounceFlow, Command
from tornflow.engine.ending import finish, settle, terminate, time_out
from tornflow.engine.events import (
    AttemptEnded,
    ChildEnded,
    Continued,
    Controlled,
    Degraded,
    Delivered,
    Event,
    EventHandedOver,
    EventRaised,
    EventReturned,
    GroupEnded,
    GroupsGathered,
    GroupsStarted,
    Paused,
    Recovered,
    Redone,
    Resumed,
    StatusForced,
    Submitted,
    TaskCompleted,
    Terminated,
    TimerFired,
    WaiterArrived,
    Woken,
)
from tornflow.engine.scope import Scope
from tornflow.engine.starting import run_ready
from tornflow.engine.taking_over import recovered
from tornflow.engine.tokens import attempt_token, number_in
from tornflow.engine.turn import Turn
from tornflow.errors import AttemptOver, ExecutionFinished, TaskFinished, TaskNotFound, TaskNotRunning, WrongCategory
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import TaskState
from tornflow.model.generation import Generation
from tornflow.model.messages import ConfirmParent
from tornflow.model.names import instance_name
from tornflow.model.status import Category, FlowStatus, Pattern, TaskStatus


def step(scope: Scope, events: Iterable[Event]) -> list[Command]:
    """Apply events in order and return what to do once the change is saved."""
    commands: list[Command] = []
    for event in events:
        apply(scope, event, commands)
    return commands


def apply(scope: Scope, event: Event, commands: list[Command]) -> None:
    """Apply one event to a scope, appending commands.

    Raises:
        IllegalTransition, TaskNotFound: the event does not fit; the scope is as it was, no command was added.
    """
    turn = Turn(scope, event.at, commands)
    if isinstance(event, Delivered):
        turn.drop_message(event.message_id)
        return
    if isinstance(event, Recovered):
        recovered(turn, event)
    before = scope.state.status
    if before.is_completed and not isinstance(event, _WORKS_ON_FINISHED):
        _refuse_late(scope, event)
        return
    _disturb(turn, event)
    after = scope.state.status
    if scope.is_dirty and (after is not before or not after.is_completed):
        scope.state.updated_at = event.at  # an end by order counts as well (dapr-http-api 5.2)
        if not after.is_completed and not scope.state.is_paused:
            run_ready(turn)
            if scope.state.status is FlowStatus.KEY_SUCCEED and (scope.active or not scope.keyed):
                scope.state.status = FlowStatus.RUNNING
            settle(turn)


_WORKS_ON_FINISHED = (Degraded, Redone, StatusForced, EventReturned)


def _disturb(turn: Turn, event: Event) -> None:
    match event:
        case Submitted():
            _submitted(turn)
        case AttemptEnded():
            function.attempt_ended(turn, event)
        case TaskCompleted():
            _check_awaits_completion(turn.scope, event)
            function.task_completed(turn, event)
        case ChildEnded():
            function.child_ended(turn, event)
        case TimerFired():
            _timer_fired(turn)
        case Continued():
            turn.scope.is_dirty |= bool(turn.scope.ready)
        case Paused():
            control.pause(turn)
        case Resumed():
            if control.resume(turn):
                _take_effect(turn)
        case Controlled():
            if control.controlled(turn, event):
                _take_effect(turn)
        case Terminated():
            if event.generation is None or _belongs_to(turn.scope.state.generation, event.generation):
                terminate(turn)
        case GroupsStarted():
            groups.groups_started(turn, event)
        case GroupEnded():
            groups.group_ended(turn, event)
        case GroupsGathered():
            groups.groups_gathered(turn, event)
        case Woken():
            suspense.check_wakeable(turn.scope, event.task)
            _check_token(turn.scope, event.task, event.token)
            suspense.woken(turn, event)
        case EventRaised():
            suspense.event_raised(turn, event)
        case WaiterArrived():
            suspense.waiter_arrived(turn, event)
        case EventHandedOver():
            suspense.event_handed_over(turn, event)
        case EventReturned():
            suspense.event_returned(turn, event)
        case Redone():
            redo.redone(turn, event)
        case Degraded():
            control.degraded(turn, event)
        case StatusForced():
            redo.status_forced(turn, event)
        case Recovered() | Delivered():
            pass
        case _:
            assert_never(event)


def _submitted(turn: Turn) -> None:
    scope, state = turn.scope, turn.scope.state
    if state.status is not FlowStatus.NOT_STARTED:
        return
    state.status = FlowStatus.RUNNING
    state.invocations.append([turn.at, None])
    scope.is_dirty = True
    if not state.key.path:
        turn.commands.append(AnnounceFlow(FlowStatus.RUNNING))
    if state.error_type is not None:  # nothing to run: the workflow's name is not registered
        finish(turn, FlowStatus.FAILED)
        return
    if state.parent is not None:
        turn.post_message("confirm", ConfirmParent())
    redo.arm_flow_timeout(turn)
    for name in scope.graph.roots:
        turn.make_ready(name)


def _check_awaits_completion(scope: Scope, event: TaskCompleted) -> None:
    """Refuse a completion exactly as rill-http-api 5.3 asks; one that names its attempt must name the present one."""
    name = event.task
    compiled = scope.graph.tasks.get(name)
    if compiled is None:
        raise TaskNotFound(f"storage can not get taskInfo:{name}", task=name)
    _check_token(scope, name, event.token)
    status = scope.status_of(name)
    if status.is_completed:
        raise TaskFinished(f"repeated finish task {name}", task=name)
    definition = compiled.definition
    if not isinstance(definition, FunctionTask):
        raise WrongCategory(f"task {name} category is {definition.category.value}, not function", task=name)
    # The answer of a synchronous attempt is its only end; the reference keeps such a task READY meanwhile.
    if status not in _AWAITING_COMPLETION or definition.pattern in (Pattern.TASK_SYNC, Pattern.FLOW_ASYNC):
        raise TaskNotRunning(f"attempt finish wrong task {name}", task=name)


def _check_token(scope: Scope, name: str, token: str | None) -> None:
    if token is None:
        return
    task = scope.peek(name)
    if task is None or token != attempt_token(scope.state.generation, task.attempt):
        instance = instance_name(scope.state.key.path, name)
        raise AttemptOver(f"attempt {number_in(token)} of {instance} is over", task=name)


_AWAITING_COMPLETION = (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)


def _timer_fired(turn: Turn) -> None:
    scope = turn.scope
    if scope.state.is_paused:
        return
    if scope.state.due_at is not None and scope.state.due_at <= turn.now:
        time_out(turn)
        return
    while (task := scope.pop_due(turn.now)) is not None:
        kind = task.timer
        scope.clear_timer(task)
        if kind == "timeout":
            _TIMED_OUT[scope.compiled(task.name).definition.category](turn, task)
        else:
            task.timer = "waited" if kind in ("wait", "until") else None
            scope.ready.append(task.name)


_TIMED_OUT: dict[Category, Callable[[Turn, TaskState], None]] = {
    Category.FUNCTION: function.timed_out,
    Category.SUSPENSE: suspense.timed_out,
    Category.FOREACH: groups.timed_out,
    Category.CHOICE: groups.timed_out,
}


def _belongs_to(generation: Generation, run: Generation) -> bool:
    return generation[: len(run)] == run


def _take_effect(turn: Turn) -> None:
    """After a pause, what was held back takes effect: due timers, groups that were not started, buffered events."""
    _timer_fired(turn)
    scope = turn.scope
    if scope.state.status.is_completed:
        return
    if scope.open_groups:
        for task in scope.state.tasks.values():
            if task.groups is not None and task.status is TaskStatus.RUNNING and task.groups.next < task.groups.total:
                groups.start_more(turn, scope.task(task.name))
    if scope.state.events:
        suspense.serve_waiters(turn)


def _refuse_late(scope: Scope, event: Event) -> None:
    """A finished flow refuses completions and ignores everything else."""
    if isinstance(event, (TaskCompleted, Woken, EventHandedOver)):
        execution_id = scope.state.key.execution_id
        raise ExecutionFinished(f"{execution_id} is finished", execution_id=execution_id)
