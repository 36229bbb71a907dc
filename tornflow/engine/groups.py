"""Foreach and choice: a task whose groups are scopes of their own (rill-dsl 7, 8.1).

The parent holds counters and one mark per group, so a foreach over 100,000 items costs the parent a byte per item. The
scopes of groups are created by the shell in batches: the next batch is asked for when the one before is stored
(``GroupsStarted``), or when a group ends where the number of open groups is limited. All groups run to their end even
when one failed; then their sub-contexts are gathered and mapped out, on success and on failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tornflow.engine.commands import GatherGroups, StartGroups
from tornflow.engine.conditions import ConditionError, all_hold
from tornflow.engine.events import GroupEnded, GroupsGathered, GroupsStarted
from tornflow.engine.mapping import MappingError, PassEnv
from tornflow.engine.program import CompiledTask
from tornflow.engine.scope import Scope, document
from tornflow.engine.turn import Turn
from tornflow.model.descriptor import ChoiceTask, ForeachTask
from tornflow.model.execution import Batch, GroupsState, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.generation import Generation
from tornflow.model.jsontext import without_null_members
from tornflow.model.messages import StopGroups
from tornflow.model.names import instance_name
from tornflow.model.status import FlowStatus, TaskStatus

BATCH = 64
NOTHING_TO_LOOP = "loop collection or subTasks empty"
_NAMED = 1000  # so many groups at most are named in a message; more are found by their path


def run_foreach(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    definition = compiled.definition
    assert isinstance(definition, ForeachTask) and compiled.loop is not None
    loop = compiled.loop
    task.input = task_input
    elements = loop.collection({"input": task_input})
    if elements is None or elements == []:
        turn.complete(task, TaskStatus.SUCCEED, NOTHING_TO_LOOP)
        return
    if not isinstance(elements, list):
        raise MappingError(f"foreach {task.name}: collection {definition.iteration.collection} is no list")
    limit = _limit(compiled, task_input, turn)
    _check_elements(definition, elements)
    rest = loop.remove(task_input)
    if compiled.map_input.may_hold_nulls:  # both become contexts
        elements, rest = without_null_members(elements), without_null_members(rest)
    task.input = rest
    groups = GroupsState(len(elements), bytearray([Mark.WAITING]) * len(elements), limit=limit, items=elements)
    if loop.identity is not None:
        groups.identities = [_identity(loop.identity, element, turn.scope.env) for element in elements]
    _run_groups(turn, compiled, task, groups)
    start_more(turn, task)


def _check_elements(definition: ForeachTask, elements: Sequence[Any]) -> None:
    if not definition.iteration.item:
        raise MappingError(f"foreach {definition.name}: iterationMapping.item is missing")
    if None in elements:
        raise MappingError(f"foreach {definition.name}: element {elements.index(None)} is null")


def _limit(compiled: CompiledTask, task_input: Mapping[str, Any], turn: Turn) -> int:
    """Return how many groups may run at a time, 0 for any number (rill-dsl 7.5; decisions, 19)."""
    loop = compiled.loop
    if loop is None or loop.max_concurrency is None:
        return 0
    if not loop.conditions and turn.scope.rules.is_strict:
        return 0
    try:
        if not all_hold(loop.conditions, document("input", task_input)):
            return 0
        value = loop.max_concurrency({"input": task_input, "context": {}, "output": {}}, turn.scope.env)
        number = 0 if isinstance(value, bool) else int(str(value))
    except (ConditionError, ValueError):
        return 0
    return max(0, number)


def _identity(source: Any, element: Any, env: PassEnv) -> str | None:
    value = source({"iteration": {"element": element}, "input": {}, "context": {}, "output": {}}, env)
    return None if value is None else str(value)


def run_choice(turn: Turn, compiled: CompiledTask, task: TaskState, task_input: dict[str, Any]) -> None:
    definition = compiled.definition
    assert isinstance(definition, ChoiceTask)
    task.input = task_input
    look_at = document("input", task_input)
    if len(compiled.branches) > 1 and None in compiled.branches:
        raise ConditionError(f"choice {task.name}: a branch has no condition")
    groups = GroupsState(len(compiled.branches), bytearray([Mark.SKIPPED]) * len(compiled.branches))
    groups.dirty.add(0)
    chosen = tuple(index for index, condition in enumerate(compiled.branches) if _holds(condition, look_at))
    if not chosen:
        groups.next = groups.total
        task.groups = groups
        turn.complete(task, TaskStatus.SUCCEED)
        return
    if compiled.map_input.may_hold_nulls:  # it becomes the context of the groups
        task.input = without_null_members(task_input)
    for index in chosen:
        groups.mark(index, Mark.RUNNING)
    groups.next, groups.open = groups.total, len(chosen)
    _run_groups(turn, compiled, task, groups)
    _start_batch(turn, task, groups, 0, groups.total, chosen)


def _holds(condition: Any, look_at: dict[str, Any]) -> bool:
    try:
        return condition is not None and condition(look_at)
    except ConditionError:
        return False


def _run_groups(turn: Turn, compiled: CompiledTask, task: TaskState, groups: GroupsState) -> None:
    turn.forget_answer(task)
    task.groups = groups
    task.attempt += 1
    turn.set_status(task, TaskStatus.RUNNING)
    turn.scope.open_groups += 1
    if not turn.scope.rules.has_nodes:
        groups.holder = turn.scope.node
        turn.scope.take(turn.scope.node)
    turn.arm_timeout(compiled, task)


def start_more(turn: Turn, task: TaskState) -> None:
    """Start the next groups that may start, lowest index first."""
    groups = task.groups
    assert groups is not None
    scope = turn.scope
    if not groups.limit and groups.batches:
        return  # a batch is on its way; it sends for more when it is stored
    room = min(BATCH, groups.total - groups.next)
    if groups.limit:
        room = min(room, groups.limit - groups.open)
    if room <= 0 or scope.state.is_paused:
        return
    indices = tuple(range(groups.next, groups.next + room))
    for index in indices:
        groups.mark(index, Mark.RUNNING)
    groups.next += room
    groups.open += room
    _start_batch(turn, task, groups, indices[0], room, indices)


def _start_batch(
    turn: Turn, task: TaskState, groups: GroupsState, first: int, count: int, indices: tuple[int, ...]
) -> None:
    node = turn.scope.node
    groups.batches.append(Batch(node, first, count))
    turn.scope.take(node)
    turn.commands.append(StartGroups(task.name, run_of(turn.scope, task), first, indices))


def groups_started(turn: Turn, event: GroupsStarted) -> None:
    task = _running(turn.scope, event.task, event.generation)
    groups = None if task is None else task.groups
    if groups is None:
        return
    batch = next((one for one in groups.batches if one.first == event.first), None)
    if batch is None:
        return
    task = turn.scope.task(event.task)
    groups.batches.remove(batch)
    turn.scope.release(batch.owner)
    if groups.next < groups.total:
        start_more(turn, task)
    _gather_when_over(turn, task, groups)


def _gather_when_over(turn: Turn, task: TaskState, groups: GroupsState) -> None:
    """Not while a batch is being created: its creator must not write under a task that has ended."""
    if groups.is_over and not groups.batches and groups.gatherer is None:
        groups.gatherer = turn.scope.node
        turn.scope.take(turn.scope.node)
        turn.commands.append(GatherGroups(task.name, run_of(turn.scope, task), started_indices(groups)))


def group_ended(turn: Turn, event: GroupEnded) -> None:
    """Count a group. The first failure's code and message are shown at the parent task (rill-dsl 7.4)."""
    task = _running(turn.scope, event.task, event.generation)
    if task is None or task.groups is None or task.groups.marks[event.index] != Mark.RUNNING:
        return
    groups = task.groups
    task = turn.scope.task(event.task)
    has_failed = event.status is not FlowStatus.SUCCEED
    groups.mark(event.index, Mark.FAILED if has_failed else Mark.SUCCEED)
    groups.open -= 1
    if has_failed and task.code is None and task.msg is None:
        task.code, task.msg, task.ext = event.code, event.msg, dict(event.ext) if event.ext else None
    if groups.is_over:
        _gather_when_over(turn, task, groups)
    elif groups.next < groups.total:
        start_more(turn, task)


def groups_gathered(turn: Turn, event: GroupsGathered) -> None:
    """Map the results out and end the task; results of a failed one are mapped too."""
    task = _running(turn.scope, event.task, event.generation)
    if task is None or task.groups is None or not task.groups.is_over:
        return
    task = turn.scope.task(event.task)
    compiled = turn.scope.compiled(event.task)
    assert task.groups is not None
    status = TaskStatus.FAILED if Mark.FAILED in task.groups.marks else TaskStatus.SUCCEED
    msg = None
    try:
        output = _output(compiled, event.contexts)
        if output:
            turn.map_output(compiled, output)
    except MappingError as error:
        status, msg = TaskStatus.FAILED, str(error)
    close_groups(turn, task)
    turn.complete(task, status, msg)


def _output(compiled: CompiledTask, contexts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if isinstance(compiled.definition, ForeachTask):
        return {"sub_context": list(contexts)}
    merged: dict[str, Any] = {}
    for context in contexts:  # the higher group index wins (rill-dsl 8.1)
        merged.update(context)
    return merged


def close_groups(turn: Turn, task: TaskState) -> None:
    """Let go of what only running groups need."""
    scope, groups = turn.scope, task.groups
    scope.open_groups -= 1
    if groups is None:
        return
    for batch in groups.batches:
        scope.release(batch.owner)
    for owner in (groups.gatherer, groups.holder):
        if owner is not None:
            scope.release(owner)
    groups.batches, groups.gatherer, groups.holder = [], None, None
    groups.items = None
    groups.is_news = True


def stop_groups(turn: Turn, task: TaskState) -> None:
    """Stop the running groups of a task that ended before them; told by message, so that a crash loses nothing."""
    if task.groups is not None and task.groups.open > 0:
        turn.post_message(f"stop:{task.name}:{task.attempt}", StopGroups(task.name, run_of(turn.scope, task)))
    close_groups(turn, task)


def stop_members(turn: Turn, task: TaskState) -> None:
    """Stop what still runs inside groups that were reported FAILED: the flow is over (rill-dsl 4.4)."""
    assert task.groups is not None
    failed = tuple(index for index, mark in enumerate(task.groups.marks) if mark == Mark.FAILED)
    if not failed:
        return
    message = StopGroups(task.name, run_of(turn.scope, task), failed if len(failed) <= _NAMED else None)
    # A name of its own: the order to stop all, after a timeout, must not be overwritten.
    turn.post_message(f"stop:{task.name}:{task.attempt}:members", message)


def timed_out(turn: Turn, task: TaskState) -> None:
    """A foreach or choice that takes too long is FAILED, its groups are stopped (decisions, 3)."""
    stop_groups(turn, task)
    turn.complete(task, TaskStatus.FAILED, "timeout")


def running_indices(groups: GroupsState, first: int, count: int) -> tuple[int, ...]:
    return tuple(index for index in range(first, first + count) if groups.marks[index] == Mark.RUNNING)


def started_indices(groups: GroupsState) -> tuple[int, ...]:
    return tuple(index for index, mark in enumerate(groups.marks) if mark not in (Mark.SKIPPED, Mark.WAITING))


def run_of(scope: Scope, task: TaskState) -> Generation:
    """Return the generation of the groups that the present run of a task has."""
    return (*scope.state.generation, task.attempt)


def _running(scope: Scope, name: str, generation: Generation) -> TaskState | None:
    task = scope.peek(name)
    if task is None or task.status is not TaskStatus.RUNNING or run_of(scope, task) != generation:
        return None
    return task


# --- the scopes of groups


def group_state(scope: Scope, task: TaskState, index: int) -> ScopeState:
    """Return the new state of one group, with its sub-context (rill-dsl 7.1, 8.1)."""
    parent = scope.state
    path = f"{instance_name(parent.key.path, task.name)}_{index}"
    state = ScopeState(ScopeKey(parent.key.execution_id, path), parent.descriptor_md5)
    state.workspace, state.dag_name, state.family = parent.workspace, parent.dag_name, parent.family
    state.created_at = state.updated_at = parent.updated_at
    state.generation = run_of(scope, task)
    state.is_paused = parent.is_paused
    state.degrade = dict(parent.degrade)
    state.control = parent.control
    state.context = dict(task.input or {})
    definition = scope.graph.tasks[task.name].definition
    if isinstance(definition, ForeachTask) and task.groups is not None and task.groups.items is not None:
        iteration = definition.iteration
        state.context[iteration.item or "item"] = task.groups.items[index]
        if iteration.index:
            state.context[iteration.index] = index
    return state
