"""A play (tests/golden/engine_play.py) in which the test answers attempts itself, and may let the process crash.

Between steps a scope lies in its stored form only, as the real codec writes it.
"""

from __future__ import annotations

from typing import Any

import yaml

from tests.golden.engine_play import NODE, Play
from tornflow.engine.commands import AbandonAttempt, Command, DispatchTask, GroupCommand, StartGroups
from tornflow.engine.events import AttemptEnded, Event, Recovered, TaskCompleted, TimerFired
from tornflow.engine.groups import group_state
from tornflow.engine.program import Program, Rules
from tornflow.engine.scope import Scope
from tornflow.errors import RequestError
from tornflow.model.execution import ScopeKey, TaskState
from tornflow.runtime.codec import decode, encode, note_form
from tornflow.spi.storage import StoredScope

RULES = Rules(inline_tasks_per_step=2, event_buffer=3, context_limit_bytes=2000)


def flow_of(name: str, tasks: list[dict[str, Any]], **more: Any) -> str:
    text: str = yaml.safe_dump({"workspace": "demo", "dagName": name, "type": "flow", "tasks": tasks, **more})
    return text


def function(name: str, pattern: str = "task_async", **more: Any) -> dict[str, Any]:
    return {"category": "function", "name": name, "pattern": pattern, "resourceName": "http://svc", **more}


def loop(*body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "category": "foreach",
        "name": "loop",
        "inputMappings": [{"source": "[1, 2]", "target": "$.input.l"}],
        "iterationMapping": {"collection": "$.input.l", "item": "x"},
        "tasks": list(body),
        **more,
    }


class ByHand(Play):
    def __init__(self, *tasks: dict[str, Any], rules: Rules = RULES, inline_limit: int = 0) -> None:
        super().__init__(flow_of("ex", list(tasks)), {}, {})
        self.rules = rules
        self.inline_limit = inline_limit
        self.saved: dict[ScopeKey, StoredScope] = {}
        self.attempts: list[tuple[ScopeKey, DispatchTask]] = []
        self.groups_at_most = 1_000_000  # so many groups are created before the process dies

    @property
    def root(self) -> ScopeKey:
        return self.roots()[0].state.key

    def begin(self, **context: Any) -> ByHand:
        self.start(self.flow, context)
        return self

    def at(self, path: str = "") -> Scope:
        return self.find(ScopeKey(self.root.execution_id, path))

    def state_of(self, name: str, path: str = "") -> TaskState:
        return self.at(path).state.tasks[name]

    def tell(self, event: Event, path: str = "") -> None:
        self.send(self.at(path), event)

    # --- storing

    def save(self, scope: Scope) -> None:
        key, is_new = scope.state.key, scope.is_new
        if scope.is_dirty:
            write = encode(scope, self.inline_limit)
            parts = {} if is_new or key not in self.saved else dict(self.saved[key].parts)
            parts.update({name: body for name, body in write.parts.items() if body is not None})
            for name in [name for name, body in write.parts.items() if body is None]:
                parts.pop(name, None)
            self.saved[key] = StoredScope(
                key, write.expected_revision + 1, write.head, parts, write.life, write.owners, write.due_at
            )
            scope.saved()
        assert decode(self.saved[key]).state == scope.state, "a step changed what it did not save"

    def crash(self) -> None:
        """Lose all but what is saved; then take up again what was in hand."""
        self.attempts.clear()
        self.scopes = [self.read(key, scope.program) for scope in self.scopes if (key := scope.state.key) in self.saved]
        for scope in list(self.scopes):
            self.send(self.find(scope.state.key), Recovered(self.now, NODE))

    def read(self, key: ScopeKey, program: Program) -> Scope:
        decoded = decode(self.saved[key])
        scope = Scope(decoded.state, program, self.rules, node=NODE)
        note_form(scope, self.saved[key], decoded)
        return scope

    # --- carrying out

    def act(self, scope: Scope, command: Command) -> None:
        if isinstance(command, AbandonAttempt):
            key, names = scope.state.key, (command.task, command.attempt)
            self.attempts = [one for one in self.attempts if (one[0], (one[1].task, one[1].attempt)) != (key, names)]
        if self.groups_at_most > 0 or not isinstance(command, GroupCommand):
            super().act(scope, command)

    def dispatch(self, scope: Scope, command: DispatchTask) -> None:
        self.attempts.append((scope.state.key, command))

    def start_groups(self, scope: Scope, command: StartGroups) -> None:
        states = [group_state(scope, scope.state.tasks[command.task], index) for index in command.indices]
        for state in states:
            known = next((one for one in self.scopes if one.state.key == state.key), None)
            if known is None or known.state.generation < state.generation:
                if self.groups_at_most == 0:
                    return
                self.groups_at_most -= 1
                self.create(state, scope.program)
        self.finish_batch(scope, command)

    # --- answering

    def answer(self, value: Any = None, error: str | None = None, task: str | None = None) -> None:  # type: ignore[override]
        """Answer what is in flight now."""
        mine = [one for one in self.attempts if task in (None, one[1].task)]
        self.attempts = [one for one in self.attempts if one not in mine]
        for key, command in mine:
            scope = self.find(key)
            self.send(scope, AttemptEnded(
                self.now, command.task, command.attempt, scope.state.generation, value, error
            ))  # fmt: skip

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        for scope in list(self.scopes):
            self.send(self.find(scope.state.key), TimerFired(self.now))

    def bring_to_the_end(self) -> None:
        """Everybody answers and completes, until everything has ended."""
        for _ in range(20):
            self.answer({"v": 1})
            for scope in list(self.scopes):
                for name in list(scope.state.tasks):
                    try:
                        self.send(self.find(scope.state.key), TaskCompleted(self.now, name, {"v": 1}, True))
                    except RequestError:
                        pass
            self.wait(100)
            if all(one.state.status.is_completed for one in self.scopes):
                return
        raise AssertionError({one.state.key: one.state.status for one in self.scopes})


def started(*tasks: dict[str, Any], rules: Rules = RULES) -> ByHand:
    return ByHand(*tasks, rules=rules).begin()
