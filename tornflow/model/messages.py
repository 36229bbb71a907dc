"""Messages between scopes. They lie in the outbox of their sender until they are delivered, and hold all they say.

Delivering one twice changes nothing: its receiver knows it by generation, attempt or number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tornflow.model.generation import Generation
from tornflow.model.status import FlowStatus


@dataclass(frozen=True, slots=True)
class TellParent:
    """To the task that waits for this sub-flow: it has ended, or its important part is done (KEY_SUCCEED)."""

    status: FlowStatus
    code: str | None = None
    msg: str | None = None
    ext: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ConfirmParent:
    """To the task that started this sub-flow: does it still wait? It may have been stopped meanwhile."""


@dataclass(frozen=True, slots=True)
class StopChild:
    """To the sub-flow of an attempt that nobody waits for any more. ``child_id`` None: its start is under way, and it
    is found by the attempt's key."""

    task: str
    attempt: int
    child_id: str | None


@dataclass(frozen=True, slots=True)
class SendCallback:
    """To the completion callback; ``number`` counts the runs of the flow from 1, since a redo makes another."""

    number: int


@dataclass(frozen=True, slots=True)
class GroupReport:
    """To the foreach or choice of this group: how it ended."""

    status: FlowStatus
    code: str | None = None
    msg: str | None = None
    ext: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StopGroups:
    """To groups of one run of a task: stop. ``indices`` None: all of them."""

    task: str
    generation: Generation
    indices: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """To the groups that run: what was decided for the whole execution. Only the greatest number counts."""

    number: int


@dataclass(frozen=True, slots=True)
class AwaitEvent:
    """To the root: a suspense task of this group waits for one of ``names`` (case-folded)."""

    task: str
    names: tuple[str, ...]
    since: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """To a suspense task of a group: an external event. ``number`` is new with every try to hand it over, ``event`` is
    that of its arrival, so that it keeps its place when it comes back."""

    path: str
    generation: Generation
    task: str
    number: int
    event: int
    name: str
    payload: Any


Message = (
    TellParent
    | ConfirmParent
    | StopChild
    | SendCallback
    | GroupReport
    | StopGroups
    | ControlGroups
    | AwaitEvent
    | HandOver
)


class Posted(NamedTuple):
    """A message and the node that is delivering it."""

    owner: str
    message: Message
