"""Hands attempts to their task types and brings every outcome back as an event: answer, failure, crash of a plugin.

Slots are limited, and shared fairly between targets and flows (``fair_queue``): a target that never answers costs
others nothing, however many attempts wait for it. Completion callbacks have slots of their own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from tornflow.engine.commands import DispatchTask
from tornflow.engine.events import AttemptEnded
from tornflow.engine.scope import Scope
from tornflow.model.descriptor import FunctionTask
from tornflow.model.execution import ScopeKey
from tornflow.model.generation import Generation
from tornflow.runtime.attempts import AttemptMaker, protocol_of, target_finder
from tornflow.runtime.clock import Clock
from tornflow.runtime.fair_queue import FairQueue, Limits, Load
from tornflow.runtime.histogram import Histogram
from tornflow.runtime.jobs import CallbackJob, Identity, Job, TaskJob, outcome_of
from tornflow.runtime.references import unsupported_category
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome, TaskType

_log = structlog.get_logger("tornflow.dispatcher")
_PATIENCE_S = 5.0

Report = Callable[[ScopeKey, AttemptEnded], None]
Note = Callable[[str, str, str, Outcome], None]
"""(flow, base name of the task, resource, outcome)"""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How attempts are sent out; counts are of attempts and at least 1.

    ``server_url`` and ``trigger_uri`` make the X-Callback-Url. ``max_in_flight``, ``per_target`` and ``per_flow`` bound
    attempts at one time. ``callbacks`` bounds completion callbacks beside them, a quarter of it those to one target,
    ``callbacks_waiting`` those that wait for one target. A flow of which fewer than ``room`` attempts wait may start
    more groups.
    """

    server_url: str
    trigger_uri: str = "/flow/trigger.json"
    max_in_flight: int = 4096
    per_target: int = 256
    per_flow: int = 1024
    callbacks: int = 64
    callbacks_waiting: int = 10_000
    room: int = 256


class Dispatcher:
    """All calls on one event loop. ``report`` is called at most once per dispatched attempt, and never after the
    attempt was abandoned. ``waits`` and ``times``: how long attempts of tasks waited for a slot, and held it."""

    def __init__(
        self, task_types: Mapping[str, TaskType], report: Report, clock: Clock, settings: DispatchSettings
    ) -> None:
        self._task_types = task_types
        self._report = report
        self._clock = clock
        self._settings = settings
        self._maker = AttemptMaker(clock, settings.server_url, settings.trigger_uri)
        self._target_of = target_finder(task_types)
        few = max(1, settings.callbacks // 4)
        limits = Limits(settings.max_in_flight, settings.per_target, settings.per_flow)
        self._attempts: FairQueue[TaskJob] = FairQueue(limits)
        self._callbacks: FairQueue[CallbackJob] = FairQueue(Limits(settings.callbacks, few, settings.callbacks))
        self._jobs: dict[Identity, TaskJob] = {}
        self._running: dict[asyncio.Task[None], Job] = {}
        self._room: dict[str, deque[asyncio.Future[None]]] = {}
        self._is_open = False
        self._is_closed = False
        self.waits, self.times = Histogram(), Histogram()
        self.may_start: Callable[[], bool] = _always
        """Asked before each start; while it says no, attempts wait for ``resume``. Set by the wiring."""
        self.note: Note = _nothing
        """Called with the outcome of each attempt of a task that is still wanted. Set by the wiring."""

    @property
    def in_flight(self) -> int:
        """Slots in use, those of callbacks included."""
        return self._attempts.in_flight + self._callbacks.in_flight

    @property
    def waiting(self) -> int:
        """Attempts of tasks that wait for a slot."""
        return self._attempts.waiting

    @property
    def callbacks_waiting(self) -> int:
        return self._callbacks.waiting

    def waiting_of(self, flow: str) -> int:
        """Return how many attempts of a flow (``workspace:dag_name``) wait."""
        return self._attempts.waiting_of(flow)

    def targets(self) -> dict[str, Load]:
        """Return each target that has attempts in flight or waiting; callbacks are not counted."""
        return self._attempts.targets()

    def open(self) -> None:
        """From now on attempts start; before, they only wait."""
        self._is_open = not self._is_closed
        self.resume()

    def resume(self) -> None:
        """Start what waits and may start; for when ``may_start`` says yes again."""
        self._start_next(self._attempts)
        self._start_next(self._callbacks)

    # --- attempts of tasks

    def dispatch(self, scope: Scope, command: DispatchTask) -> None:
        """Start an attempt now, or when it is its turn. One that is in hand already stays as it is."""
        state = scope.state
        identity = (state.key, state.generation, command.task, command.attempt)
        if self._is_closed or identity in self._jobs:
            return
        definition = scope.graph.tasks[command.task].definition
        assert isinstance(definition, FunctionTask)
        protocol = protocol_of(definition)
        task_type = self._task_types.get(protocol)
        if task_type is None:
            self._tell(identity, self._unsupported(definition))
            return
        attempt = self._maker.for_task(scope, command, definition)
        flow = f"{state.workspace}:{state.dag_name}"
        job = TaskJob(attempt, task_type, self._attempts, identity, flow, state.tasks[command.task].due_at)
        self._jobs[identity] = job
        self._enter(job, self._target_of(protocol, definition.resource_name), flow)

    def holds(self, key: ScopeKey, generation: Generation, task: str, attempt: int) -> bool:
        """Tell whether an attempt waits or runs here and its outcome is still to be reported."""
        return (key, generation, task, attempt) in self._jobs

    def abandon(self, key: ScopeKey, generation: Generation, task: str, attempt: int) -> None:
        """Stop caring for an attempt, waiting or running; its outcome will not be reported."""
        job = self._jobs.pop((key, generation, task, attempt), None)
        if job is not None:
            job.withdraw()
            self._make_room(job.flow_name)

    def drop_waiting(self) -> None:
        """Forget every attempt of a task that has not started: other nodes have taken over what this one had in hand.

        Callbacks stay: to send one twice does less harm than to lose it.
        """
        for flow in self._forget_waiting():
            self._make_room(flow)

    async def room(self, flow: str) -> None:
        """Return when fewer than ``settings.room`` attempts of this flow wait; who came first returns first.

        It does not return once the dispatcher is closed: a caller must then be cancelled.
        """
        if not self._is_closed and self.waiting_of(flow) < self._settings.room:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.setdefault(flow, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in (turns := self._room.get(flow, deque())):
                turns.remove(turn)
                if not turns:
                    del self._room[flow]
            raise

    # --- completion callbacks

    def callback_attempt(
        self,
        execution_id: str,
        resource: str,
        task_input: Mapping[str, Any],
        body: Mapping[str, Any],
        generation: Generation,
        number: int,
    ) -> Attempt:
        """Return the attempt that carries a completion callback (rill-http-api 6.3); ``number`` counts the ends of one
        life, from 1."""
        return self._maker.for_callback(execution_id, resource, task_input, body, generation, number)

    async def call_back(self, attempt: Attempt) -> Outcome:
        """Carry out a completion callback when it is its turn; never raises but when it or its caller is cancelled.

        Closing the dispatcher cancels it. Fails with the code ``overloaded`` when ``callbacks_waiting`` others wait for
        the same target: their bodies are held in memory.
        """
        task_type = self._task_types.get(attempt.protocol)
        if task_type is None:
            return Failed(f"no task type for {attempt.resource}", "unsupported_protocol")
        target = self._target_of(attempt.protocol, attempt.resource)
        if self._callbacks.waiting_for(target) >= self._settings.callbacks_waiting:
            return Failed(f"too many callbacks wait for {target}", "overloaded")
        if self._is_closed:
            raise asyncio.CancelledError("the dispatcher is closed")
        job = CallbackJob(attempt, task_type, self._callbacks, asyncio.get_running_loop().create_future())
        self._enter(job, target, "")
        try:
            return await job.answer
        except asyncio.CancelledError:
            job.withdraw()
            raise

    async def close(self, grace_s: float) -> None:
        """Start nothing more; wait for what is in flight up to ``grace_s``, then abandon it.

        What waits is forgotten: it follows from the saved state.
        """
        self._is_closed = True
        self._is_open = False
        self._forget_waiting()
        for job in self._callbacks.drain():
            job.answer.cancel()
        if self._running and grace_s > 0:
            await asyncio.wait(self._running, timeout=grace_s)
        if not self._running:
            return
        _log.warning("attempts still in flight are abandoned", count=len(self._running))
        self._jobs.clear()
        for handle in self._running:
            handle.cancel()
        _, stubborn = await asyncio.wait(self._running, timeout=_PATIENCE_S)
        if stubborn:
            _log.error("task types did not give up their attempts", count=len(stubborn))

    # --- inside

    def _enter(self, job: Job, target: str, flow: str) -> None:
        job.since = self._clock.seconds()
        if job.queue.enter(job, target, flow, must_wait=not (self._is_open and self.may_start())):
            self._start(job)

    def _start_next(self, queue: FairQueue[Any]) -> None:
        while self._is_open and self.may_start() and (job := queue.next()) is not None:
            if isinstance(job, TaskJob):
                if job.due_at is not None:  # time has passed since it came
                    job.attempt = replace(job.attempt, deadline_s=self._maker.seconds_until(job.due_at))
                self._make_room(job.flow_name)
            self._start(job)

    def _start(self, job: Job) -> None:
        now = self._clock.seconds()
        if isinstance(job, TaskJob):
            self.waits.observe(now - job.since)
        job.since = now
        job.handle = handle = asyncio.get_running_loop().create_task(self._carry_out(job))
        self._running[handle] = job
        # Not a ``finally`` inside: a task that is cancelled before its first step never gets there.
        handle.add_done_callback(self._left)

    async def _carry_out(self, job: Job) -> None:
        outcome = await outcome_of(job)
        if isinstance(job, TaskJob):
            if self._jobs.get(job.identity) is job:
                del self._jobs[job.identity]
                self.note(job.flow_name, job.identity[2], job.attempt.resource, outcome)
                self._tell(job.identity, outcome)
        elif isinstance(job, CallbackJob) and not job.answer.done():
            job.answer.set_result(outcome)

    def _left(self, handle: asyncio.Task[None]) -> None:
        job = self._running.pop(handle)
        job.queue.leave(job)
        if isinstance(job, CallbackJob):
            job.answer.cancel()  # no effect once it was given
        else:
            self.times.observe(self._clock.seconds() - job.since)
        if not handle.cancelled() and (error := handle.exception()) is not None:
            _log.error("an outcome could not be reported", task=job.attempt.task_name, reason=repr(error))
        if job.queue.waiting:
            self._start_next(job.queue)

    def _tell(self, identity: Identity, outcome: Outcome) -> None:
        key, generation, task, number = identity
        at = self._clock.wall_ms()
        if isinstance(outcome, Answered):
            event = AttemptEnded(at, task, number, generation, outcome.value)
        else:
            event = AttemptEnded(at, task, number, generation, None, outcome.message, outcome.code)
        self._report(key, event)

    def _unsupported(self, definition: FunctionTask) -> Failed:
        if definition.resource is not None:
            return Failed(unsupported_category(definition.resource), "unsupported_protocol")
        known = ", ".join(sorted(self._task_types))
        named = definition.protocol or "(none)"
        return Failed(f"resource protocol: {named} do not support; installed: {known}", "unsupported_protocol")

    def _forget_waiting(self) -> set[str]:
        """Return the flows whose attempts were forgotten."""
        forgotten = self._attempts.drain()
        for job in forgotten:
            del self._jobs[job.identity]
        return {job.flow_name for job in forgotten}

    def _make_room(self, flow: str) -> None:
        if flow not in self._room or self._is_closed or self.waiting_of(flow) >= self._settings.room:
            return
        for turn in self._room.pop(flow):
            if not turn.done():
                turn.set_result(None)


def _always() -> bool:
    return True


def _nothing(flow: str, task: str, resource: str, outcome: Outcome) -> None:
    pass
