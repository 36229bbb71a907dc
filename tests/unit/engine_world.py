"""A world of executions around the pure engine: everything but the saved bytes can be lost at any moment.

What the shell does with a command is a piece of work of its own here, so that a test decides in which order work is
done, done twice, or lost in a crash. The real codec stands between every two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tests.golden.engine_play import assert_in_order
from tornflow.engine.commands import (
    AbandonAttempt,
    Command,
    Continue,
    Deliver,
    DispatchTask,
    GatherGroups,
    ReportGroup,
    ReviewGroups,
    StartGroups,
)
from tornflow.engine.ending import CALLBACK_MESSAGE, PARENT_MESSAGE, REPORT, TERMINATE
from tornflow.engine.events import (
    AttemptEnded,
    ChildEnded,
    Continued,
    Degraded,
    Delivered,
    Event,
    EventHandedOver,
    EventReturned,
    GroupEnded,
    GroupsGathered,
    GroupsStarted,
    Paused,
    Recovered,
    Resumed,
    Submitted,
    Terminated,
    TimerFired,
    WaiterArrived,
)
from tornflow.engine.groups import STEER, STOP, group_state, run_of
from tornflow.engine.program import Program, Rules
from tornflow.engine.scope import Scope
from tornflow.engine.suspense import AWAIT
from tornflow.engine.transition import apply
from tornflow.errors import RequestError
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import Generation, Mark, ParentLink, ScopeKey, ScopeState
from tornflow.model.jsontext import dumps, loads
from tornflow.model.names import instance_name, split_route
from tornflow.model.status import FlowStatus
from tornflow.runtime.codec import decode, encode, mark_split
from tornflow.spi.storage import StoredScope

Work = Callable[[], None]


class World:
    def __init__(self, children: Mapping[str, Program], inline_limit: int, rules: Rules) -> None:
        self.now = 1_700_000_000_000
        self.children = children
        self.inline_limit = inline_limit
        self.rules = rules
        self.saved: dict[ScopeKey, StoredScope] = {}
        self.live: dict[ScopeKey, Scope] = {}
        self.programs: dict[str, Program] = {}
        self.started: dict[str, str] = {}  # sub-flows by idempotency key
        self.todo: list[Work] = []
        self.births: list[tuple[str, set[ScopeKey]]] = []  # groups that are being created, by execution
        self.attempts: list[tuple[ScopeKey, DispatchTask]] = []
        self.past: list[tuple[ScopeKey, Event]] = []
        self.callbacks: list[str] = []

    # --- executions

    def start(self, program: Program, context: Mapping[str, Any], parent: ParentLink | None = None) -> str:
        execution_id = f"demo:{program.descriptor.dag_name}_c_{len(self.programs)}"
        self.programs[execution_id] = program
        state = ScopeState(ScopeKey(execution_id), program.descriptor.md5, parent=parent)
        state.context = dict(context)
        state.callback = {"resourceName": "http://told"}
        self.create(state)
        return execution_id

    def create(self, state: ScopeState) -> None:
        """Create a scope, or put it into the place of one of an earlier run."""
        fresh = replace(
            state, context=dict(state.context), degrade=dict(state.degrade), tasks={}, invocations=[], outbox={}
        )
        dropped: Iterable[str] = ()
        if (old := self.saved.get(state.key)) is not None:
            if decode(old)[0].generation >= state.generation:
                return
            fresh.revision, dropped = old.revision, old.parts
        scope = Scope(fresh, self.programs[state.key.execution_id], self.rules, is_new=True)
        commands: list[Command] = []
        apply(scope, Submitted(self.now), commands)
        self.save(scope, dropped)
        self.live[state.key] = scope
        self.act(scope, commands)

    def scope(self, key: ScopeKey) -> Scope | None:
        if key not in self.live:
            if key not in self.saved:
                return None
            state, is_split = decode(self.saved[key])
            self.live[key] = scope = Scope(state, self.programs[key.execution_id], self.rules)
            if is_split:
                mark_split(scope)
        return self.live[key]

    def scopes(self) -> list[Scope]:
        found = map(self.scope, list(self.saved))
        return [scope for scope in found if scope is not None]

    def send(self, key: ScopeKey, event: Event) -> bool:
        """Return whether the event was accepted; a refused one has changed nothing."""
        scope = self.scope(key)
        if scope is None:
            return False
        self.past.append((key, event))
        commands: list[Command] = []
        before = dumps(self.plain(scope.state))
        try:
            apply(scope, event, commands)
        except RequestError:
            assert not commands and not scope.is_dirty and dumps(self.plain(scope.state)) == before
            return False
        if scope.is_dirty:
            self.save(scope)
        else:
            assert dumps(self.plain(scope.state)) == before, f"{event} changed what is not saved"
        self.act(scope, commands)
        return True

    def plain(self, state: ScopeState) -> Any:
        return [state.status, state.is_paused, state.context, state.outbox, state.events, state.waiters, state.degrade]

    def save(self, scope: Scope, dropped: Iterable[str] = ()) -> None:
        write = encode(scope, "node", self.inline_limit)
        stored = self.saved.get(write.key)
        assert write.expected_revision == (stored.revision if stored else 0)
        parts = {name: body for name, body in (stored.parts if stored else {}).items() if name not in set(dropped)}
        for name, body in write.parts.items():
            parts.pop(name, None)
            if body is not None:
                parts[name] = body
        revision = write.expected_revision + 1
        self.saved[write.key] = StoredScope(write.key, revision, write.head, parts, write.owner, write.due_at)
        scope.saved()
        self.check(scope)

    def check(self, scope: Scope) -> None:
        """The invariants: books that agree, and bytes that say the same as memory."""
        assert_in_order(scope)
        state, _ = decode(self.saved[scope.state.key])
        assert state == replace(scope.state, outbox=loads(dumps(scope.state.outbox)))
        for task in scope.state.tasks.values():
            if task.groups is not None:
                marks = task.groups.marks
                assert task.groups.open == marks.count(Mark.RUNNING) and len(marks) == task.groups.total
                assert task.groups.next == task.groups.total or Mark.WAITING in marks

    def crash(self, order: int) -> None:
        """Lose everything but what is saved; then recover what was in hand."""
        self.live.clear()
        self.todo.clear()
        self.births.clear()
        self.attempts.clear()
        owned = [key for key, stored in self.saved.items() if stored.owner is not None]
        shift = order % max(1, len(owned))
        for key in owned[shift:] + owned[:shift]:
            self.send(key, Recovered(self.now))

    # --- what follows from a step

    def act(self, scope: Scope, commands: list[Command]) -> None:
        key = scope.state.key
        for command in commands:
            match command:
                case DispatchTask():
                    self.dispatch(scope, command)
                case AbandonAttempt(task=task, attempt=attempt):
                    gone = (key, task, attempt)
                    self.attempts = [one for one in self.attempts if (one[0], one[1].task, one[1].attempt) != gone]
                case Continue():
                    self.later(key, Continued(self.now))
                case Deliver(message_id=message_id):
                    self.todo.append(partial(self.deliver, key, message_id))
                case StartGroups(task=name, generation=generation, indices=indices):
                    states = [group_state(scope, scope.state.tasks[name], index) for index in indices]
                    self.start_groups(key, name, generation, states)
                case ReviewGroups(task=name, generation=generation):
                    left = {key}
                    self.births.append((key.execution_id, left))
                    self.todo.append(partial(self.review, key, name, generation, left))
                case GatherGroups(task=name, generation=generation):
                    self.todo.append(partial(self.gather, key, name, generation))
                case ReportGroup():
                    self.report(scope.state, command.status)

    def later(self, key: ScopeKey, event: Event) -> None:
        self.todo.append(lambda: None if self.send(key, event) else None)

    def dispatch(self, scope: Scope, command: DispatchTask) -> None:
        definition = scope.compiled(command.task).definition
        assert isinstance(definition, FunctionTask)
        if definition.protocol == "rillflow":
            self.todo.append(partial(self.start_child, scope.state.key, scope.state.generation, definition, command))
        else:
            self.attempts.append((scope.state.key, command))

    def start_child(
        self, key: ScopeKey, generation: Generation, definition: FunctionTask, command: DispatchTask
    ) -> None:
        idempotency_key = f"{key}/{generation}/{command.task}/{command.attempt}"
        if idempotency_key not in self.started:
            link = ParentLink(key.execution_id, key.path, command.task, command.attempt, generation)
            program = self.children[definition.resource_name]
            parent = link if definition.pattern == "flow_sync" else None
            self.started[idempotency_key] = self.start(program, {}, parent)
        answer = {"execution_id": self.started[idempotency_key]}
        self.later(key, AttemptEnded(self.now, command.task, command.attempt, answer))

    # --- groups

    def start_groups(self, key: ScopeKey, name: str, generation: Generation, states: list[ScopeState]) -> None:
        left = {state.key for state in states}
        self.births.append((key.execution_id, left))

        def create(state: ScopeState) -> None:
            self.create(state)
            left.discard(state.key)
            if not left:
                self.later(key, GroupsStarted(self.now, name, generation))

        self.todo.extend(partial(create, state) for state in states)

    def review(self, key: ScopeKey, name: str, generation: Generation, left: set[ScopeKey]) -> None:
        left.clear()
        parent = self.scope(key)
        assert parent is not None
        task = parent.state.tasks[name]
        missing = []
        for index, mark in enumerate(task.groups.marks if task.groups is not None else b""):
            group = self.scope(ScopeKey(key.execution_id, f"{instance_name(key.path, name)}_{index}"))
            if mark != Mark.RUNNING:
                continue
            if group is None or group.state.generation < run_of(parent, task):
                missing.append(group_state(parent, task, index))
            elif group.state.reported is not None:
                self.report(group.state, FlowStatus(group.state.reported))
        if missing:
            self.start_groups(key, name, generation, missing)
        else:
            self.later(key, GroupsStarted(self.now, name, generation))

    def gather(self, key: ScopeKey, name: str, generation: Generation) -> None:
        parent = self.scope(key)
        assert parent is not None
        groups = parent.state.tasks[name].groups
        contexts = []
        for index, mark in enumerate(groups.marks if groups is not None else b""):
            group = self.scope(ScopeKey(key.execution_id, f"{instance_name(key.path, name)}_{index}"))
            if mark != Mark.SKIPPED and group is not None:
                contexts.append(loads(dumps(group.state.context)))
        self.later(key, GroupsGathered(self.now, name, generation, contexts))

    def report(self, state: ScopeState, status: FlowStatus) -> None:
        self.later(*self.reported(state, status))

    def reported(self, state: ScopeState, status: FlowStatus) -> tuple[ScopeKey, GroupEnded]:
        path, task, index = split_route(state.key.path)
        event = GroupEnded(self.now, task, state.generation, index, status, state.code, state.msg, state.ext)
        return ScopeKey(state.key.execution_id, path), event

    # --- messages

    def deliver(self, key: ScopeKey, message_id: str) -> None:
        scope = self.scope(key)
        message = None if scope is None else scope.state.outbox.get(message_id)
        if scope is None or message is None:
            return
        if message_id.startswith((STOP, STEER)) and any(left for name, left in self.births if name == key.execution_id):
            self.todo.append(partial(self.deliver, key, message_id))  # the courier waits for groups in the making
            return
        outcome: Event = Delivered(self.now, message_id)
        if message_id.startswith(PARENT_MESSAGE):
            self.tell_parent(scope.state)
        elif message_id == CALLBACK_MESSAGE:
            self.callbacks.append(key.execution_id)
        elif message_id.startswith(REPORT):
            self.send(*self.reported(scope.state, FlowStatus(message["status"])))  # told before it is off the list
        elif message_id.startswith(STOP):
            for one in self.below(key.execution_id, message["prefix"]):
                if "indices" not in message or one.path in {f"{message['prefix']}{i}" for i in message["indices"]}:
                    self.send(one, Terminated(self.now, tuple(message["generation"])))
        elif message_id.startswith(STEER):
            event = Paused(self.now) if scope.state.is_paused else Resumed(self.now)
            for one in self.below(key.execution_id, f"{key.path}-" if key.path else ""):
                for task, (current, followings) in scope.state.degrade.items():
                    self.send(one, Degraded(self.now, task, current, followings))
                self.send(one, event)
        elif message_id.startswith(TERMINATE):
            self.send(ScopeKey(message["child"]), Terminated(self.now))
        elif message_id.startswith(AWAIT):
            names = tuple(message["names"])
            waiter = WaiterArrived(self.now, key.path, message["task"], names, message["since"])
            self.send(ScopeKey(key.execution_id), waiter)
        else:
            event = EventHandedOver(self.now, message["task"], message["number"], message["entry"]["payload"])
            if not self.send(ScopeKey(key.execution_id, message["path"]), event):
                outcome = EventReturned(self.now, message_id)
        self.later(key, outcome)

    def below(self, execution_id: str, prefix: str) -> list[ScopeKey]:
        return [key for key in self.saved if key[0] == execution_id and key.path and key.path.startswith(prefix)]

    def tell_parent(self, state: ScopeState) -> None:
        link = state.parent
        assert link is not None
        if state.status.is_completed or state.status is FlowStatus.KEY_SUCCEED:
            event = ChildEnded(
                self.now, link.task, link.attempt, state.key.execution_id, state.status, dict(state.context),
                generation=link.generation,
            )  # fmt: skip
            self.later(ScopeKey(link.execution_id, link.path), event)

    # --- time

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        for key, stored in list(self.saved.items()):
            if stored.due_at is not None and stored.due_at <= self.now:
                self.send(key, TimerFired(self.now))
