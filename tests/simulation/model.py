"""What must come out of a flow: a walk over the tasks in order, with nothing of the engine in it.

Where nobody can know how a task ends (a timeout against a slow executor, a shaky one), the model takes what is seen,
looks whether that may be, and goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.executors import value
from tests.simulation.flows import Flow, Task
from tornflow.model.execution import ScopeState, TaskState

SUCCEED, FAILED, SKIPPED, NOT_STARTED = "SUCCEED", "FAILED", "SKIPPED", "NOT_STARTED"
_GIVEN = re.compile(r"~[ew]\d+~")
_IDS = ("flow_execution_id", "flow_root_execution_id")

Look = Callable[[str], ScopeState | None]


@dataclass(slots=True)
class Judge:
    """Compares one execution with the model. ``look`` shows the state of a group by path, ``child`` of a sub-flow."""

    look: Look
    child: Callable[[str], ScopeState | None]
    problems: list[str] = field(default_factory=list)

    def judge(self, flow: Flow, root: ScopeState) -> list[str]:
        """Return what is not as it must be in an execution that nobody has disturbed."""
        if flow.timeout_s and root.status == FAILED and root.msg == "timeout":
            return []
        given = {name: root.context[name] for name in ("mark", "x", "e") if name in root.context}
        seen = {name: one for name, one in root.context.items() if name not in _IDS}
        walk = _Walk(self, root, given)
        walk.run(flow.tasks)
        self.expect("", "status", walk.status, root.status.value)
        self.expect("", "context", walk.context, seen)
        return self.problems

    def expect(self, path: str, what: str, wanted: Any, found: Any) -> None:
        if wanted != found:
            self.problems.append(f"{path or 'root'}: {what} is {found!r}, the model says {wanted!r}")


@dataclass(slots=True)
class _Walk:
    """One scope: the statuses of its tasks so far and its context."""

    judge: Judge
    state: ScopeState
    context: dict[str, Any]
    statuses: dict[str, str] = field(default_factory=dict)
    ruled_out: dict[str, set[str]] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)

    @property
    def status(self) -> str:
        return FAILED if FAILED in self.statuses.values() else SUCCEED

    def run(self, tasks: tuple[Task, ...]) -> None:
        for task in tasks:
            seen = self.state.tasks.get(task.name) or TaskState(task.name)
            if any(self.statuses[name] not in (SUCCEED, SKIPPED) for name in task.before):
                status = NOT_STARTED
            elif task.before and all(self.is_ruled_out(task.name, name) for name in task.before):
                status = SKIPPED
                self.marked.add(task.name)
            else:
                status = getattr(self, f"_{task.kind}")(task, seen)
            self.statuses[task.name] = status
            self.judge.expect(self.state.key.path, f"status of {task.name}", status, seen.status.value)

    def is_ruled_out(self, name: str, before: str) -> bool:
        return name in self.ruled_out.get(before, ()) or before in self.marked

    def input_of(self, task: Task) -> dict[str, Any]:
        names = ("mark", "e") if self.state.key.path else ("mark",)  # only tasks in groups read the element
        found = {name: self.context[name] for name in names if name in self.context}
        if task.before and task.before[0] in self.context:
            found["x"] = self.context[task.before[0]]
        return found

    # --- functions

    def _sync(self, task: Task, seen: TaskState) -> str:
        is_known = not task.is_shaky and not task.timeout_s
        if is_known:
            status = SUCCEED if task.fails <= task.retries else _end(task)
            attempts = min(task.fails, task.retries) + 1
            self.judge.expect(self.state.key.path, f"attempts of {task.name}", attempts, seen.attempt)
        else:
            status = self.one_of(task, seen, SUCCEED, _end(task))
        if status == SUCCEED:
            self.context[task.name] = value(task.name, self.input_of(task))
        return status

    _async = _sync

    def _child(self, task: Task, seen: TaskState) -> str:
        child = self.judge.child(seen.child_id or "")
        if task.timeout_s:
            status = self.one_of(task, seen, SUCCEED, _end(task))
        else:
            status = SUCCEED if child is not None and child.status.value == SUCCEED else _end(task)
            if status != SUCCEED:
                self.judge.expect(self.state.key.path, f"attempts of {task.name}", task.retries + 1, seen.attempt)
        is_timed_out = bool(task.timeout_s) and task.name not in self.state.context
        if status == SUCCEED or (status == SKIPPED and not is_timed_out):
            self.context[task.name] = self.context["mark"]
        return status

    def _detached(self, task: Task, seen: TaskState) -> str:
        if self.judge.child(seen.child_id or "") is None:
            self.judge.problems.append(f"{task.name}: its sub-flow {seen.child_id} was never stored")
        return SUCCEED

    def one_of(self, task: Task, seen: TaskState, *statuses: str) -> str:
        return seen.status.value if seen.status.value in statuses else statuses[0]

    # --- the others

    def _pass(self, task: Task, _seen: TaskState) -> str:
        self.context[task.name] = self.context["mark"]
        return SUCCEED

    _wait = _pass

    def _suspense(self, task: Task, seen: TaskState) -> str:
        status = self.one_of(task, seen, SUCCEED, FAILED) if task.timeout_s else SUCCEED
        given = self.state.context.get(task.name)
        if status == SUCCEED and not (isinstance(given, str) and _GIVEN.fullmatch(given)):
            self.judge.problems.append(f"{task.name}: woke up with {given!r}, which nobody sent")
        if given is not None:
            self.context[task.name] = given
        return status

    def _switch(self, task: Task, _seen: TaskState) -> str:
        chosen = set(task.next[:1] if task.is_on else task.next[1:])
        self.ruled_out[task.name] = set(task.next) - chosen
        return SUCCEED

    def _return(self, task: Task, _seen: TaskState) -> str:
        if task.is_on:
            self.ruled_out[task.name] = set(task.next)
        return SUCCEED if task.is_on else SKIPPED

    def _foreach(self, task: Task, seen: TaskState) -> str:
        if task.size == 0:
            return SUCCEED
        if task.timeout_s and seen.msg == "timeout" and task.name not in self.state.context:
            return FAILED
        mark = {"mark": self.context["mark"]} if "mark" in self.context else {}
        groups = [self.group(task, n, 0, {**mark, "e": n + 1, "i": n}) for n in range(task.size)]
        self.context[task.name] = [group.context for group in groups]
        return FAILED if any(group.status == FAILED for group in groups) else SUCCEED

    def _choice(self, task: Task, _seen: TaskState) -> str:
        given = {"mark": self.context["mark"], **({"flag": 1} if task.is_on else {})}
        chosen = [n for n in range(len(task.bodies)) if n or task.is_on]
        groups = [self.group(task, n, n, dict(given)) for n in chosen]
        names = {one.name for body in task.bodies for one in body}
        for group in groups:
            self.context.update({name: one for name, one in group.context.items() if name in names})
        return FAILED if any(group.status == FAILED for group in groups) else SUCCEED

    def group(self, task: Task, index: int, body: int, given: dict[str, Any]) -> _Walk:
        path = self.state.key.path
        path = f"{path}-{task.name}_{index}" if path else f"{task.name}_{index}"
        state = self.judge.look(path)
        if state is None:
            self.judge.problems.append(f"group {path} was never stored")
            state = ScopeState(self.state.key._replace(path=path), "")
        walk = _Walk(self.judge, state, given)
        walk.run(task.bodies[body])
        self.judge.expect(path, "status", walk.status, state.status.value)
        self.judge.expect(path, "context", walk.context, state.context)
        return walk


def _end(task: Task) -> str:
    return SKIPPED if task.is_tolerant else FAILED


def is_plausible(flow: Flow, root: ScopeState, forced: Mapping[str, bool]) -> list[str]:
    """Return what cannot be even in an execution that was disturbed; ``forced`` says what may have ended it."""
    statuses = [task.status.value for task in root.tasks.values()]
    if root.status == SUCCEED and not forced["complete"]:
        left = [name for name in (one.name for one in flow.tasks) if not _is_ok(root, name)]
        return [f"SUCCEED although {left} are not done"] if left else []
    if root.status == FAILED and not forced["complete"] and FAILED not in statuses and root.msg != "timeout":
        return [f"FAILED ({root.code} {root.msg}) without a failed task"]
    if root.status == "TERMINATED" and not forced["terminate"]:
        return ["TERMINATED although nobody asked for it"]
    return []


def _is_ok(root: ScopeState, name: str) -> bool:
    task = root.tasks.get(name)
    return task is not None and task.status.is_ok
