"""Poison events: what becomes of one that a bug in a step, or a state that no store takes, makes impossible.

Nothing may wait for ever because of our mistake: the attempt fails, or else the flow, with a message that says so.
Requests are just refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import structlog

from tornflow.engine.commands import Command
from tornflow.engine.events import (
    AttemptEnded,
    ChildEnded,
    Continued,
    Event,
    GroupEnded,
    GroupsGathered,
    GroupsStarted,
    Recovered,
    StatusForced,
    TimerFired,
)
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import TornflowError
from tornflow.runtime.mailboxes import Entry, answer

_log = structlog.get_logger("tornflow.runner")
_MUST_HAPPEN = (AttemptEnded, ChildEnded, Continued, GroupEnded, GroupsGathered, GroupsStarted, Recovered, TimerFired)


class Broken(TornflowError):
    """A bug in a step; the event is dropped, the flow is kept."""

    code = "internal_error"


def try_to_apply(scope: Scope, event: Event, commands: list[Command]) -> TornflowError | None:
    """Apply an event; return why not. After ``Broken`` the scope must be thrown away."""
    try:
        apply(scope, event, commands)
    except TornflowError as error:
        return error
    except Exception as error:
        _log.exception("a step broke", execution_id=scope.state.key.execution_id, kind=type(event).__name__)
        return Broken(f"internal error: {error}")
    return None


def without_broken(
    batch: Sequence[Entry], refusals: Sequence[TornflowError | None], rest: Sequence[Entry]
) -> Iterator[Entry]:
    """Return a queue in which what takes their place stands for events that broke; requests among them are refused."""
    for entry, refusal in zip(batch, refusals, strict=True):
        if not isinstance(refusal, Broken):
            yield entry
            continue
        answer(entry.waiter, refusal)
        instead = _instead_of(entry.event, refusal)
        if instead is not None:
            yield Entry(instead, None, True)
    yield from rest


def _instead_of(event: Event, error: Broken) -> Event | None:
    if isinstance(event, AttemptEnded) and event.error is None:
        return replace(event, value=None, error=error.message)
    return StatusForced(event.at, False, error.message) if isinstance(event, _MUST_HAPPEN) else None
