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
from tornflow.engine.events import (
    AttemptEnded,
    ChildEnded,
    Continued,
    Controlled,
    Delivered,
    Event,
    EventHandedOver,
    EventReturned,
    GroupEnded,
    GroupsGathered,
    GroupsStarted,
    Redone,
    Submitted,
    TaskCompleted,
    Terminated,
    TimerFired,
    WaiterArrived,
    Woken,
)
from tornflow.engine.expressions import Sandbox
from tornflow.engine.groups import group_state, run_of
from tornflow.engine.program import Program, Rules, compile_program
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import RequestError
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import ParentLink, ScopeKey, ScopeState
from tornflow.model.messages import (
    AwaitEvent,
    ControlGroups,
    GroupReport,
    HandOver,
    Message,
    SendCallback,
    StopChild,
    StopGroups,
    TellParent,
)
from tornflow.model.names import instance_name, split_instance, split_route

START = 1_700_000_000_000
NODE = "node"


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
        self.callbacks: list[str] = []
        self.rules = Rules()

    def compile(self, text: str) -> Program:
        return compile_program(parse_descriptor(text), self.transforms)

    def start(self, program: Program, context: dict[str, Any], parent: ParentLink | None = None) -> Scope:
        descriptor = program.descriptor
        number = len(self.roots())
        execution_id = f"demo:{descriptor.dag_name}_c_{number}"
        state = ScopeState(ScopeKey(execution_id), descriptor.md5, parent=parent, generation=(f"life{number}",))
        state.context = {**program.default_context, **context, "flow_execution_id": execution_id}
        return self.create(state, program)

    def create(self, state: ScopeState, program: Program) -> Scope:
        """Create a scope, in the place of one of an earlier run."""
        scope = Scope(state, program, self.rules, node=NODE, is_new=True)
        self.scopes = [one for one in self.scopes if one.state.key != state.key]
        self.scopes.append(scope)
        self.send(scope, Submitted(self.now))
        return scope

    def send(self, scope: Scope, event: Event) -> None:
        """Apply an event and carry out what follows, as the shell would."""
        commands: list[Command] = []
        scope.now = event.at + scope.drift  # the shell reads its clocks at each step
        apply(scope, event, commands)
        for name in sorted(scope.dirty_tasks):
            task = scope.state.tasks[name]
            if task.due_at is not None and task.timer in ("retry", "wait", "until"):
                self.waits.append((task.due_at - self.now) // 1000)
        self.save(scope)
        assert_in_order(scope)
        for command in commands:
            self.act(scope, command)

    def save(self, scope: Scope) -> None:
        scope.saved()

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
        posted = scope.state.outbox.get(message_id)
        if posted is None:
            return
        was_taken = self.carry(scope, posted.message)
        self.send(scope, Delivered(self.now, message_id) if was_taken else EventReturned(self.now, message_id))

    def carry(self, scope: Scope, message: Message) -> bool:
        """Return whether it was accepted."""
        state, execution_id = scope.state, scope.state.key.execution_id
        match message:
            case TellParent():
                self.tell_parent(scope, message)
            case SendCallback():
                self.callbacks.append(execution_id)
            case StopChild(child_id=child_id) if child_id is not None:
                self.send(self.find(ScopeKey(child_id)), Terminated(self.now))
            case GroupReport():
                self.report_group(scope, message)
            case StopGroups(task=task, generation=run, indices=indices):
                for group in self.groups(scope, task):
                    if indices is None or split_route(group.state.key.path)[2] in indices:
                        self.send(group, Terminated(self.now, run))
            case ControlGroups():
                self.control_groups(scope)
            case AwaitEvent(task=task, names=names, since=since):
                arrived = WaiterArrived(self.now, state.key.path, task, names, since, state.generation)
                self.send(self.find(ScopeKey(execution_id)), arrived)
            case HandOver(path=path, generation=run, task=task, number=number, payload=payload):
                return self.hand_over(
                    ScopeKey(execution_id, path), EventHandedOver(self.now, task, number, payload, run)
                )
            case _:
                pass
        return True

    def hand_over(self, key: ScopeKey, event: EventHandedOver) -> bool:
        try:
            self.send(self.find(key), event)
        except RequestError:
            return False
        return True

    def groups(self, scope: Scope, task: str) -> list[Scope]:
        route = instance_name(scope.state.key.path, task) + "_"
        execution_id = scope.state.key.execution_id
        keys = [one.state.key for one in self.scopes]
        mine = [key for key in keys if key.execution_id == execution_id and key.path.startswith(route)]
        return list(map(self.find, mine))

    def control_groups(self, scope: Scope) -> None:
        state = scope.state
        for name, task in state.tasks.items():
            if task.groups is not None:
                told = Controlled(self.now, run_of(scope, task), state.control, state.is_paused, dict(state.degrade))
                for group in self.groups(scope, name):
                    self.send(group, told)

    def start_groups(self, scope: Scope, command: StartGroups) -> None:
        task = scope.state.tasks[command.task]
        states = [group_state(scope, task, index) for index in command.indices]
        for state in states:
            self.create(state, scope.program)
        self.finish_batch(scope, command)

    def finish_batch(self, scope: Scope, command: StartGroups) -> None:
        self.send(scope, GroupsStarted(self.now, command.task, command.generation, command.first))

    def report_group(self, scope: Scope, told: ReportGroup | GroupReport) -> None:
        path, task, index = split_route(scope.state.key.path)
        parent = self.find(ScopeKey(scope.state.key.execution_id, path))
        generation = scope.state.generation
        self.send(parent, GroupEnded(self.now, task, generation, index, told.status, told.code, told.msg, told.ext))

    def gather_groups(self, scope: Scope, command: GatherGroups) -> None:
        path = instance_name(scope.state.key.path, command.task)
        contexts = [
            self.find(ScopeKey(scope.state.key.execution_id, f"{path}_{index}")).state.context
            for index in command.indices
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
            return self.ended(scope, command, {"execution_id": child.state.key.execution_id})
        name = instance_name(scope.state.key.path, command.task)
        texts = self.replies.get(name) or self.replies.get(command.task, [])
        text = (texts.pop(0) if len(texts) > 1 else texts[0]) if texts else ""
        if text.startswith("!"):
            return self.ended(scope, command, error=text[1:])
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        return self.ended(scope, command, value)

    def ended(self, scope: Scope, command: DispatchTask, value: Any = None, error: str | None = None) -> AttemptEnded:
        return AttemptEnded(self.now, command.task, command.attempt, scope.state.generation, value, error)

    def tell_parent(self, scope: Scope, message: TellParent) -> None:
        state = scope.state
        assert state.parent is not None
        parent = self.find(ScopeKey(state.parent.execution_id, state.parent.path))
        self.send(
            parent,
            ChildEnded(
                self.now, state.parent.task, state.parent.attempt, state.key.execution_id, message.status,
                state.context, message.code, message.msg, message.ext, state.parent.generation,
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
    assert set(scope.owners) - {scope.node} == hands(scope) - {scope.node}, (scope.owners, hands(scope))
    for task in state.tasks.values():
        assert not (task.status.is_completed and (task.is_in_flight or task.due_at is not None)), task
    if state.status.is_completed:
        assert scope.open_attempts == 0
        assert scope.next_due is None
        assert set(scope.owners) == {posted.owner for posted in state.outbox.values()}
    else:
        assert active or scope.keyed or state.is_paused, "nothing runs and yet the flow has not ended"
        assert scope.open_groups == sum(task.status == "RUNNING" and task.groups is not None for task in active)
        is_left_over = bool(scope.ready) and not state.is_paused
        assert set(scope.owners) == (hands(scope) | {scope.node} if is_left_over else hands(scope))


def hands(scope: Scope) -> set[str]:
    """Return who has work in hand, read from the saved state alone."""
    found = {posted.owner for posted in scope.state.outbox.values()}
    for task in scope.state.tasks.values():
        found |= {task.owner} if task.owner is not None else set()
        if task.groups is not None:
            found |= {batch.owner for batch in task.groups.batches}
            found |= {owner for owner in (task.groups.gatherer, task.groups.holder) if owner is not None}
    return found
