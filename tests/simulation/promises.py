"""Holds every answer against what was stored: what was acknowledged has happened, what was refused has not.

A request is measured with every state that its execution had between question and answer: an answer is right when it
is right for one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.clients import FAILED, OK, REFUSED, Request
from tests.simulation.disk import Stored
from tornflow.engine.tokens import attempt_token
from tornflow.errors import AttemptOver, ExecutionExists, ExecutionFinished, ExecutionNotFound, TaskFinished
from tornflow.model.execution import ScopeKey
from tornflow.model.names import split_instance
from tornflow.model.status import TaskStatus

if TYPE_CHECKING:
    from tests.simulation.world import World

Seen = list[Stored | None]
_ENDS = ("terminate", "complete")


def check_requests(world: World) -> list[str]:
    found = []
    for request in world.outside.requests:
        since = request.since - _unacknowledged_s(world)
        seen = world.disk.during(ScopeKey(request.execution_id), since, request.until or world.loop.time())
        text = ""
        if request.outcome == OK:
            text = _check_done(world, request, seen)
        elif request.outcome == REFUSED:
            text = _check_refused(world, request, seen)
        elif request.outcome == FAILED:
            text = _check_failed(world, request)
        if text:
            found.append(f"{request.kind} {request.execution_id} {request.facts} at {request.since:.3f}: {text}")
    return found


def _any(seen: Seen, holds: Callable[[Stored], bool], or_none: bool = False) -> bool:
    return any(or_none if one is None or one.state is None else holds(one) for one in seen)


def _is_over(one: Stored) -> bool:
    return one.state is not None and one.state.status.is_completed


def _check_done(world: World, request: Request, seen: Seen) -> str:
    nonce = request.facts.get("nonce")
    match request.kind:
        case "submit" | "start":
            if not _any(seen, lambda one: True):
                return "acknowledged, and not stored"
            return _check_version(world, request)
        case "terminate" | "complete":
            if not _any(seen, _is_over) and not _came_together(world, request, "redo"):
                return "acknowledged, and it had not ended"
        case "pause":
            is_paused = _any(seen, lambda one: _is_over(one) or (one.state is not None and one.state.is_paused))
            if not is_paused and not _came_together(world, request, "resume", "terminate", "complete"):
                return "acknowledged, and it was not paused"
        case "resume":
            is_free = _any(seen, lambda one: one.state is not None and not one.state.is_paused)
            if not is_free and not _came_together(world, request, "pause"):
                return "acknowledged, and it was still paused"
        case "purge":
            lives = {one.life if one is not None and one.state is not None else None for one in seen}
            if None not in lives and len(lives) == 1:
                return "acknowledged, and it was still there"
        case "raise" | "wakeup" | "report" | "finish":
            is_too_late = request.kind == "raise" and (
                _any(seen, _is_over, or_none=True) or _came_together(world, request, *_ENDS)
            )
            stored = world.disk.nonces.get(str(nonce))
            if not is_too_late and (stored is None or stored[0] > request.until) and not _has_moved_on(world, request):
                return "acknowledged, and nothing of it was stored"
            if request.kind == "report":
                return _check_attempt(world, request)
        case "look":
            return _check_look(request, seen)
    return ""


def _check_attempt(world: World, request: Request) -> str:
    """A completion counted: was the attempt that it names the one that it ended?"""
    token, nonce = request.facts.get("token"), request.facts["nonce"]
    key, task = split_instance(request.execution_id, request.facts["task"])
    for entry in world.disk.history.get(key, []):
        state = entry.state
        done = None if state is None else state.tasks.get(task)
        if state is None or done is None or (done.output or {}).get("nonce") != nonce:
            continue
        if token is not None and attempt_token(state.generation, done.attempt) != token:
            return f"it was of {token} and completed {attempt_token(state.generation, done.attempt)}"
        return ""
    return ""


def _check_look(request: Request, seen: Seen) -> str:
    if request.answer is None:
        return "" if any(one is None or one.state is None for one in seen) else "not found although it is there"
    lives, revision, status = request.answer
    for one in seen:
        if one is not None and one.state is not None and one.revision == revision and one.state.status is status:
            if not one.life or lives == (one.life,):
                return ""
    shown = [(one.life, one.revision, one.state.status) for one in seen if one is not None and one.state is not None]
    return f"saw {request.answer}, when there was {shown}"


def _check_refused(world: World, request: Request, seen: Seen) -> str:
    nonce, error = request.facts.get("nonce"), request.error
    if nonce in world.disk.nonces:
        return f"refused ({error!r}), and stored all the same"
    if isinstance(error, ExecutionNotFound):
        if not any(one is None or one.state is None for one in seen):
            return "not found although it was there all the time"
    elif isinstance(error, ExecutionExists):
        if not _any(seen, lambda one: not _is_over(one)) and not _has_living_children(world, request):
            return "said to be alive, which it was not"
    elif isinstance(error, AttemptOver | TaskFinished | ExecutionFinished) and request.kind in ("report", "finish"):
        return _check_over(world, request)
    return ""


def _check_over(world: World, request: Request) -> str:
    """A completion was refused as too late: was there a moment when its attempt did not wait for it?"""
    return "" if _has_moved_on(world, request) else f"refused ({request.error}) although the attempt waited for it"


def _has_moved_on(world: World, request: Request) -> bool:
    """Say whether there was a moment during a request when the attempt that it means did not run.

    What a failed attempt said is not kept when the next one follows in the same step.
    """
    if request.kind not in ("report", "finish"):
        return False
    if _came_together(world, request, "redo", *_ENDS):
        return True
    key, task = split_instance(request.execution_id, request.facts["task"])
    token = request.facts.get("token")
    roots = world.disk.during(ScopeKey(request.execution_id), request.since, request.until)
    if _any(roots, _is_over, or_none=True):
        return True
    for entry in world.disk.during(key, request.since, request.until):
        state = None if entry is None else entry.state
        waits = None if state is None else state.tasks.get(task)
        if state is None or waits is None or waits.status is not TaskStatus.RUNNING or state.status.is_completed:
            return True
        if token is not None and attempt_token(state.generation, waits.attempt) != token:
            return True
        if waits.attempt != request.facts.get("number", waits.attempt):
            return True
    return False


def _check_failed(world: World, request: Request) -> str:
    """The client was told that nothing was stored: so it must be, until somebody asks again."""
    nonce = request.facts.get("nonce") or request.facts.get("mark")
    stored = world.disk.nonces.get(str(nonce))
    again = [
        one.since
        for one in world.outside.requests
        if one is not request and one.since >= request.until and nonce in one.facts.values()
    ]
    before = [one for one in world.outside.requests if one.since < request.since and nonce in one.facts.values()]
    if stored is None or before or not request.since <= stored[0] < min(again, default=float("inf")):
        return ""
    return f"failed ({request.error}), and was stored at {stored[0]:.3f} all the same"


def _check_version(world: World, request: Request) -> str:
    """A flow that was stored on one node is what every node starts from then on."""
    created = [
        one.state
        for one in world.disk.history[ScopeKey(request.execution_id)]
        if one.state is not None and one.state.context.get("mark") == request.facts["mark"]
    ]
    if not created:
        return ""
    flow = world.outside.marks[request.facts["mark"]]
    stored = [one for one in world.outside.requests if one.kind == "alter" and one.facts["flow"] == flow.name]
    mine = [one for one in stored if one.facts["md5"] == created[0].descriptor_md5]
    if not mine:
        return f"runs the version {created[0].descriptor_md5}, which nobody stored"
    first = min(one.since for one in world.outside.requests if one.facts.get("mark") == request.facts["mark"])
    after = [one for one in stored if one.outcome == OK and one.since > mine[-1].until and one.until < first]
    return f"runs an old version, although {after[-1].facts['md5']} was stored before" if after else ""


def _has_living_children(world: World, request: Request) -> bool:
    """A root may have ended while the order to end is still on its way to its sub-flows."""
    for key in world.disk.history:
        for entry in world.disk.during(key, request.since, request.until):
            state = None if entry is None else entry.state
            if state is not None and state.parent is not None and state.parent.execution_id == request.execution_id:
                if not state.status.is_completed:
                    return True
    return False


def _came_together(world: World, request: Request, *kinds: str) -> bool:
    """Requests that arrive together are one step: what held between two of them is never stored."""
    return any(
        one.kind in kinds
        and one.execution_id == request.execution_id
        and one.since <= request.until
        and (not one.until or one.until >= request.since)
        for one in world.outside.requests
    )


def _unacknowledged_s(world: World) -> float:
    """With a store of its own a node may answer from what it has last heard to be stored, not from what just was."""
    habits = world.plan.habits
    return 0.0 if world.plan.is_shared else 2 * habits.pace_s + habits.slow_s + habits.batch_s + 2.0
