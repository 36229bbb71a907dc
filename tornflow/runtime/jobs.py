"""An attempt in hand: carried out once, its outcome told once."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from tornflow.model.execution import ScopeKey
from tornflow.model.generation import Generation
from tornflow.runtime.fair_queue import Entry, FairQueue
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome, TaskType

_log = structlog.get_logger("tornflow.dispatcher")

Identity = tuple[ScopeKey, Generation, str, int]
"""What tells one attempt of a task from all others: scope, its generation, base name of the task, attempt number."""


class Job(Entry):
    """Waits or runs in ``queue``; ``handle`` is the asyncio task that carries it out, None while it waits. ``since`` is
    when it began to wait, then when it began to run, in seconds of the clock."""

    __slots__ = ("attempt", "handle", "queue", "since", "task_type")

    def __init__(self, attempt: Attempt, task_type: TaskType, queue: FairQueue[Any]) -> None:
        self.attempt = attempt
        self.task_type = task_type
        self.queue = queue
        self.handle: asyncio.Task[None] | None = None
        self.since = 0.0

    def withdraw(self) -> None:
        """Stop it, or take it out of the queue."""
        if self.handle is not None:
            self.handle.cancel()
        elif self.is_waiting:
            self.queue.remove(self)


class TaskJob(Job):
    """``flow_name`` is ``workspace:dag_name``; ``due_at`` the moment of the task's timeout."""

    __slots__ = ("due_at", "flow_name", "identity")

    def __init__(
        self,
        attempt: Attempt,
        task_type: TaskType,
        queue: FairQueue[TaskJob],
        identity: Identity,
        flow_name: str,
        due_at: int | None,
    ) -> None:
        super().__init__(attempt, task_type, queue)
        self.identity = identity
        self.flow_name = flow_name
        self.due_at = due_at


class CallbackJob(Job):
    """``answer`` is what the caller waits for."""

    __slots__ = ("answer",)

    def __init__(
        self, attempt: Attempt, task_type: TaskType, queue: FairQueue[CallbackJob], answer: asyncio.Future[Outcome]
    ) -> None:
        super().__init__(attempt, task_type, queue)
        self.answer = answer


async def outcome_of(job: Job) -> Outcome:
    """Carry out an attempt; whatever a task type does becomes an outcome. Raises only when the job is cancelled."""
    attempt = job.attempt
    try:
        outcome: object = await job.task_type.execute(attempt)
    except asyncio.CancelledError:
        carrier = asyncio.current_task()
        if carrier is None or carrier.cancelling():
            raise
        # Nobody asked it to; the task must not wait for ever.
        return Failed("CancelledError: the task type gave up", "plugin_error")
    except Exception as error:
        _log.exception("a task type broke", execution_id=attempt.execution_id, task=attempt.task_name)
        return Failed(f"{type(error).__name__}: {error}", "plugin_error")
    if isinstance(outcome, Answered | Failed):
        return outcome
    what = type(outcome).__name__
    return Failed(f"the task type for {attempt.protocol} answered {what}, not Answered or Failed", "plugin_error")
