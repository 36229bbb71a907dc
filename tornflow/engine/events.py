"""What happened to one scope. Past tense, frozen; ``at`` is the moment in milliseconds since the epoch.

The engine has no clock and makes no ids: both arrive inside events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tornflow.model.status import FlowStatus


@dataclass(frozen=True, slots=True)
class Submitted:
    """The scope was created; its context is complete."""

    at: int


@dataclass(frozen=True, slots=True)
class Continued:
    """The step before left ready tasks behind, because one step must stay short."""

    at: int


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """A task type answered (``error`` None) or failed (``error`` says why). ``value`` is what came back, any JSON."""

    at: int
    task: str
    attempt: int
    value: Any = None
    error: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class TaskCompleted:
    """Somebody outside reported an asynchronous task done; ``success`` is what they said."""

    at: int
    task: str
    payload: Mapping[str, Any]
    success: bool


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """The sub-flow that an attempt started has ended; ``context`` is its final root context."""

    at: int
    task: str
    attempt: int
    child_id: str
    status: FlowStatus
    context: Mapping[str, Any]
    code: str | None = None
    msg: str | None = None
    ext: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """Some moment that the scope waits for has come; which ones follows from ``at``."""

    at: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message of the outbox has arrived, or can never arrive."""

    at: int
    message_id: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The node that had work in hand for this scope is gone; do that work again."""

    at: int


@dataclass(frozen=True, slots=True)
class Paused:
    at: int


@dataclass(frozen=True, slots=True)
class Resumed:
    at: int


@dataclass(frozen=True, slots=True)
class Terminated:
    at: int


Event = (
    Submitted
    | Continued
    | AttemptEnded
    | TaskCompleted
    | ChildEnded
    | TimerFired
    | Delivered
    | Recovered
    | Paused
    | Resumed
    | Terminated
)
