"""``tornflow run --mock TASK=JSON``: answers that take the place of what tasks would call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tornflow.errors import ConfigError, TornflowError
from tornflow.model.descriptor import ChoiceTask, Descriptor, ForeachTask, FunctionTask, Task
from tornflow.model.names import base_name
from tornflow.model.status import Category, Pattern
from tornflow.spi.task_type import Answered, Attempt, Failed, Host, Outcome, TaskType

if TYPE_CHECKING:
    from tornflow.runtime.service import FlowService

FAILURE = "!"
_CHILD = "mock"
_MOCKABLE = (Category.FUNCTION, Category.SUSPENSE)


@dataclass(slots=True)
class Mocks:
    """Outcomes by instance or base name, the instance first. The n-th attempt gets the n-th, the last one repeats."""

    outcomes: Mapping[str, Sequence[Outcome]]
    protocols: frozenset[str] = frozenset()  # what the mocked tasks would be sent to, served or not
    service: FlowService | None = None  # set as soon as there is one: what is asynchronous is completed through it

    def outcome(self, instance: str, number: int) -> Outcome | None:
        found = self.outcomes.get(instance) or self.outcomes.get(base_name(instance))
        return found[min(number, len(found)) - 1] if found else None

    def wrap(self, installed: Mapping[str, TaskType]) -> Mapping[str, TaskType]:
        """Return task types that ask here first. Tasks whose protocol nobody serves can be mocked too."""
        wrapped = {id(one): _MockedTaskType(self, one) for one in installed.values()}
        nobody = _MockedTaskType(self, _Nobody(self.protocols - installed.keys(), installed))
        return dict.fromkeys(self.protocols, nobody) | {name: wrapped[id(one)] for name, one in installed.items()}

    async def complete(self, attempt: Attempt, value: Any) -> None:
        """Report an asynchronous task done, as an executor would."""
        assert self.service is not None
        payload = _as_object(value)
        result = payload.get("result_type")
        is_success = result is None or str(result).upper() == "SUCCESS"
        try:
            await self.service.finish(attempt.execution_id, attempt.task_name, payload, success=is_success)
        except TornflowError:
            pass  # the task has ended otherwise: it timed out, or the flow was stopped


def read_mocks(given: Sequence[str], flows: Sequence[Descriptor]) -> Mocks:
    """Read the values of ``--mock``.

    Raises:
        ConfigError: no ``=``, no JSON, a task that no flow has or that calls nothing; the message names it.
    """
    tasks = {task.name: task for flow in flows for task in _all_tasks(flow.tasks)}
    outcomes: dict[str, list[Outcome]] = {}
    for one in given:
        name, mark, text = one.partition("=")
        if not mark:
            raise ConfigError(f"--mock {one}: write TASK=JSON, or TASK={FAILURE}message for a failure")
        _check_task(name, text, tasks)
        outcomes.setdefault(name, []).append(_outcome(name, text))
    mocked = [tasks[base_name(name)] for name in outcomes]
    return Mocks(outcomes, frozenset(_protocol(task) for task in mocked if isinstance(task, FunctionTask)))


def suspense_names(flow: Descriptor) -> frozenset[str]:
    return frozenset(task.name for task in _all_tasks(flow.tasks) if task.category is Category.SUSPENSE)


def _check_task(name: str, text: str, tasks: Mapping[str, Task]) -> None:
    task = tasks.get(base_name(name))
    if task is None:
        from tornflow.lint.page import nearest

        guess = nearest(base_name(name), tasks)
        raise ConfigError(f"--mock {name}: there is no such task" + (f", did you mean {guess}?" if guess else ""))
    if task.category not in _MOCKABLE:
        raise ConfigError(f"--mock {name}: a {task.category} calls nothing; only function and suspense can be mocked")
    if task.category is Category.SUSPENSE and text.startswith(FAILURE):
        raise ConfigError(f"--mock {name}: a suspense is woken with a JSON object, it cannot be made to fail")


def _outcome(name: str, text: str) -> Outcome:
    if text.startswith(FAILURE):
        return Failed(text[len(FAILURE) :] or "mocked failure")
    try:
        return Answered(json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--mock {name}: not JSON: {error}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _protocol(task: FunctionTask) -> str:
    return task.protocol if task.resource is None else task.resource.category


def _all_tasks(tasks: Sequence[Task]) -> Iterator[Task]:
    for task in tasks:
        yield task
        if isinstance(task, ForeachTask):
            yield from _all_tasks(task.tasks)
        elif isinstance(task, ChoiceTask):
            for branch in task.choices:
                yield from _all_tasks(branch.tasks)


def _as_object(value: Any) -> dict[str, Any]:
    """Read an answer as the engine does (rill-dsl 12.4)."""
    if isinstance(value, dict):
        return value
    return {"data": value} if isinstance(value, list) else {}


class _MockedTaskType:
    def __init__(self, mocks: Mocks, real: TaskType) -> None:
        self.protocols = real.protocols
        self.title = real.title
        self._mocks = mocks
        self._real = real
        self._completions: set[asyncio.Task[None]] = set()

    async def start(self, host: Host) -> None:
        await self._real.start(host)

    async def execute(self, attempt: Attempt) -> Outcome:
        outcome = self._mocks.outcome(attempt.task_name, attempt.number) if attempt.task_name else None
        if outcome is None:
            return await self._real.execute(attempt)
        if isinstance(outcome, Failed) or attempt.pattern == Pattern.TASK_SYNC:
            return outcome
        if attempt.pattern == Pattern.FLOW_ASYNC:
            return Answered({"execution_id": _CHILD, **_as_object(outcome.value)})
        # It runs when this answer is on its way to the engine, so the completion comes second.
        completion = asyncio.get_running_loop().create_task(self._mocks.complete(attempt, outcome.value))
        self._completions.add(completion)
        completion.add_done_callback(self._completions.discard)
        return Answered({"execution_id": _CHILD} if attempt.pattern == Pattern.FLOW_SYNC else {})

    async def stop(self) -> None:
        for completion in self._completions:
            completion.cancel()
        await asyncio.gather(*self._completions, return_exceptions=True)
        await self._real.stop()


class _Nobody:
    """Stands for the task type of protocols that nobody serves but mocked tasks name; others may name them too."""

    title = "not installed"

    def __init__(self, protocols: Iterable[str], installed: Iterable[str]) -> None:
        self.protocols: tuple[str, ...] = (*sorted(protocols), "nobody")
        self._installed = ", ".join(sorted(installed))

    async def start(self, host: Host) -> None:
        pass

    async def execute(self, attempt: Attempt) -> Outcome:
        protocol = attempt.protocol or "(none)"
        return Failed(f"resource protocol: {protocol} do not support; installed: {self._installed}")

    async def stop(self) -> None:
        pass
