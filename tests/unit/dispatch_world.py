"""A dispatcher whose task type does what a test says, on attempts of flows that need no store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tornflow.descriptors import parse_descriptor
from tornflow.engine.commands import DispatchTask
from tornflow.engine.events import AttemptEnded
from tornflow.engine.program import Program, compile_program
from tornflow.engine.scope import Scope
from tornflow.model.execution import Generation, ScopeKey, ScopeState, TaskState
from tornflow.runtime.dispatcher import Dispatcher, DispatchSettings
from tornflow.spi.task_type import Answered, Attempt, Host, Outcome

TARGETS = ("alpha", "beta", "gamma", "delta")
_TASK = "  - {{category: function, name: {target}, pattern: {pattern}, resourceName: 'test://{target}/work'}}\n"


class FixedClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def wall_ms(self) -> int:
        return self.now

    def steady_ms(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1000


class Puppet:
    """Its attempts run until the test ends them; the target is what stands behind ``test://``."""

    protocols: tuple[str, ...] = ("test",)
    title = "for tests"

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Future[Any]] = {}  # by idempotency key
        self.started: list[Attempt] = []
        self.most: dict[str, int] = {}
        self.is_stubborn = False

    async def start(self, host: Host) -> None: ...

    async def stop(self) -> None: ...

    def target(self, resource: str) -> str:
        return resource.removeprefix("test://").partition("/")[0]

    async def execute(self, attempt: Attempt) -> Outcome:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.started.append(attempt)
        self.running[attempt.idempotency_key] = answer
        target = self.target(attempt.resource)
        self.most[target] = max(self.most.get(target, 0), self.count(target))
        try:
            while True:
                try:
                    outcome: Outcome = await asyncio.shield(answer)
                    return outcome
                except asyncio.CancelledError:
                    if not self.is_stubborn or answer.cancelled():
                        raise
        finally:
            del self.running[attempt.idempotency_key]

    def count(self, target: str) -> int:
        return sum(1 for one in self.started if one.idempotency_key in self.running and f"//{target}/" in one.resource)

    def end(self, attempt: Attempt, outcome: Any = None) -> None:
        answer = self.running.get(attempt.idempotency_key)
        if answer is None or answer.done():
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(Answered({}) if outcome is None else outcome)


@dataclass
class World:
    """One dispatcher and everything it reported, in order."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    is_open: bool = True

    def __post_init__(self) -> None:
        self.clock = FixedClock()
        self.puppet = Puppet()
        self.reports: list[tuple[ScopeKey, AttemptEnded]] = []
        self.on_report: Callable[[ScopeKey, AttemptEnded], None] | None = None
        settings = DispatchSettings("http://here:1", **self.settings)
        self.dispatcher = Dispatcher({"test": self.puppet}, self._report, self.clock, settings)
        if self.is_open:
            self.dispatcher.open()

    def dispatch(self, number: int, *, flow: str = "one", target: str = "alpha", **fields: Any) -> Scope:
        scope = scope_of(number, flow=flow, target=target, **fields)
        self.dispatcher.dispatch(scope, command_of(target))
        return scope

    def abandon(self, scope: Scope, target: str = "alpha") -> None:
        self.dispatcher.abandon(scope.state.key, scope.state.generation, target, 1)

    def started(self) -> list[str]:
        """Return the numbers of the executions whose attempts were started, as given to ``dispatch``, in order."""
        return [attempt.execution_id.rpartition("_")[2] for attempt in self.puppet.started]

    def _report(self, key: ScopeKey, event: AttemptEnded) -> None:
        self.reports.append((key, event))
        if self.on_report is not None:
            self.on_report(key, event)


def command_of(target: str, attempt: int = 1) -> DispatchTask:
    return DispatchTask(target, attempt, {"a": 1})


def scope_of(
    number: int,
    *,
    flow: str = "one",
    target: str = "alpha",
    pattern: str = "task_sync",
    generation: Generation = ("life",),
    path: str = "",
    due_at: int | None = None,
) -> Scope:
    """Return a scope of an execution of its own with one task per target, that to ``target`` being dispatched."""
    program = _program(flow, pattern)
    state = ScopeState(
        ScopeKey(f"demo:{flow}_c_{number}", path), program.descriptor.md5, workspace="demo", dag_name=flow,
        generation=generation,
    )  # fmt: skip
    state.tasks[target] = TaskState(target, attempt=1, due_at=due_at)
    root = Scope.__new__(Scope)
    root.state, root.program, root.graph = state, program, program.root
    return root


@cache
def _program(flow: str, pattern: str) -> Program:
    tasks = "".join(_TASK.format(target=target, pattern=pattern) for target in TARGETS)
    text = f"workspace: demo\ndagName: {flow}\ntype: flow\ntasks:\n{tasks}"
    return compile_program(parse_descriptor(text), lambda _: lambda __: None)


async def turns(count: int = 5) -> None:
    """Let everything that is ready run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)
