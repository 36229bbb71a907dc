"""What holds for every stored scope, at every moment, on every store.

Pure functions over decoded states: ``tornflow storage check`` asks them about a whole store, tests and the simulation
about what they have made. Each returns the problems that it found, an empty list when all is well.

Between two scopes only that is required which holds in every order of their writes: a group may have ended before its
parent heard of it, so that a mark may lag behind, but it never runs ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from tornflow.model.execution import GroupsState, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.generation import Generation
from tornflow.model.messages import GroupReport
from tornflow.model.names import instance_name, split_route
from tornflow.model.status import TaskStatus
from tornflow.runtime.codec import summary_of
from tornflow.spi.storage import StoredScope, Summary

_ACTIVE = (TaskStatus.READY, TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)


@dataclass(frozen=True, slots=True)
class Problem:
    """``code`` is a fixed word; ``is_warning``: it may be meant so, or mends itself."""

    key: ScopeKey
    code: str
    message: str
    is_warning: bool = False

    def __str__(self) -> str:
        where = f"{self.key.execution_id} {self.key.path or '(root)'}"
        return f"{where}: {'warning: ' if self.is_warning else ''}{self.code}: {self.message}"


def scope_problems(state: ScopeState) -> list[Problem]:
    """Check one state by itself."""
    found = [*_life(state), *_ended(state)]
    for task in state.tasks.values():
        found += _task(state, task)
        if task.groups is not None:
            found += _groups(state, task, task.groups)
    return found


def stored_problems(stored: StoredScope, state: ScopeState) -> list[Problem]:
    """Check the columns beside a head: what queries see must be what the state says."""
    found: list[Problem] = []
    if stored.life != state.life:
        found.append(Problem(state.key, "life", f"stored under life {stored.life!r}, the state has {state.life!r}"))
    missing = owners_in(state) - set(stored.owners)
    if missing:
        text = f"{', '.join(sorted(missing))} has work in hand here that nobody would take over"
        found.append(Problem(state.key, "owners", text))
    if (stored.due_at is None) != (not _has_timer(state)):
        text = "a timer is set that nobody would fire" if stored.due_at is None else "due, but no timer is set"
        found.append(Problem(state.key, "due", text))
    return found


def summary_problems(summary: Summary | None, state: ScopeState) -> list[Problem]:
    """Check what lists show of an execution against its root."""
    if summary is None:
        return [Problem(state.key, "summary", "missing: lists do not show this execution")]
    right = summary_of(state)
    return [
        Problem(state.key, "summary", f"{name} is {getattr(summary, name)!r}, the state has {getattr(right, name)!r}")
        for name in (field.name for field in fields(Summary))
        # Stores of before kept no md5; it comes with the next change of the status.
        if getattr(summary, name) != getattr(right, name)
        and not (name == "descriptor_md5" and not summary.descriptor_md5)
    ]


def group_problems(group: ScopeState, parent: ScopeState | None) -> list[Problem]:
    """Check a group against the scope of its foreach or choice."""
    if parent is None:
        return [Problem(group.key, "parent", "the scope of its foreach or choice does not exist")]
    if group.life != parent.life:
        return [Problem(group.key, "stray", f"of life {group.life!r}; the execution has {parent.life!r}")]
    _, name, index = split_route(group.key.path)
    task = parent.tasks.get(name)
    if task is None or task.groups is None or run_of(parent, task) != group.generation:
        return []  # of a run before a redo; the next run replaces it or leaves it
    if index >= task.groups.total:
        return [Problem(group.key, "index", f"{name} has {task.groups.total} groups only")]
    if task.status is not TaskStatus.RUNNING:
        return []
    return list(_marked(group, task.groups, task.groups.marks[index]))


def missing_groups(parent: ScopeState, task: TaskState, present: set[int]) -> list[Problem]:
    """Check that running groups exist: ``present`` are the indices of stored groups of the present run."""
    groups = task.groups
    if groups is None or task.status is not TaskStatus.RUNNING or parent.status.is_completed:
        return []
    coming = {index for batch in groups.batches for index in range(batch.first, batch.first + batch.size)}
    return [
        Problem(ScopeKey(parent.key.execution_id, f"{instance_name(parent.key.path, task.name)}_{index}"), "missing",
                "its parent waits for it, but it does not exist")
        for index, mark in enumerate(groups.marks)
        if mark == Mark.RUNNING and index not in present and index not in coming
    ]  # fmt: skip


def child_problems(child: ScopeState, parent: ScopeState | None) -> list[Problem]:
    """Check a sub-flow that runs against the task that started it."""
    link = child.parent
    if link is None or child.status.is_completed:
        return []
    if parent is None:
        return [Problem(child.key, "orphan", f"its parent {link.execution_id} does not exist", is_warning=True)]
    task = parent.tasks.get(link.task)
    if task is None or parent.generation != link.generation or task.attempt != link.attempt:
        text = f"attempt {link.attempt} of {link.task} that waits for it is over"
        return [Problem(child.key, "orphan", text, is_warning=True)]
    if task.owner is None and task.child_id != child.key.execution_id:
        return [Problem(child.key, "orphan", f"{link.task} does not know it", is_warning=True)]
    return []


def run_of(parent: ScopeState, task: TaskState) -> Generation:
    """Return the generation of the groups of a task's present run."""
    return (*parent.generation, task.attempt)


def owners_in(state: ScopeState) -> set[str]:
    """Return every node that a state names as having something in hand."""
    found = {posted.owner for posted in state.outbox.values()}
    for task in state.tasks.values():
        if task.owner is not None:
            found.add(task.owner)
        if task.groups is not None:
            found.update(batch.owner for batch in task.groups.batches)
            found.update(owner for owner in (task.groups.gatherer, task.groups.holder) if owner is not None)
    return found


# --- one scope


def _life(state: ScopeState) -> Iterator[Problem]:
    path = state.key.path
    depth = len(path.split("-")) if path else 0
    if len(state.generation) != 1 + depth:
        yield Problem(state.key, "generation", f"{state.generation} for a scope {depth} levels below the root")
    if path and (state.events or len(state.waiters) or state.parent is not None):
        yield Problem(state.key, "root", "a group holds what only a root has")
    if not path and state.reported is not None:
        yield Problem(state.key, "root", "a root has nobody to report to")


def _ended(state: ScopeState) -> Iterator[Problem]:
    if not state.status.is_completed:
        if state.finished_at is not None:
            yield Problem(state.key, "end", f"finished at {state.finished_at}, but {state.status}")
        if not _can_move(state):
            yield Problem(state.key, "stuck", f"{state.status}, but nothing runs, waits or is due")
        return
    if state.finished_at is None:
        yield Problem(state.key, "end", f"{state.status} without the moment when")
    if not state.key.path and state.expires_at is None:
        yield Problem(state.key, "end", f"{state.status}, but it never expires")
    if state.is_paused or state.due_at is not None:
        yield Problem(state.key, "end", f"{state.status}, but paused or due")
    if state.events or len(state.waiters):
        yield Problem(state.key, "end", f"{state.status}, but events or waiters are left")


def _can_move(state: ScopeState) -> bool:
    """Whether anything at all may still happen to a scope that has not ended."""
    has_task = any(task.status in _ACTIVE for task in state.tasks.values())
    return state.is_paused or has_task or bool(state.outbox) or not state.tasks


def _task(state: ScopeState, task: TaskState) -> Iterator[Problem]:
    if task.owner is not None and (task.status not in _ACTIVE or state.status.is_completed):
        yield Problem(state.key, "task", f"{task.name} is {task.status}, but an attempt is in flight")
    if task.due_at is not None and task.timer is None:
        yield Problem(state.key, "task", f"{task.name} is due, but no timer is named")
    if task.attempt < task.attempt_base:
        yield Problem(state.key, "task", f"{task.name} has {task.attempt} attempts after {task.attempt_base}")
    if any(end is None for _, end in task.invocations[:-1]):
        yield Problem(state.key, "task", f"{task.name} has an invocation that never ended before its last one")


def _groups(state: ScopeState, task: TaskState, groups: GroupsState) -> Iterator[Problem]:
    def wrong(message: str) -> Problem:
        return Problem(state.key, "groups", f"{task.name}: {message}")

    running = groups.marks.count(Mark.RUNNING)
    if len(groups.marks) != groups.total:
        yield wrong(f"{len(groups.marks)} marks for {groups.total} groups")
    if set(groups.marks) - set(Mark.WORDS):
        yield wrong("unknown marks")
    if groups.open != running:
        yield wrong(f"{groups.open} are counted as running, {running} are marked so")
    if Mark.WAITING in groups.marks[: groups.next] or groups.marks[groups.next :].strip(b"N"):
        yield wrong(f"the first {groups.next} have started, the marks say otherwise")
    if groups.limit and groups.open > groups.limit:
        yield wrong(f"{groups.open} run, {groups.limit} may")
    if groups.items is not None and len(groups.items) != groups.total:
        yield wrong(f"{len(groups.items)} elements for {groups.total} groups")
    if task.status is TaskStatus.RUNNING and not state.status.is_completed and not state.is_paused:
        if groups.is_over and groups.gatherer is None and not groups.batches:
            yield wrong("all have ended, but nobody gathers their results")
        if groups.next < groups.total and groups.open == 0 and not groups.batches:
            yield wrong("some have not started, and nothing starts them")


# --- two scopes


def _marked(group: ScopeState, groups: GroupsState, mark: int) -> Iterator[Problem]:
    has_ended = group.reported is not None or group.status.is_completed
    if mark in (Mark.SUCCEED, Mark.FAILED) and not has_ended:
        yield Problem(group.key, "mark", f"its parent counts it as {Mark.WORDS[mark]}, but it is {group.status}")
    if mark in (Mark.WAITING, Mark.SKIPPED):
        yield Problem(group.key, "mark", "it exists, but its parent has not started it")
    reports = any(isinstance(posted.message, GroupReport) for posted in group.outbox.values())
    if mark == Mark.RUNNING and group.reported is not None and not reports and groups.holder is None:
        yield Problem(group.key, "report", f"it has ended as {group.reported}, and its parent will never hear of it")


def _has_timer(state: ScopeState) -> bool:
    if state.is_paused or state.status.is_completed:
        return False
    return state.due_at is not None or any(task.due_at is not None for task in state.tasks.values())
