"""Naming again what was in the hands of a node that is gone. Nothing of the flow changes but who does it."""

from __future__ import annotations

from tornflow.engine.commands import Deliver, DispatchTask, GatherGroups, ReviewGroups, StartGroups
from tornflow.engine.events import Recovered
from tornflow.engine.groups import run_of, running_indices, started_indices
from tornflow.engine.turn import Turn
from tornflow.model.execution import GroupsState, TaskState
from tornflow.model.messages import Posted


def recovered(turn: Turn, event: Recovered) -> None:
    """Take over the work of one node. Work of other nodes stays theirs, so a second call changes nothing."""
    scope = turn.scope
    for message_id, (owner, message) in list(scope.state.outbox.items()):
        if owner == event.owner:
            scope.release(owner)
            scope.take(scope.node)
            scope.state.outbox[message_id] = Posted(scope.node, message)
            turn.commands.append(Deliver(message_id))
            scope.is_dirty |= owner != scope.node
    if scope.state.status.is_completed:
        return
    if scope.ready:  # left for a next step that may never come
        scope.is_dirty = True
    for name, task in scope.state.tasks.items():
        if task.owner == event.owner:
            if task.owner != scope.node:
                scope.set_owner(scope.task(name), scope.node)
            turn.commands.append(DispatchTask(name, task.attempt, task.input or {}))
        elif task.groups is not None:
            _take_over_groups(turn, task, task.groups, event.owner)


def _take_over_groups(turn: Turn, task: TaskState, groups: GroupsState, gone: str) -> None:
    scope, node, run = turn.scope, turn.scope.node, run_of(turn.scope, task)
    if gone not in (groups.holder, groups.gatherer) and all(batch.owner != gone for batch in groups.batches):
        return
    if gone != node:
        scope.task(task.name)
    for place, batch in enumerate(groups.batches):
        if batch.owner == gone:
            scope.release(gone)
            scope.take(node)
            groups.batches[place] = batch._replace(owner=node)
            indices = running_indices(groups, batch.first, batch.size)
            turn.commands.append(StartGroups(task.name, run, batch.first, indices))
    if groups.gatherer == gone:
        scope.release(gone)
        scope.take(node)
        groups.gatherer = node
        turn.commands.append(GatherGroups(task.name, run, started_indices(groups)))
    if groups.holder == gone:
        scope.release(gone)
        scope.take(node)
        groups.holder = node
        turn.commands.append(ReviewGroups(task.name, run, running_indices(groups, 0, groups.total)))
