"""What happened to one scope. Past tense, frozen; ``at`` is the moment in milliseconds since the epoch.

The engine has no clock and makes no ids: both arrive inside events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tornflow.model.generation import Generation
from tornflow.model.status import FlowStatus
from tornflow.model.values import value


@value
class Submitted:
    """The scope was created; its context is complete."""

    at: int


@value
class Continued:
    """The step before left ready tasks behind, because one step must stay short."""

    at: int


@value
class AttemptEnded:
    """A task type answered (``error`` None) or failed (``error`` says why). ``value`` is what came back, any JSON.

    ``generation`` is that of the scope which the attempt was made for.
    """

    at: int
    task: str
    attempt: int
    generation: Generation
    value: Any = None
    error: str | None = None
    code: str | None = None


@value
class TaskCompleted:
    """Somebody outside reported an asynchronous task done; ``success`` is what they said.

    ``token`` names the attempt that it is about (``engine.tokens``); None means the one that runs.
    """

    at: int
    task: str
    payload: Mapping[str, Any]
    success: bool
    token: str | None = None


@value
class ChildEnded:
    """The sub-flow that an attempt started has ended; ``context`` is its final root context.

    ``generation`` is that of the scope whose task waits.
    """

    at: int
    task: str
    attempt: int
    child_id: str
    status: FlowStatus
    context: Mapping[str, Any]
    code: str | None = None
    msg: str | None = None
    ext: Mapping[str, Any] | None = None
    generation: Generation = ()


@value
class TimerFired:
    """Some moment that the scope waits for has come; which ones follows from ``at``."""

    at: int


@value
class Delivered:
    """A message of the outbox has arrived, or can never arrive."""

    at: int
    message_id: str


@value
class Recovered:
    """The node ``owner`` is gone; take over what it had in hand. When it is this node itself (a write whose outcome was
    unknown stands after all), its work is named again."""

    at: int
    owner: str


@value
class Paused:
    at: int


@value
class Resumed:
    at: int


@value
class Terminated:
    """Stop. With ``generation``: only groups that belong to that run of their foreach or choice."""

    at: int
    generation: Generation | None = None


@value
class GroupsStarted:
    """The scopes of the batch that begins with ``first`` are stored; more may follow."""

    at: int
    task: str
    generation: Generation
    first: int


@value
class GroupEnded:
    """A group of a foreach or choice reports its status (SUCCEED or FAILED)."""

    at: int
    task: str
    generation: Generation
    index: int
    status: FlowStatus
    code: str | None = None
    msg: str | None = None
    ext: Mapping[str, Any] | None = None


@value
class GroupsGathered:
    """Every group has ended; ``contexts`` are their sub-contexts by index (only groups that were started)."""

    at: int
    task: str
    generation: Generation
    contexts: Sequence[Mapping[str, Any]]


@value
class Woken:
    """Somebody woke a suspense task; ``payload`` may be empty, ``token`` as in ``TaskCompleted``."""

    at: int
    task: str
    payload: Mapping[str, Any]
    token: str | None = None


@value
class EventRaised:
    """An external event came in for the execution (its root scope)."""

    at: int
    name: str
    payload: Any


@value
class WaiterArrived:
    """A suspense task of a group waits for one of ``names`` (case-folded) since ``since``."""

    at: int
    path: str
    task: str
    names: tuple[str, ...]
    since: int
    generation: Generation


@value
class EventHandedOver:
    """An external event for a suspense task of this scope; ``number`` counts the hand-overs of the execution."""

    at: int
    task: str
    number: int
    payload: Any
    generation: Generation


@value
class EventReturned:
    """The suspense task that an event was meant for does not wait any more; the event is free again."""

    at: int
    message_id: str


@value
class Redone:
    """Run top-level tasks again, with everything behind them. No names: all that is not SUCCEED or SKIPPED."""

    at: int
    names: tuple[str, ...]
    data: Mapping[str, Any]


@value
class Degraded:
    """Degrade a base task in this execution; counts for instances that have not started."""

    at: int
    task: str
    current: bool
    followings: bool


@value
class Controlled:
    """What the scope above was told of decisions for the whole execution: whether it is paused, which tasks are
    degraded. ``number`` counts the decisions; an older one than is known changes nothing."""

    at: int
    generation: Generation
    number: int
    is_paused: bool
    degrade: Mapping[str, Sequence[bool]]


@value
class StatusForced:
    """Somebody decided how the flow ends; tasks are not touched. With ``msg`` it was us: a bug leaves no other way."""

    at: int
    success: bool
    msg: str | None = None


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
    | GroupsStarted
    | GroupEnded
    | GroupsGathered
    | Woken
    | EventRaised
    | WaiterArrived
    | EventHandedOver
    | EventReturned
    | Redone
    | Degraded
    | Controlled
    | StatusForced
)
