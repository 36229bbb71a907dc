"""Plays one example against the pure engine: no loop, no store, no clock but a number."""

from __future__ import annotations

import json
from typing import Any

from tornflow.descriptors import parse_descriptor
from tornflow.engine.commands import (
    Command,
    Continue,
    Deliver,
    DispatchTask,
    GatherGroups,
    ReportGroup,
    StartGroups,
)
from tornflow.engine.ending import PARENT_MESSAGE
from tornflow.engine.events import (
    AttemptEnded,
    ChildEnded,
    Continued,
    Delivered,
    Event,
    GroupEnded,
    GroupsGathered,
    GroupsStarted,
    Redone,
    Submitted,
    TaskCompleted,
    Terminated,
    TimerFired,
    Woken,
)
from tornflow.engine.expressions import Sandbox
from tornflow.engine.groups import STOP, group_state
from tornflow.engine.program import Program, Rules, compile_program
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import RequestError
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import Mark, ParentLink, ScopeKey, ScopeState
from tornflow.model.names import instance_name, split_instance, split_route

START = 1_700_000_000_000


class Play:
    def __init__(self, flow: str, children: dict[str, str], replies: dict[str, list[str]]) -> None:
        self.now = START
        self.transforms = Sandbox(now_ms=lambda: self.now, random=lambda: 0.5).compile
        self.flow = self.compile(flow)
        self.children = {name: self.compile(text) for name, text in children.items()}
        self.replies = {name: list(texts) for name, texts in replies.items()}
        self.scopes: list[Scope] = []
        self.inputs: dict[str, list[Any]] = {}
        self.waits: list[int] = []
        self.rejected = 0

    def compile(self, text: str) -> Program:
        return compile_program(parse_descriptor(text), self.transforms)

    def start(self, program: Program, context: dict[str, Any], parent: ParentLink | None = None) -> Scope:
        descriptor = program.descriptor
        execution_id = f"demo:{descriptor.dag_name}_c_{len(self.roots())}"
        state = ScopeState(ScopeKey(execution_id), descriptor.md5, parent=parent)
        state.context = {**program.default_context, **context, "flow_execution_id": execution_id}
        scope = Scope(state, program, Rules(), is_new=True)
        self.scopes.append(scope)
        self.send(scope, Submitted(self.now))
        return scope

    def send(self, scope: Scope, event: Event) -> None:
        """Apply an event and carry out what follows, as the shell would."""
        commands: list[Command] = []
        apply(scope, event, commands)
        for name in sorted(scope.dirty_tasks):
            task = scope.state.tasks[name]
            if task.due_at is not None and task.timer in ("retry", "wait"):
                self.waits.append((task.due_at - self.now) // 1000)
        scope.saved()
        assert_in_order(scope)
        for command in commands:
            self.act(scope, command)

    def act(self, scope: Scope, command: Command) -> None:
        match command:
            case DispatchTask():
                self.dispatch(scope, command)
            case Continue():
                self.send(scope, Continued(self.now))
            case Deliver(message_id=message_id):
                self.deliver(scope, message_id)
            case StartGroups():
                self.start_groups(scope, command)
            case ReportGroup():
                self.report_group(scope, command)
            case GatherGroups():
                self.gather_groups(scope, command)
            case _:
                pass

    def deliver(self, scope: Scope, message_id: str) -> None:
        if message_id.startswith(PARENT_MESSAGE):
            self.tell_parent(scope)
        elif message_id.startswith(STOP):
            message = scope.state.outbox[message_id]
            prefix, generation = message["prefix"], message["generation"]
            for one in list(self.scopes):
                if one.state.key.execution_id == scope.state.key.execution_id and one.state.key.path.startswith(prefix):
                    self.send(one, Terminated(self.now, generation))
        self.send(scope, Delivered(self.now, message_id))

    def start_groups(self, scope: Scope, command: StartGroups) -> None:
        for index in command.indices:
            state = group_state(scope, scope.state.tasks[command.task], index)
            group = Scope(state, scope.program, scope.rules, is_new=True)
            self.scopes = [one for one in self.scopes if one.state.key != state.key]
            self.scopes.append(group)
            self.send(group, Submitted(self.now))
        self.send(scope, GroupsStarted(self.now, command.task, command.generation))

    def report_group(self, scope: Scope, command: ReportGroup) -> None:
        path, task, index = split_route(scope.state.key.path)
        parent = self.find(ScopeKey(scope.state.key.execution_id, path))
        generation = scope.state.generation
        self.send(
            parent,
            GroupEnded(self.now, task, generation, index, command.status, command.code, command.msg, command.ext),
        )

    def gather_groups(self, scope: Scope, command: GatherGroups) -> None:
        groups = scope.state.tasks[command.task].groups
        assert groups is not None
        path = instance_name(scope.state.key.path, command.task)
        contexts = [
            self.find(ScopeKey(scope.state.key.execution_id, f"{path}_{index}")).state.context
            for index in range(groups.total)
            if groups.marks[index] != Mark.SKIPPED
        ]
        self.send(scope, GroupsGathered(self.now, command.task, command.generation, contexts))

    def find(self, key: ScopeKey) -> Scope:
        return next(one for one in self.scopes if one.state.key == key)

    def roots(self) -> list[Scope]:
        return [one for one in self.scopes if not one.state.key.path]

    def dispatch(self, scope: Scope, command: DispatchTask) -> None:
        # A copy: what is recorded must be what was sent, whatever happens to the object later.
        name = instance_name(scope.state.key.path, command.task)
        self.inputs.setdefault(name, []).append(json.loads(json.dumps(command.input)))
        self.send(scope, self.answer(scope, command))

    def answer(self, scope: Scope, command: DispatchTask) -> AttemptEnded:
        definition = scope.compiled(command.task).definition
        assert isinstance(definition, FunctionTask)
        if definition.protocol == "rillflow":
            program = self.children[definition.resource_name.rpartition(":")[2]]
            parent = None
            if definition.pattern == "flow_sync":
                key = scope.state.key
                parent = ParentLink(key.execution_id, key.path, command.task, command.attempt, scope.state.generation)
            child = self.start(program, dict(command.input), parent)
            return AttemptEnded(self.now, command.task, command.attempt, {"execution_id": child.state.key.execution_id})
        name = instance_name(scope.state.key.path, command.task)
        texts = self.replies.get(name) or self.replies.get(command.task, [])
        text = (texts.pop(0) if len(texts) > 1 else texts[0]) if texts else ""
        if text.startswith("!"):
            return AttemptEnded(self.now, command.task, command.attempt, error=text[1:])
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        return AttemptEnded(self.now, command.task, command.attempt, value)

    def tell_parent(self, scope: Scope) -> None:
        state = scope.state
        assert state.parent is not None
        parent = self.find(ScopeKey(state.parent.execution_id, state.parent.path))
        self.send(
            parent,
            ChildEnded(
                self.now, state.parent.task, state.parent.attempt, state.key.execution_id, state.status,
                state.context, state.code, state.msg, state.ext, state.parent.generation,
            ),
        )  # fmt: skip

    # --- steps of an example

    def perform(self, step: dict[str, Any]) -> None:
        root = self.roots()[step.get("in", 0)]
        execution_id, payload = root.state.key.execution_id, step.get("payload", {})
        if "finish" in step:
            key, task = split_instance(execution_id, step["finish"])
            if root.state.status.is_completed:  # the shell looks at the root first
                self.rejected += 1
                return
            self.try_to(self.find(key), TaskCompleted(self.now, task, payload, step["status"] == "SUCCEED"))
        elif "wakeup" in step:
            key, task = split_instance(execution_id, step["wakeup"])
            self.try_to(self.find(key), Woken(self.now, task, payload))
        elif "redo" in step:
            self.try_to(root, Redone(self.now, tuple(step["redo"]), payload))
        elif "timers" in step:
            self.let_timers_fire()
        else:
            raise NotImplementedError(f"unknown step {sorted(step)}")

    def try_to(self, scope: Scope, event: Event) -> None:
        try:
            self.send(scope, event)
        except RequestError:
            self.rejected += 1

    def let_timers_fire(self) -> None:
        moments = [scope.next_due for scope in self.scopes if scope.next_due is not None]
        if moments:
            latest = max(
                due
                for scope in self.scopes
                for due in (scope.state.due_at, *(task.due_at for task in scope.state.tasks.values()))
                if due is not None
            )
            self.now = max(self.now, latest)
        for scope in list(self.scopes):
            self.send(scope, TimerFired(self.now))


def assert_in_order(scope: Scope) -> None:
    """The invariants that hold after every step, whatever happened."""
    state = scope.state
    active = [task for task in state.tasks.values() if task.status in ("READY", "RUNNING")]
    assert scope.active == len(active)
    assert scope.failed == sum(task.status == "FAILED" for task in state.tasks.values())
    assert scope.open_attempts == sum(task.is_in_flight for task in state.tasks.values())
    for task in state.tasks.values():
        assert not (task.status.is_completed and (task.is_in_flight or task.due_at is not None)), task
    if state.status.is_completed:
        assert scope.open_attempts == 0
        assert scope.next_due is None
    else:
        assert active or scope.keyed or state.is_paused, "nothing runs and yet the flow has not ended"
        assert scope.open_groups == sum(task.status == "RUNNING" and task.groups is not None for task in active)
