"""What happens when a ready task starts: skip, map its input, wait for its time, degrade, run (rill-dsl 4.5, 11.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornflow.engine.commands import Continue
from tornflow.engine.conditions import ConditionError, all_hold
from tornflow.engine.function import run_function
from tornflow.engine.groups import run_choice, run_foreach
from tornflow.engine.mapping import MappingError
from tornflow.engine.program import CompiledTask
from tornflow.engine.scope import document
from tornflow.engine.skipping import is_ruled_out, skip
from tornflow.engine.suspense import run_suspense
from tornflow.engine.turn import LONGEST_WAIT_S, Turn
from tornflow.model.descriptor import ReturnTask
from tornflow.model.execution import TaskState
from tornflow.model.status import Category, TaskStatus

Runner = Callable[[Turn, CompiledTask, TaskState, dict[str, Any]], None]


def run_ready(turn: Turn) -> None:
    """Start ready tasks until none is left, or the step has done its share."""
    scope = turn.scope
    budget = scope.rules.inline_tasks_per_step
    ready = scope.ready
    while ready:
        if budget == 0:
            turn.commands.append(Continue())
            return
        budget -= 1
        _start(turn, ready.popleft())


def _start(turn: Turn, name: str) -> None:
    scope = turn.scope
    compiled = scope.graph.tasks[name]
    task = scope.task(name)
    if compiled.predecessors and is_ruled_out(scope, compiled):
        skip(turn, name)
        return
    if task.timer != "waited":
        task.invocations.append([turn.at, None])
        if len(task.invocations) > scope.rules.attempts_kept:
            del task.invocations[1]
    try:
        task_input = compiled.map_input(scope.state.context, scope.env)
        if compiled.progress_args:
            root = {"input": task_input, "context": {}, "output": {}}
            task.progress_args = {name: source(root, scope.env) for name, source in compiled.progress_args}
        if _must_wait(turn, compiled, task, task_input):
            return
        task.timer = None
        if compiled.definition.is_stream_output:
            turn.wake_stream_readers(compiled)
        if scope.degrade_of(compiled.definition)[0]:
            turn.complete(task, TaskStatus.SKIPPED)
            return
        _RUNNERS[compiled.definition.category](turn, compiled, task, task_input)
    except (MappingError, ConditionError) as error:
        turn.fail_or_skip(task, str(error))


def _must_wait(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> bool:
    """Arm the timer of a timed start. It waits at least as long as asked (decisions, 13)."""
    if compiled.wait_until is None and compiled.wait_for is None:
        return False
    root = {"input": task_input, "context": {}, "output": {}}
    longest = turn.at + LONGEST_WAIT_S * 1000
    if compiled.wait_until is not None:
        moment = _number(compiled.wait_until(root, turn.scope.env))
        if moment is not None:
            return _wait(turn, task, "until", min(moment, longest), turn.now - turn.scope.drift)
    if compiled.wait_for is None or task.timer == "waited":
        return False
    seconds = _number(compiled.wait_for(root, turn.scope.env))
    if seconds is None:
        return False
    return _wait(turn, task, "wait", turn.elapsed(min(seconds, LONGEST_WAIT_S)), turn.elapsed(0))


def _wait(turn: Turn, task: TaskState, kind: str, due_at: int, now: int) -> bool:
    if due_at <= now:
        return False
    turn.scope.set_timer(task, kind, due_at)
    return True


def _run_pass(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    task.input = task.output = task_input
    turn.map_output(compiled, task_input)
    turn.complete(task, TaskStatus.SUCCEED)


def _run_return(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    task.input = task_input
    definition = compiled.definition
    assert isinstance(definition, ReturnTask)
    if definition.conditions is None:
        raise ConditionError(f"return task {task.name} has no conditions")
    if all_hold(compiled.conditions, document("input", task_input)):
        task.skip_next = list(compiled.successors)
        turn.complete(task, TaskStatus.SUCCEED)
    else:
        turn.complete(task, TaskStatus.SKIPPED)


def _run_switch(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    """Decide which successors are ruled out (rill-dsl 8.2): ordinary cases in order, then the defaults."""
    task.input = task_input
    look_at = document("input", task_input)
    chosen: set[str] = set()
    needs_default, is_broken = True, False
    for condition, targets, is_break in compiled.cases:
        if condition is None or is_broken or not _holds_quietly(condition, look_at):
            continue
        chosen.update(targets)
        needs_default, is_broken = False, is_break
    if needs_default:
        chosen.update(name for condition, targets, _ in compiled.cases if condition is None for name in targets)
    every = {name for _, targets, _ in compiled.cases for name in targets}
    task.skip_next = sorted(every - chosen)
    turn.complete(task, TaskStatus.SUCCEED, None if compiled.cases else "switches collection empty")


def _holds_quietly(condition: Callable[[dict[str, Any]], bool], look_at: dict[str, Any]) -> bool:
    try:
        return condition(look_at)
    except ConditionError:
        return False  # a broken case is a case that is not hit (rill-dsl 6.2)


def _number(value: Any) -> int | None:
    """Read a timeline value: an integer, or text of one; anything else is no time at all (rill-dsl 11.3)."""
    if isinstance(value, bool):
        return None
    try:
        return int(str(value))
    except ValueError:
        return None


_RUNNERS: dict[Category, Runner] = {
    Category.FUNCTION: run_function,
    Category.PASS: _run_pass,
    Category.RETURN: _run_return,
    Category.SWITCH: _run_switch,
    Category.CHOICE: run_choice,
    Category.FOREACH: run_foreach,
    Category.SUSPENSE: run_suspense,
}
