"""Hands attempts to their task types and brings every outcome back as an event: answer, failure, crash of a plugin."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import structlog

from tornflow.engine.commands import DispatchTask
from tornflow.engine.events import AttemptEnded
from tornflow.engine.program import CompiledTask
from tornflow.engine.scope import Scope
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import ScopeKey
from tornflow.model.names import instance_name
from tornflow.runtime.references import as_object, unsupported_category
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome, TaskType

_log = structlog.get_logger("tornflow.dispatcher")

_NO_OBJECT: Mapping[str, Any] = {}
Report = Callable[[ScopeKey, AttemptEnded], None]


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """``server_url`` and ``trigger_uri`` make the X-Callback-Url; ``max_in_flight`` bounds attempts at one time."""

    server_url: str
    trigger_uri: str = "/flow/trigger.json"
    max_in_flight: int = 1024


@dataclass(slots=True, eq=False)
class _Job:
    key: ScopeKey
    task: str
    attempt: Attempt
    task_type: TaskType
    handle: asyncio.Task[None] | None = field(default=None)


class Dispatcher:
    def __init__(
        self, task_types: Mapping[str, TaskType], report: Report, clock: Callable[[], int], settings: DispatchSettings
    ) -> None:
        self._task_types = task_types
        self._report = report
        self._clock = clock
        self._settings = settings
        self._jobs: dict[tuple[ScopeKey, str], _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._running = 0
        self._is_closed = False
        self._idle = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return self._running

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def dispatch(self, scope: Scope, command: DispatchTask) -> None:
        """Start an attempt now, or when one of those in flight has ended."""
        key = scope.state.key
        compiled = scope.graph.tasks[command.task]
        definition = compiled.definition
        assert isinstance(definition, FunctionTask)
        protocol = definition.protocol if definition.resource is None else definition.resource.category
        task_type = self._task_types.get(protocol)
        if task_type is None:
            error = self._unsupported(definition)
            self._report(key, AttemptEnded(self._clock(), command.task, command.attempt, error=error))
            return
        job = _Job(key, command.task, self._attempt(scope, compiled, definition, command), task_type)
        self._jobs[key, command.task] = job
        if self._running < self._settings.max_in_flight:
            self._start(job)
        else:
            self._waiting.append(job)

    def _unsupported(self, definition: FunctionTask) -> str:
        if definition.resource is not None:
            return unsupported_category(definition.resource)
        known = ", ".join(sorted(self._task_types))
        return f"resource protocol: {definition.protocol or '(none)'} do not support; installed: {known}"

    def abandon(self, key: ScopeKey, task: str, attempt: int) -> None:
        """Stop caring for an attempt; its answer will not be reported."""
        job = self._jobs.get((key, task))
        if job is None or job.attempt.number != attempt:
            return
        del self._jobs[key, task]
        if job.handle is not None:
            job.handle.cancel()
        elif job in self._waiting:  # not once the dispatcher is closed
            self._waiting.remove(job)

    async def close(self, grace_s: float) -> None:
        """Start nothing more; wait for what is in flight up to ``grace_s``, then abandon it."""
        self._is_closed = True
        self._waiting.clear()
        if self._running and grace_s > 0:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), grace_s)
            except TimeoutError:
                _log.warning("attempts still in flight are abandoned", count=self._running)
        handles = [job.handle for job in self._jobs.values() if job.handle is not None]
        for handle in handles:
            handle.cancel()
        await asyncio.gather(*handles, return_exceptions=True)

    def callback_attempt(
        self, execution_id: str, resource: str, task_input: Mapping[str, Any], body: Mapping[str, Any]
    ) -> Attempt:
        """Return the attempt that carries a completion callback (rill-http-api 6.3)."""
        settings = self._settings
        return Attempt(
            execution_id=execution_id,
            task_name="",
            number=1,
            resource=resource,
            protocol=resource.partition("://")[0],
            input=task_input,
            idempotency_key=f"{execution_id}/callback",
            pattern="",
            callback_url=self._callback_url(execution_id, ""),
            server_url=settings.server_url,
            extra_body=body,
        )

    async def execute(self, attempt: Attempt) -> Outcome:
        """Carry out an attempt that belongs to no task; never raises but when cancelled."""
        task_type = self._task_types.get(attempt.protocol)
        if task_type is None:
            return Failed(f"no task type for {attempt.resource}")
        return await _execute(task_type, attempt)

    # --- one job

    def _start(self, job: _Job) -> None:
        if self._is_closed:
            return
        self._running += 1
        job.handle = asyncio.get_running_loop().create_task(self._carry_out(job))

    async def _carry_out(self, job: _Job) -> None:
        try:
            outcome = await _execute(job.task_type, job.attempt)
            if self._jobs.get((job.key, job.task)) is job:
                del self._jobs[job.key, job.task]
                self._report(job.key, self._event(job, outcome))
        finally:
            self._running -= 1
            while self._waiting and self._running < self._settings.max_in_flight:
                self._start(self._waiting.popleft())
            if self._running == 0:
                self._idle.set()

    def _event(self, job: _Job, outcome: Outcome) -> AttemptEnded:
        at, number = self._clock(), job.attempt.number
        if isinstance(outcome, Answered):
            return AttemptEnded(at, job.task, number, outcome.value)
        return AttemptEnded(at, job.task, number, None, outcome.message, outcome.code)

    def _attempt(
        self, scope: Scope, compiled: CompiledTask, definition: FunctionTask, command: DispatchTask
    ) -> Attempt:
        key = scope.state.key
        name = instance_name(key.path, command.task)
        due_at = scope.state.tasks[command.task].due_at
        return Attempt(
            execution_id=key.execution_id,
            task_name=name,
            number=command.attempt,
            resource=definition.resource_name,
            protocol=definition.protocol if definition.resource is None else definition.resource.category,
            input=command.input,
            idempotency_key=f"{key.execution_id}/{name}/{_run(scope)}{command.attempt}",
            pattern=definition.pattern.value,
            request_type=definition.request_type,
            callback_url=self._callback_url(key.execution_id, name),
            server_url=self._settings.server_url,
            deadline_s=None if due_at is None else max(0, due_at - self._clock()) / 1000,
            resource_object=_NO_OBJECT if definition.resource is None else as_object(definition.resource),
        )

    def _callback_url(self, execution_id: str, name: str) -> str:
        """Parameters in alphabetical order, percent-encoded (rill-http-api 6.1)."""
        settings = self._settings
        task = f"&task_name={_quoted(name)}" if name else ""
        query = f"execution_id={_quoted(execution_id)}{task}&ts={self._clock()}"
        return f"{settings.server_url}{settings.trigger_uri}?{query}"


@lru_cache(maxsize=4096)
def _quoted(name: str) -> str:
    """Every task of an execution says its id again, and every execution the same task names."""
    return quote(name, safe="")


def _run(scope: Scope) -> str:
    """Tell runs of one group apart where a redo has made a second one: attempts count from 1 in each."""
    generation = scope.state.generation
    return "" if all(run == 1 for run in generation) else "".join(f"{run}." for run in generation)


async def _execute(task_type: TaskType, attempt: Attempt) -> Outcome:
    try:
        outcome: object = await task_type.execute(attempt)
    except asyncio.CancelledError:
        carrier = asyncio.current_task()
        if carrier is None or carrier.cancelling():
            raise
        return Failed("CancelledError: the task type gave up")  # nobody asked it to; the task must not wait for ever
    except Exception as error:
        _log.exception("a task type broke", execution_id=attempt.execution_id, task=attempt.task_name)
        return Failed(f"{type(error).__name__}: {error}")
    if isinstance(outcome, Answered | Failed):
        return outcome
    return Failed(f"the task type for {attempt.protocol} answered {type(outcome).__name__}, not Answered or Failed")
