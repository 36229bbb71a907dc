"""Wakes mocked suspense tasks while ``tornflow run`` looks at an execution."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from tornflow.cli.mocks import Mocks
from tornflow.errors import TornflowError
from tornflow.model.execution import Mark, ScopeState
from tornflow.model.names import instance_name
from tornflow.model.status import TaskStatus
from tornflow.spi.task_type import Answered

if TYPE_CHECKING:
    from tornflow.runtime.service import FlowService


class Waker:
    """Gives each running suspense its next answer, once each; functions are answered where they are called."""

    def __init__(self, mocks: Mocks, service: FlowService, suspenses: frozenset[str]) -> None:
        self._mocks = mocks
        self._service = service
        self._names = frozenset(name for name in suspenses if _is_mocked(mocks, name))
        self._given: Counter[str] = Counter()

    async def look(self, state: ScopeState) -> None:
        if not self._names or state.status.is_completed:
            return
        async for instance in self._waiting(state):
            answers = self._mocks.outcomes.get(instance) or self._mocks.outcomes.get(instance.rpartition("-")[2], ())
            number = self._given[instance]
            if number < len(answers) and isinstance(answer := answers[number], Answered):
                self._given[instance] += 1
                try:
                    await self._service.wakeup(state.key.execution_id, instance, _payload(answer))
                except TornflowError:
                    pass  # it ended meanwhile

    async def _waiting(self, root: ScopeState) -> AsyncIterator[str]:
        scopes = [root]
        while scopes:
            state = scopes.pop()
            for task in list(state.tasks.values()):
                instance = instance_name(state.key.path, task.name)
                if task.status is not TaskStatus.RUNNING:
                    continue
                if task.name in self._names:
                    yield instance
                if task.groups is not None:
                    running = [index for index, mark in enumerate(task.groups.marks) if mark == Mark.RUNNING]
                    for index in running:
                        group = await self._service.group(root.key.execution_id, instance, index)
                        if group is not None and group.state is not None:
                            scopes.append(group.state)


def _is_mocked(mocks: Mocks, name: str) -> bool:
    return any(key == name or key.endswith(f"-{name}") for key in mocks.outcomes)


def _payload(answer: Answered) -> dict[str, object]:
    return answer.value if isinstance(answer.value, dict) else {"data": answer.value}
