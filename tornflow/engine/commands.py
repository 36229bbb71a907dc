"""What to do once a step is saved. Imperative, frozen. Every one of them follows from the saved state as well, so a
crash between saving and acting loses nothing: ``Recovered`` yields them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tornflow.model.execution import Generation
from tornflow.model.status import FlowStatus, TaskStatus


@dataclass(frozen=True, slots=True)
class DispatchTask:
    """Hand attempt ``attempt`` of ``task`` (base name) to its task type."""

    task: str
    attempt: int
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AbandonAttempt:
    """Nobody wants the answer of this attempt any more."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Continue:
    """Send ``Continued`` to this scope."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Carry the message ``message_id`` of the outbox to its receiver, then send ``Delivered``."""

    message_id: str


@dataclass(frozen=True, slots=True)
class AnnounceTask:
    """Tell observers."""

    task: str
    status: TaskStatus
    attempt: int


@dataclass(frozen=True, slots=True)
class AnnounceFlow:
    status: FlowStatus


@dataclass(frozen=True, slots=True)
class StartGroups:
    """Create the scopes of these groups of ``task`` (those that exist in this generation stay), then send
    ``GroupsStarted``."""

    task: str
    generation: Generation
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReviewGroups:
    """After a crash: create what is missing of the running groups, and let ended ones report again."""

    task: str
    generation: Generation


@dataclass(frozen=True, slots=True)
class GatherGroups:
    """Read the sub-contexts of all started groups and send ``GroupsGathered``."""

    task: str
    generation: Generation


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """Tell the parent scope how this group ended."""

    status: FlowStatus
    code: str | None
    msg: str | None
    ext: Mapping[str, Any] | None


GroupCommand = StartGroups | ReviewGroups | GatherGroups | ReportGroup
Command = (
    DispatchTask | AbandonAttempt | Continue | Deliver | AnnounceTask | AnnounceFlow | GroupCommand
)
