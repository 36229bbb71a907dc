"""Suspense tasks and external events (rill-dsl 10; decisions, "Events in YAML flows").

Conditions look at the task's input, so data travels payload -> outputMappings -> context -> inputMappings -> input.

Events come to the root scope. It keeps the list of those who wait, wherever they are, and a buffer of events that
nobody waits for yet. Suspense tasks of groups enrol by message and get their events by message; both are repeated after
a crash, so enrolling twice and getting an event twice change nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from tornflow.engine.conditions import ConditionError, all_hold, any_holds
from tornflow.engine.events import EventHandedOver, EventRaised, EventReturned, WaiterArrived, Woken
from tornflow.engine.mapping import MappingError
from tornflow.engine.program import CompiledTask
from tornflow.engine.scope import Scope, document
from tornflow.engine.turn import Turn
from tornflow.errors import LimitExceeded, TaskFinished, TaskNotFound, WrongCategory
from tornflow.model.descriptor import SuspenseTask
from tornflow.model.execution import KeptEvent, TaskState
from tornflow.model.jsontext import dumps
from tornflow.model.messages import AwaitEvent, HandOver
from tornflow.model.status import TaskStatus
from tornflow.model.waiters import Waiter


def run_suspense(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    definition = _definition(compiled)
    if definition.conditions is None and not definition.events:
        raise ConditionError(f"suspense task {task.name} has no conditions")
    turn.forget_answer(task)
    task.attempt += 1
    task.waits_since = turn.at
    turn.set_status(task, TaskStatus.RUNNING)
    _look(turn, compiled, task, task_input)
    if task.status is TaskStatus.RUNNING:
        turn.arm_timeout(compiled, task)
        _await_event(turn, definition, task)
        _serve(turn, {name.casefold() for name in definition.events})


def _look(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    """Wake if all conditions hold, else fail if any interruption does. Raises ConditionError."""
    task.input = task_input
    look_at = document("input", task_input)
    if _definition(compiled).conditions is not None and all_hold(compiled.conditions, look_at):
        turn.complete(task, TaskStatus.SUCCEED)
    elif any_holds(compiled.fail_conditions, look_at):
        turn.complete(task, TaskStatus.FAILED, "interruption")  # tolerance does not help (rill-dsl 10)


def check_wakeable(scope: Scope, name: str) -> None:
    """Refuse a wakeup as rill-http-api 7.1 asks. Raises TaskNotFound, WrongCategory, TaskFinished."""
    compiled = scope.graph.tasks.get(name)
    if compiled is None:
        raise TaskNotFound(f"storage can not get taskInfo:{name}", task=name)
    if not isinstance(compiled.definition, SuspenseTask):
        raise WrongCategory(f"task {name} category is not suspense type", task=name)
    if scope.status_of(name).is_completed:
        raise TaskFinished(f"repeated finish task {name}", task=name)


def woken(turn: Turn, event: Woken) -> None:
    _wake(turn, event.task, event.payload, is_reason_enough=True)


def _wake(turn: Turn, name: str, payload: Mapping[str, Any], *, is_reason_enough: bool) -> None:
    """Map the data in, then look again. ``is_reason_enough``: a task without conditions ends with it."""
    scope = turn.scope
    compiled = scope.compiled(name)
    is_running = scope.status_of(name) is TaskStatus.RUNNING
    if not is_running and not payload:
        return
    task = scope.task(name)
    try:
        if payload:
            if is_running:
                task.output = dict(payload)
            turn.map_output(compiled, dict(payload))
        if not is_running:
            return
        task_input = compiled.map_input(scope.state.context, scope.env)
        if is_reason_enough and _definition(compiled).conditions is None:
            task.input = task_input
            turn.complete(task, TaskStatus.SUCCEED)
        else:
            _look(turn, compiled, task, task_input)
    except (MappingError, ConditionError) as error:
        if is_running:
            turn.fail_or_skip(task, str(error))
        else:
            task.msg = str(error)


def timed_out(turn: Turn, task: TaskState) -> None:
    """SKIPPED only where both tolerance and skipOnTimeout say so (rill-dsl 10)."""
    definition = turn.scope.compiled(task.name).definition
    skips = definition.tolerance and (definition.timeline.skip_on_timeout or "").strip().lower() == "true"
    turn.complete(task, TaskStatus.SKIPPED if skips else TaskStatus.FAILED, "timeout")


# --- external events: the waiting side


def _await_event(turn: Turn, definition: SuspenseTask, task: TaskState) -> None:
    if not definition.events:
        return
    names = tuple(name.casefold() for name in definition.events)
    state = turn.scope.state
    if state.key.path:
        message = AwaitEvent(task.name, names, task.waits_since)
        turn.post_message(f"await:{task.name}:{task.attempt}:{task.last_event}", message)
    else:
        _enrol(turn, Waiter("", task.name, names, task.waits_since, state.generation))


def event_handed_over(turn: Turn, event: EventHandedOver) -> None:
    """Take an event in the scope of its waiter. Raises TaskFinished: nobody waits here any more."""
    scope = turn.scope
    task = scope.peek(event.task)
    is_mine = event.generation in (scope.state.generation, ())  # (): stored before generations were kept with waiters
    if is_mine and task is not None and task.last_event >= event.number:
        return  # it came twice
    if not is_mine or task is None or task.status is not TaskStatus.RUNNING:
        raise TaskFinished(f"task {event.task} does not wait for events", task=event.task)
    _take(turn, event.task, event.number, event.payload)


def _take(turn: Turn, name: str, number: int, payload: Any) -> None:
    task = turn.scope.task(name)
    task.last_event = number
    _wake(turn, name, {} if payload is None else {"event": payload}, is_reason_enough=True)
    if task.status is TaskStatus.RUNNING:
        _await_event(turn, _definition(turn.scope.compiled(name)), task)


# --- external events: the root's side


def event_raised(turn: Turn, event: EventRaised) -> None:
    """Give an event to the task that has waited longest, or keep it.

    Raises:
        LimitExceeded: too many events are kept already, or they are too large together; nothing was changed.
    """
    state, rules = turn.scope.state, turn.scope.rules
    _check_room("engine.event_buffer", rules.event_buffer, len(state.events) + 1, "events")
    if state.events or len(dumps(event.payload)) > rules.context_limit_bytes:
        payloads = [kept.payload for kept in state.events.values()]
        size = sum(len(dumps(payload)) for payload in (*payloads, event.payload))
        _check_room("engine.context_limit_bytes", rules.context_limit_bytes, size, "bytes of events")
    turn.scope.is_dirty = True
    state.event_number += 1
    _keep(turn, state.event_number, KeptEvent(event.name.casefold(), event.payload))
    if not state.is_paused:
        _give_out(turn, [state.event_number])


def _check_room(setting: str, allowed: int, given: int, what: str) -> None:
    if given > allowed:
        raise LimitExceeded(
            f"{given} {what} would wait to be taken, {setting} is {allowed}",
            limit=setting,
            allowed=allowed,
            given=given,
        )


def _keep(turn: Turn, number: int, kept: KeptEvent) -> None:
    turn.scope.state.events[number] = kept
    turn.scope.dirty_events.add(number)


def waiter_arrived(turn: Turn, event: WaiterArrived) -> None:
    """Enrol a waiter of a group, or give it the oldest event that it waits for."""
    if _enrol(turn, Waiter(event.path, event.task, event.names, event.since, event.generation)):
        _serve(turn, event.names)


def _enrol(turn: Turn, waiter: Waiter) -> bool:
    """Return False where the waiter is enrolled already, or is of an earlier life."""
    state = turn.scope.state
    if waiter.generation[:1] != state.generation[:1]:
        return False
    known = state.waiters.get(waiter.path, waiter.task) if waiter.path else None
    if known is not None and known.generation == waiter.generation and known.since >= waiter.since:
        return False
    turn.scope.is_dirty = True
    state.waiters.add(waiter, _order(turn, waiter.task))
    return True


def _serve(turn: Turn, names: Container[str]) -> None:
    state = turn.scope.state
    if state.events and not state.is_paused and not state.key.path:
        _give_out(turn, [number for number, kept in sorted(state.events.items()) if kept.name in names])


def serve_waiters(turn: Turn) -> None:
    """After a pause: give out what was held."""
    _give_out(turn, sorted(turn.scope.state.events))


def _give_out(turn: Turn, numbers: Iterable[int]) -> None:
    """Give kept events, in order of arrival, each to the one that has waited longest for it.

    A loop, because a task that is not satisfied enrols again and may take a thousand events in a row. One pass is
    enough: no earlier event has a name that it waits for.
    """
    scope, state = turn.scope, turn.scope.state
    for number in numbers:
        kept = state.events[number]
        waiter = state.waiters.first(kept.name, lambda task: _order(turn, task), lambda one: _still_waits(turn, one))
        if waiter is not None:
            del state.events[number]
            scope.dirty_events.add(number)
            state.waiters.remove(waiter.path, waiter.task)
            scope.is_dirty = True
            _hand_over(turn, waiter, number, kept)


def event_returned(turn: Turn, event: EventReturned) -> None:
    """An event found its task gone: it is as good as new, and still the oldest of its time."""
    state = turn.scope.state
    message = turn.drop_message(event.message_id)
    if not isinstance(message, HandOver) or state.status.is_completed:
        return
    _keep(turn, message.event, KeptEvent(message.name, message.payload))
    if not state.is_paused:
        serve_waiters(turn)


def _hand_over(turn: Turn, waiter: Waiter, event: int, kept: KeptEvent) -> None:
    """Give an event away under a new number: one that comes back, and goes to somebody who has taken later ones
    meanwhile, must not look like a doubled one."""
    state = turn.scope.state
    state.event_number += 1
    number = state.event_number
    if waiter.path:
        message = HandOver(waiter.path, waiter.generation, waiter.task, number, event, kept.name, kept.payload)
        turn.post_message(f"event:{number}", message)
    else:
        _take(turn, waiter.task, number, kept.payload)


def _order(turn: Turn, task: str) -> int:
    """The place of a task in the YAML breaks ties; tasks of groups come after those of the top level."""
    return turn.scope.graph.places.get(task, len(turn.scope.graph.places))


def _still_waits(turn: Turn, waiter: Waiter) -> bool:
    return bool(waiter.path) or turn.scope.status_of(waiter.task) is TaskStatus.RUNNING


def _definition(compiled: CompiledTask) -> SuspenseTask:
    definition = compiled.definition
    assert isinstance(definition, SuspenseTask)
    return definition
