"""Looks at a world that has come to rest: is everything at its end, and is the end the right one?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.simulation.clients import Request
from tests.simulation.disk import Stored
from tests.simulation.history import check_history
from tests.simulation.model import Judge, is_plausible
from tests.simulation.node import START_MS
from tests.simulation.promises import check_requests
from tornflow.model.execution import ScopeKey, ScopeState

if TYPE_CHECKING:
    from tests.simulation.world import World

_SWEEP_MS = 60_000
_SKEW_MS = 5_000
_DISTURBING = ("finish", "redo", "degrade", "complete", "terminate")


def check(world: World) -> None:
    problems = world.problems
    problems += check_history(world)
    problems += check_requests(world)
    problems += _check_rest(world)
    for execution_id in sorted({key.execution_id for key in world.disk.history}):
        for life in _lives(world, execution_id):
            problems += [f"{execution_id} {life[-1].life}: {text}" for text in _check_life(world, execution_id, life)]
    problems += _check_callbacks(world)
    for node in world.nodes:
        problems += node.store.problems


# --- nothing is left


def _check_rest(world: World) -> list[str]:
    found = []
    for stored in world.disk.all():
        state, name = world.disk.state(stored.key), tuple(stored.key)
        root = world.disk.scopes[stored.key.execution_id].get("")
        if root is None or root.life != stored.life:
            found.append(f"{name}: the scope of a group without its root")
        if stored.owners:
            found.append(f"{name}: {stored.owners} still have it in hand")
        if state is not None and state.outbox:
            found.append(f"{name}: the outbox still holds {list(state.outbox)}")
        if stored.due_at is not None:
            found.append(f"{name}: a timer is still set ({state.status if state else ''})")
    found += _check_retention(world)
    for node in world.nodes:
        if node.is_alive and node.is_up:
            found += _check_node(node.process.name, node.engine)
    return found


def _check_retention(world: World) -> list[str]:
    """What has expired is gone, what has not is there; clocks that somebody set say nothing about that."""
    if any(fault.kind == "jump" for fault in world.plan.faults):
        return []
    now = START_MS + world.loop.time() * 1000
    late = [one for one in world.disk.summaries.values() if one.expires_at is not None]
    found = [
        f"{one.execution_id}: expired {(now - one.expires_at) / 1000:.0f} s ago and is still there"
        for one in late
        if one.expires_at is not None and one.expires_at < now - _SWEEP_MS
    ]
    purged = {one.execution_id for one in world.outside.requests if one.kind == "purge" and one.may_have_happened}
    for key, entries in world.disk.history.items():
        for before, entry in itertools.pairwise(entries):
            if key.path or entry.state is not None or before.state is None or key.execution_id in purged:
                continue
            if _is_replaced(entries, entry) or before.state.parent is not None:
                continue
            expires_at = before.state.expires_at
            if expires_at is None or expires_at > START_MS + entry.at * 1000 + _SKEW_MS:
                found.append(f"{tuple(key)}: removed at {entry.at:.3f}, before its time ({expires_at})")
    return found


def _is_replaced(entries: list[Stored], gone: Stored) -> bool:
    """A new life that takes the place of an old one removes it in the same moment."""
    return any(one.at == gone.at and one.state is not None and one.revision == gone.revision + 1 for one in entries)


def _check_node(name: str, engine: object) -> list[str]:
    found = []
    dispatcher, timers = engine.dispatcher, engine.timers  # type: ignore[attr-defined]
    if dispatcher.in_flight or dispatcher.waiting:
        found.append(f"{name}: {dispatcher.in_flight} attempts in flight, {dispatcher.waiting} waiting")
    if timers.armed:
        found.append(f"{name}: {timers.armed} timers are armed")
    return found


# --- every life has come to the right end


def _lives(world: World, execution_id: str) -> list[list[Stored]]:
    """Return the history of the root scope, cut where a new life began or where it was removed."""
    lives: list[list[Stored]] = []
    was_removed = True
    for entry in world.disk.history.get(ScopeKey(execution_id), []):
        if entry.state is None:
            was_removed = True
            continue
        if was_removed or not lives or lives[-1][-1].life != entry.life or entry.revision == 1:
            lives.append([])
        lives[-1].append(entry)
        was_removed = False
    return lives


def _check_life(world: World, execution_id: str, life: list[Stored]) -> list[str]:
    last = life[-1]
    root = last.state
    assert root is not None
    flow = world.flow_of(root)
    if not root.status.is_completed:
        return [f"it is {root.status.value} for ever"]
    if flow is None:
        return [] if root.status == "FAILED" else ["an unknown workflow did not fail"]
    ended = [one.state for one in life if one.state is not None and one.state.finished_at is not None]
    disturbed = _disturbances(world, execution_id, life)
    if disturbed or root.status == "TERMINATED":
        kinds = {request.kind for request in disturbed}
        forced = {
            "complete": "complete" in kinds,
            "terminate": "terminate" in kinds or root.parent is not None,
        }
        return is_plausible(flow, root, forced)
    if not ended:
        return ["it has no end"]
    judge = Judge(lambda path: _group(world, execution_id, path, last), lambda name: _last_state(world, name))
    return judge.judge(flow, root)


def _disturbances(world: World, execution_id: str, life: list[Stored]) -> list[Request]:
    return [
        request
        for request in world.outside.requests
        if request.execution_id == execution_id
        and request.may_have_happened
        and (request.kind in _DISTURBING or request.facts.get("is_made_up"))
        and (not request.until or request.until >= life[0].at)
    ]


def _group(world: World, execution_id: str, path: str, root: Stored) -> ScopeState | None:
    """Return the last state of a group in the life that a root had when it was last stored."""
    found = [one for one in world.disk.history.get(ScopeKey(execution_id, path), []) if one.state is not None]
    mine = [one for one in found if one.life == root.life]
    return mine[-1].state if mine else None


def _last_state(world: World, execution_id: str) -> ScopeState | None:
    entries = world.disk.history.get(ScopeKey(execution_id), [])
    return next((one.state for one in reversed(entries) if one.state is not None), None)


def _check_callbacks(world: World) -> list[str]:
    found = []
    for execution_id, request in world.outside.latest.items():
        state = _last_state(world, execution_id)
        if state is None or not state.status.is_completed:
            continue
        flow = world.flow_of(state)
        is_wanted = bool(request.facts.get("told")) or (flow is not None and flow.has_callback)
        kinds = {one.kind for one in world.outside.requests if one.execution_id == execution_id}
        if is_wanted and not world.executors.callbacks.get(execution_id) and not kinds & {"complete", "start", "purge"}:
            found.append(f"{execution_id}: ended, and nobody was called back")
    return found
