"""Function tasks: attempts, answers, completions, retries, timeouts (rill-dsl 2.2, 11.1, 11.2, 12.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.engine.commands import DispatchTask
from tornflow.engine.conditions import ConditionError, all_hold, any_holds
from tornflow.engine.events import AttemptEnded, ChildEnded, TaskCompleted
from tornflow.engine.mapping import MappingError
from tornflow.engine.program import CompiledTask
from tornflow.engine.scope import document
from tornflow.engine.turn import Turn
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import TaskState
from tornflow.model.messages import StopChild
from tornflow.model.status import FlowStatus, Pattern, TaskStatus

_AWAITING = (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)
_SHOWN_AS_TEXT = (str, int, float)


def run_function(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    definition = _definition(compiled)
    for key, value in definition.parameters.items():
        if task_input.get(key) is None:
            task_input[key] = value
    turn.forget_answer(task)
    task.input = task_input
    task.attempt += 1
    turn.set_status(task, TaskStatus.RUNNING)
    turn.scope.set_owner(task, turn.scope.node)
    # A task_sync is bounded by its task type alone (rill-dsl 11.2).
    if definition.pattern not in (Pattern.TASK_SYNC, Pattern.FLOW_ASYNC):
        turn.arm_timeout(compiled, task)
    turn.commands.append(DispatchTask(task.name, task.attempt, task_input))


def attempt_ended(turn: Turn, event: AttemptEnded) -> None:
    """Apply what a task type said. Answers of earlier lives, runs and attempts change nothing."""
    task = turn.scope.peek(event.task)
    if task is None or not task.is_in_flight or task.attempt != event.attempt:
        return
    if event.generation != turn.scope.state.generation:
        return
    task = turn.scope.task(event.task)
    turn.scope.set_owner(task, None)
    compiled = turn.scope.compiled(event.task)
    if event.error is not None:
        task.code = event.code
        _failed(turn, compiled, task, None, event.error)
        return
    output = _as_object(event.value)
    _read_metadata(task, output)
    match _definition(compiled).pattern:
        case Pattern.TASK_ASYNC | Pattern.TASK_SCHEDULER:
            pass  # an acknowledgement; the completion decides
        case Pattern.TASK_SYNC:
            task.output = _recorded(event.value)
            _conclude(turn, compiled, task, output, is_success=None)
        case Pattern.FLOW_ASYNC | Pattern.FLOW_SYNC as pattern:
            task.output = output
            _child_started(turn, compiled, task, pattern)


def _child_started(turn: Turn, compiled: CompiledTask, task: TaskState, pattern: Pattern) -> None:
    if task.child_id is None:
        _failed(turn, compiled, task, None, "the answer carries no execution_id")
        return
    try:
        turn.map_output(compiled, {"execution_id": task.child_id})
    except MappingError as error:
        _failed(turn, compiled, task, None, str(error))
        return
    if pattern is Pattern.FLOW_ASYNC:
        turn.complete(task, TaskStatus.SUCCEED)


def task_completed(turn: Turn, event: TaskCompleted) -> None:
    """Apply a completion from outside; ``transition`` has checked that the task waits for one."""
    task = turn.scope.task(event.task)
    output = dict(event.payload)
    _read_metadata(task, output)
    if output:
        task.output = output
    compiled = turn.scope.compiled(event.task)
    if _reports_key(output) and not compiled.has_conditions:
        _key_succeeded(turn, compiled, task, output)
    else:
        _conclude(turn, compiled, task, output, is_success=event.success)


def _reports_key(payload: Mapping[str, Any]) -> bool:
    """The important part is done, the rest follows with a second completion (rill-dsl 4.8)."""
    return str(payload.get("result_type")).upper() == TaskStatus.KEY_SUCCEED.value


def _key_succeeded(turn: Turn, compiled: CompiledTask, task: TaskState, output: dict[str, Any]) -> None:
    try:
        if output:
            turn.map_output(compiled, output)
    except MappingError as error:
        _failed(turn, compiled, task, output, str(error), is_own_fault=True)
        return
    if task.status is not TaskStatus.KEY_SUCCEED:
        turn.set_status(task, TaskStatus.KEY_SUCCEED)
        turn.wake_key_callbacks(compiled)


def child_ended(turn: Turn, event: ChildEnded) -> None:
    """Apply the end of a sub-flow to the task that waits for it; anything stale changes nothing."""
    task = turn.scope.peek(event.task)
    if task is None or task.attempt != event.attempt or task.status not in _AWAITING:
        return
    if event.generation != turn.scope.state.generation:
        return  # a child of a run before the last redo
    if task.is_in_flight:  # the child was quicker than the answer that announces it
        answer = {"execution_id": event.child_id}
        attempt_ended(turn, AttemptEnded(event.at, event.task, event.attempt, event.generation, answer))
        if task.status is not TaskStatus.RUNNING:
            return
    task = turn.scope.task(event.task)
    if task.child_id != event.child_id:
        return
    task.code, task.msg = event.code, event.msg
    task.ext = dict(event.ext) if event.ext else None
    task.output = dict(event.context)
    compiled = turn.scope.compiled(event.task)
    if event.status is FlowStatus.KEY_SUCCEED:
        _key_succeeded(turn, compiled, task, task.output)
    else:
        _conclude(turn, compiled, task, task.output, is_success=event.status is FlowStatus.SUCCEED)


def timed_out(turn: Turn, task: TaskState) -> None:
    """A timeout is always a failure, whatever conditions say (decisions, 2); a sub-flow is stopped."""
    abandon_child(turn, task)
    _failed(turn, turn.scope.compiled(task.name), task, None, "timeout")


def abandon_child(turn: Turn, task: TaskState) -> None:
    """Stop the sub-flow that a task waits for, also one whose start is under way."""
    definition = turn.scope.compiled(task.name).definition
    if not isinstance(definition, FunctionTask) or definition.pattern is not Pattern.FLOW_SYNC:
        return
    if task.status in _AWAITING:
        turn.post_message(f"terminate:{task.name}:{task.attempt}", StopChild(task.name, task.attempt, task.child_id))


def _conclude(
    turn: Turn, compiled: CompiledTask, task: TaskState, output: dict[str, Any] | None, *, is_success: bool | None
) -> None:
    """Judge an answer. ``is_success`` None: a synchronous one, judged by itself (rill-dsl 12.4)."""
    is_sync = is_success is None
    try:
        succeeded = _judge(compiled, output, is_success)
    except ConditionError as error:
        _failed(turn, compiled, task, output, str(error), is_own_fault=True)
        return
    if not succeeded:
        # A completion with conditions maps its output although it failed; a failed sync answer only when tolerated.
        _failed(turn, compiled, task, output, maps_always=not is_sync and compiled.has_conditions)
        return
    try:
        if output:
            turn.map_output(compiled, output)
    except MappingError as error:
        _failed(turn, compiled, task, output, str(error), is_own_fault=True)
        return
    turn.complete(task, TaskStatus.SUCCEED)


def _judge(compiled: CompiledTask, output: Mapping[str, Any] | None, is_success: bool | None) -> bool:
    if output is None:
        return False
    if compiled.conditions:
        return all_hold(compiled.conditions, document("output", output))
    if compiled.fail_conditions:
        return not all_hold(compiled.fail_conditions, document("output", output))
    return says_success(output) if is_success is None else is_success


def says_success(payload: Mapping[str, Any]) -> bool:
    """Read ``result_type``: absent or SUCCESS in any case is success, anything else a failure."""
    result = payload.get("result_type")
    return result is None or str(result).upper() == "SUCCESS"


def _failed(
    turn: Turn,
    compiled: CompiledTask,
    task: TaskState,
    output: dict[str, Any] | None,
    msg: str | None = None,
    *,
    is_own_fault: bool = False,
    maps_always: bool = False,
) -> None:
    """End a failed attempt: try again, or end the task. ``is_own_fault``: mapping its output is not possible."""
    if msg is not None:
        task.msg = msg
    turn.end_attempt(task)
    if _will_retry(turn, compiled, task, output):
        return
    tolerated = compiled.definition.tolerance
    if output and not is_own_fault and (tolerated or maps_always):
        try:
            turn.map_output(compiled, output)
        except MappingError as error:
            task.msg = str(error)
    turn.complete(task, TaskStatus.SKIPPED if tolerated else TaskStatus.FAILED)


def _will_retry(turn: Turn, compiled: CompiledTask, task: TaskState, output: dict[str, Any] | None) -> bool:
    retry = _definition(compiled).retry
    attempts = task.attempt - task.attempt_base
    if attempts > retry.max_retry_times:
        return False
    if compiled.retry_conditions:
        try:
            if output is None or not any_holds(compiled.retry_conditions, document("output", output)):
                return False
        except ConditionError as error:
            task.msg = task.msg or str(error)
            return False
    turn.set_status(task, TaskStatus.READY)
    delay_s = retry_delay_s(retry.interval_s, retry.multiplier, attempts)
    if delay_s > 0:
        turn.scope.set_timer(task, "retry", turn.elapsed(delay_s))
    else:
        turn.scope.ready.append(task.name)
    return True


_LONGEST_DELAY_S = 365 * 86_400


def retry_delay_s(interval_s: int, multiplier: float, attempts: int) -> int:
    """Return trunc(interval x multiplier^attempts), at most a year; attempts counts those already made (11.1)."""
    if interval_s <= 0:
        return 0
    factor = multiplier if multiplier > 0 else 1.0
    try:
        return int(min(interval_s * factor**attempts, _LONGEST_DELAY_S))
    except OverflowError:
        return _LONGEST_DELAY_S


def _as_object(value: Any) -> dict[str, Any] | None:
    """Return an answer as output (rill-dsl 12.4): list -> {"data": list}, scalar -> {}, nothing -> None."""
    if value is None or isinstance(value, dict):
        return value
    return {"data": value} if isinstance(value, list) else {}


def _recorded(answer: Any) -> dict[str, Any] | None:
    """Return what is shown of a synchronous answer: its ``data`` object if it has one, nothing of a list or a scalar
    (rill-dsl 12.4). Conditions and mappings see all of it."""
    if not isinstance(answer, dict):
        return None
    data = answer.get("data")
    return data if isinstance(data, dict) else answer


def _read_metadata(task: TaskState, output: Mapping[str, Any] | None) -> None:
    """Keep code, message and ids of an answer, those in ``data`` winning (rill-dsl 12.4)."""
    if not output:
        return
    data = output.get("data")
    for source in (output, data) if isinstance(data, dict) else (output,):
        task.code = _text(source, "error_code", "code") or task.code
        task.msg = _text(source, "error_msg", "msg") or task.msg
        task.invoke_id = _text(source, "invoke_id") or task.invoke_id
        task.child_id = _text(source, "execution_id") or task.child_id


def _text(source: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = source.get(name)
        if value is not None:
            return str(value) if isinstance(value, _SHOWN_AS_TEXT) else None
    return None


def _definition(compiled: CompiledTask) -> FunctionTask:
    definition = compiled.definition
    assert isinstance(definition, FunctionTask)
    return definition
