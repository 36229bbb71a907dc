"""What to do once a step is saved. Imperative, frozen. Every one of them follows from the saved state as well, so a
crash between saving and acting loses nothing: ``Recovered`` yields them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.model.generation import Generation
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.model.values import value


@value
class DispatchTask:
    """Hand attempt ``attempt`` of ``task`` (base name) to its task type."""

    task: str
    attempt: int
    input: Mapping[str, Any]


@value
class AbandonAttempt:
    """Nobody wants the answer of this attempt any more."""

    task: str
    attempt: int


@value
class Continue:
    """Send ``Continued`` to this scope."""


@value
class Deliver:
    """Carry the message ``message_id`` of the outbox to its receiver, then send ``Delivered``. Its content is read
    before anything else happens to the scope."""

    message_id: str


@value
class AnnounceTask:
    """Tell observers of a change of a task's status, with reason and code if it has any."""

    task: str
    status: TaskStatus
    attempt: int
    code: str | None = None
    msg: str | None = None


@value
class AnnounceFlow:
    """Tell observers of a change of the status of the execution."""

    status: FlowStatus
    code: str | None = None
    msg: str | None = None


@value
class StartGroups:
    """Create the scopes of these groups of ``task``, the batch that begins with ``first`` (those that exist in this
    generation stay), let them catch up with this scope, then send ``GroupsStarted``."""

    task: str
    generation: Generation
    first: int
    indices: tuple[int, ...]


@value
class ReviewGroups:
    """After a crash, where groups report through memory: let those that have ended report again."""

    task: str
    generation: Generation
    indices: tuple[int, ...]


@value
class GatherGroups:
    """Read the sub-contexts of these groups, as they are stored, and send ``GroupsGathered``."""

    task: str
    generation: Generation
    indices: tuple[int, ...]


@value
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
