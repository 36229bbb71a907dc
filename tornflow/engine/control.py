"""Pause, resume, degrade: decisions for a whole execution, passed down from scope to scope.

The root numbers them. Each scope tells its running groups by a message that says no more than the newest number; what
is told is the state that goes with it. A group takes what is newer than what it knows, so that neither the order of
messages nor a group in the making matters: a new group starts with the number of its parent, and asks once more when it
is stored.
"""

from __future__ import annotations

from tornflow.engine.events import Controlled, Degraded
from tornflow.engine.turn import Turn
from tornflow.model.messages import ControlGroups


def pause(turn: Turn) -> None:
    """Start nothing new. Idempotent."""
    if not turn.scope.state.is_paused:
        turn.scope.state.is_paused = True
        _decided(turn)


def resume(turn: Turn) -> bool:
    """Return whether the scope was paused; then what was held back must take effect."""
    if not turn.scope.state.is_paused:
        return False
    turn.scope.state.is_paused = False
    _decided(turn)
    return True


def degraded(turn: Turn, event: Degraded) -> None:
    """Set the degrade flags of a base task for this execution, its groups included (rill-dsl 11.4)."""
    state = turn.scope.state
    flags = [event.current, event.followings]
    if state.degrade.get(event.task) != flags:
        state.degrade[event.task] = flags
        _decided(turn)


def controlled(turn: Turn, event: Controlled) -> bool:
    """Take over what the scope above was told; return whether a pause has ended."""
    state = turn.scope.state
    if event.generation != state.generation or event.number <= state.control:
        return False
    has_resumed = state.is_paused and not event.is_paused
    state.control = event.number
    state.is_paused = event.is_paused
    state.degrade = {name: list(flags) for name, flags in event.degrade.items()}
    turn.scope.is_dirty = True
    _tell_groups(turn)
    return has_resumed


def _decided(turn: Turn) -> None:
    turn.scope.state.control += 1
    turn.scope.is_dirty = True
    _tell_groups(turn)


def _tell_groups(turn: Turn) -> None:
    """A message of an older number is on its way or was never sent: the newest says it all."""
    state = turn.scope.state
    for message_id, (_, message) in list(state.outbox.items()):
        if isinstance(message, ControlGroups):
            turn.drop_message(message_id)
    if turn.scope.has_groups:
        turn.post_message(f"control:{state.control}", ControlGroups(state.control))
