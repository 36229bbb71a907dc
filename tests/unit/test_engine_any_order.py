"""Any flow, any order of events, crashes anywhere: the invariants hold and every flow ends."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden.engine_play import NODE, assert_in_order
from tornflow.descriptors import parse_descriptor
from tornflow.engine.commands import Command, Continue, Deliver, DispatchTask
from tornflow.engine.events import (
    AttemptEnded,
    ChildEnded,
    Continued,
    Delivered,
    Event,
    Paused,
    Recovered,
    Resumed,
    Submitted,
    TaskCompleted,
    TimerFired,
)
from tornflow.engine.program import Program, Rules, compile_program
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import RequestError
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.model.status import FlowStatus
from tornflow.runtime.codec import decode, encode, note_form
from tornflow.spi.storage import ScopeWrite, StoredScope

KEY = ScopeKey("demo:ex_c_1")


def no_transforms(_text: str) -> Any:
    raise AssertionError("this test uses no transforms")


@st.composite
def flows(draw: st.DrawFn) -> Program:
    """A random graph: edges only lead forward, so there is no cycle."""
    count = draw(st.integers(1, 7))
    tasks = []
    for number in range(count):
        after = [f"t{other}" for other in range(number + 1, count) if draw(st.booleans())]
        task: dict[str, Any] = {"name": f"t{number}", "next": ",".join(after)}
        kind = draw(st.sampled_from(["pass", "sync", "async", "child", "detached", "return", "switch"]))
        task |= _kind(draw, kind, after)
        tasks.append(task)
    timer = {"timeoutInSeconds": draw(st.integers(1, 40))} if draw(st.booleans()) else {}
    flow = {"workspace": "demo", "dagName": "ex", "type": "flow", "timeline": timer, "tasks": tasks}
    return compile_program(parse_descriptor(yaml.safe_dump(flow)), no_transforms)


def _kind(draw: st.DrawFn, kind: str, after: list[str]) -> dict[str, Any]:
    mapping = {"outputMappings": [{"source": "$.output.v", "target": "$.context.v", "tolerance": draw(st.booleans())}]}
    if kind == "pass":
        return {"category": "pass", **mapping}
    if kind == "return":
        return {"category": "return", "conditions": ["$.input.x"] if draw(st.booleans()) else []}
    if kind == "switch":
        cases = [{"condition": draw(st.sampled_from(["default", "$.input.x"])), "next": name} for name in after]
        return {"category": "switch", "switches": cases}
    pattern = {"sync": "task_sync", "async": "task_async", "child": "flow_sync", "detached": "flow_async"}[kind]
    return {
        "category": "function",
        "pattern": pattern,
        "resourceName": "http://svc",
        "tolerance": draw(st.booleans()),
        "retry": {"maxRetryTimes": draw(st.integers(0, 2)), "intervalInSeconds": draw(st.integers(0, 3))},
        "timeline": {"timeoutInSeconds": draw(st.integers(0, 20)), "suspenseIntervalSeconds": draw(st.integers(0, 3))},
        **mapping,
    }


class Shell:
    """A shell that may lose everything but what it saved, and that repeats and delays answers."""

    def __init__(self, program: Program, inline_limit: int) -> None:
        self.program = program
        self.now = 1_000_000
        self.inline_limit = inline_limit
        self.saved: StoredScope | None = None
        self.open: list[DispatchTask] = []
        self.past: list[Event] = []
        self.scope = Scope(
            ScopeState(KEY, program.descriptor.md5, generation=("life",)),
            program,
            Rules(inline_tasks_per_step=2),
            node=NODE,
            is_new=True,
        )
        self.send(Submitted(self.now))

    def send(self, event: Event) -> None:
        self.past.append(event)
        commands: list[Command] = []
        before = self.scope.is_dirty
        try:
            apply(self.scope, event, commands)
        except RequestError:
            assert commands == []
            assert self.scope.is_dirty == before
            return
        if self.scope.is_dirty:
            self.save()
        assert_in_order(self.scope)
        for command in commands:
            if isinstance(command, DispatchTask):
                self.open.append(command)
            elif isinstance(command, Continue):
                self.send(Continued(self.now))
            elif isinstance(command, Deliver):
                self.send(Delivered(self.now, command.message_id))

    def save(self) -> None:
        write = encode(self.scope, self.inline_limit)
        parts = dict(self.saved.parts) if self.saved else {}
        _apply_parts(parts, write)
        self.saved = StoredScope(
            KEY, write.expected_revision + 1, write.head, parts, write.life, write.owners, write.due_at
        )
        self.scope.saved()

    def crash(self) -> None:
        """Forget all but the saved state; what was in flight must come again."""
        assert self.saved is not None
        decoded = decode(self.saved)
        assert decoded.state == self.scope.state
        self.scope = Scope(decoded.state, self.program, Rules(inline_tasks_per_step=2), node=NODE)
        note_form(self.scope, self.saved, decoded)
        self.open.clear()
        self.send(Recovered(self.now, NODE))

    def answer(self, command: DispatchTask, choice: int) -> None:
        value = [{"v": 1, "execution_id": "child"}, {}, None, [1], {"result_type": "FAILED"}, "text"][choice % 6]
        error = "refused" if choice % 7 == 6 else None
        self.send(AttemptEnded(self.now, command.task, command.attempt, ("life",), value, error))

    def complete(self, choice: int) -> None:
        names = list(self.program.root.tasks)
        name = names[choice % len(names)]
        task = self.scope.state.tasks.get(name)
        if choice % 2 and task is not None:
            status = FlowStatus.SUCCEED if choice % 3 else FlowStatus.FAILED
            self.send(ChildEnded(self.now, name, task.attempt, "child", status, {"v": choice}, generation=("life",)))
        else:
            self.send(TaskCompleted(self.now, name, {"v": choice}, choice % 3 != 0))


def ended_well(at: int, task: str, attempt: int) -> ChildEnded:
    return ChildEnded(at, task, attempt, "child", FlowStatus.SUCCEED, {"v": 1}, generation=("life",))


def _apply_parts(parts: dict[str, bytes], write: ScopeWrite) -> None:
    for name, body in write.parts.items():
        if body is None:
            parts.pop(name, None)
        else:
            parts[name] = body


STORY = st.lists(st.tuples(st.sampled_from("aaaccttrkpu"), st.integers(0, 41)), max_size=30)


@settings(max_examples=300, deadline=None)
@given(flows(), STORY, st.sampled_from([0, 16_384]))
def test_any_story_keeps_the_invariants_and_ends(program: Program, story: Any, inline_limit: int) -> None:
    shell = Shell(program, inline_limit)
    for what, choice in story:
        match what:
            case "a" if shell.open:
                shell.answer(shell.open.pop(choice % len(shell.open)), choice)
            case "c":
                shell.complete(choice)
            case "t":
                shell.now += choice * 500
                shell.send(TimerFired(shell.now))
            case "r":
                shell.send(shell.past[choice % len(shell.past)])  # a late or doubled event
            case "k":
                shell.crash()
            case "p":
                shell.send(Paused(shell.now))
            case "u":
                shell.send(Resumed(shell.now))
            case _:
                pass
    _bring_to_the_end(shell)
    assert shell.scope.state.status.is_completed
    assert (shell.scope.state.outbox, encode(shell.scope, 0).owners) == ({}, ())


def _bring_to_the_end(shell: Shell) -> None:
    """Everybody answers in the end: then the flow must end too."""
    shell.send(Resumed(shell.now))
    for _round in range(60):
        if shell.scope.state.status.is_completed:
            return
        while shell.open:
            shell.answer(shell.open.pop(), 0)
        for name in shell.program.root.tasks:
            task = shell.scope.state.tasks.get(name)
            if task is not None:
                shell.send(ended_well(shell.now, name, task.attempt))
            shell.send(TaskCompleted(shell.now, name, {"v": 1}, True))
        shell.now += 10_000
        shell.send(TimerFired(shell.now))
