"""Reads everything that was ever stored, in order: did each state follow from the one before as it may?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.disk import Stored
from tornflow.engine.tokens import attempt_token
from tornflow.model.execution import Generation, ScopeKey, ScopeState
from tornflow.model.names import instance_name
from tornflow.model.status import TaskStatus

if TYPE_CHECKING:
    from tests.simulation.world import World

_AWAY = (TaskStatus.READY, TaskStatus.SUCCEED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.NOT_STARTED)


def check_history(world: World) -> list[str]:
    found: list[str] = []
    for key, entries in world.disk.history.items():
        found += [f"history of {tuple(key)}: {text}" for text in _check_scope(world, key, entries)]
    return found + _check_keys(world)


def _check_scope(world: World, key: ScopeKey, entries: list[Stored]) -> list[str]:
    found: list[str] = []
    lives: list[str] = []
    left: set[tuple[Generation, str, int]] = set()
    before: Stored | None = None
    for entry in entries:
        if entry.state is not None:
            if not key.path:
                found += _check_root(world, before, entry, lives)
            found += _check_tasks(before, entry, left)
        before = entry
    return found


def _check_root(world: World, before: Stored | None, now: Stored, lives: list[str]) -> list[str]:
    found: list[str] = []
    old, new = before.state if before is not None else None, now.state
    assert new is not None
    if before is None or before.life != now.life or old is None:
        if now.life in lives and now.life:
            found.append(f"life {now.life} began a second time")
        lives.append(now.life)
        if old is not None and not old.status.is_completed:
            found.append(f"life {now.life} took the place of one that was {old.status.value}")
        return found
    if old.status.is_completed and not new.status.is_completed and not _was_asked(world, now, "redo"):
        found.append(f"it ended {old.status.value} and was {new.status.value} again at {now.at:.3f}")
    if old.status.is_completed and new.status.is_completed and old.status is not new.status:
        if not _was_asked(world, now, "complete", "redo"):
            found.append(f"it ended {old.status.value}, then {new.status.value} at {now.at:.3f}")
    return found


def _was_asked(world: World, entry: Stored, *kinds: str) -> bool:
    return any(
        request.kind in kinds and request.execution_id == entry.key.execution_id and request.since <= entry.at
        for request in world.outside.requests
    )


def _check_tasks(before: Stored | None, now: Stored, left: set[tuple[Generation, str, int]]) -> list[str]:
    """An attempt ends once: what has left RUNNING never comes back to it under the same number."""
    assert now.state is not None
    found = []
    is_same = before is not None and before.state is not None and before.state.generation == now.state.generation
    old = before.state.tasks if is_same and before is not None and before.state is not None else {}
    for name, task in now.state.tasks.items():
        was = old.get(name)
        attempt = (now.state.generation, name, task.attempt)
        if was is not None and was.attempt > task.attempt:
            found.append(f"attempt {was.attempt} of {name} was followed by {task.attempt} at {now.at:.3f}")
        if was is not None and was.status is TaskStatus.RUNNING and task.status in _AWAY:
            left.add((now.state.generation, name, was.attempt))
        if task.status is TaskStatus.RUNNING and attempt in left:
            found.append(f"attempt {task.attempt} of {name} ran again at {now.at:.3f} after it had ended")
        if task.status.is_completed and (task.is_in_flight or task.due_at is not None):
            found.append(f"{name} is {task.status.value} and yet in flight or timed at {now.at:.3f}")
    return found


# --- keys


def _check_keys(world: World) -> list[str]:
    """Every call carries the key and the token of an attempt that was stored as being in flight."""
    known: dict[str, str] = {}
    found = []
    for entries in world.disk.history.values():
        for entry in entries:
            if entry.state is not None:
                _note_attempts(entry.state, known, found)
    for key, calls in world.executors.calls.items():
        attempt = calls[0].attempt
        if attempt.task_name and key not in known:
            found.append(f"key {key} of {attempt.task_name} is of no attempt that was stored")
    return found


def _note_attempts(state: ScopeState, known: dict[str, str], found: list[str]) -> None:
    for name, task in state.tasks.items():
        if not task.is_in_flight:
            continue
        instance, generation = instance_name(state.key.path, name), state.generation
        key = key_of(state.key.execution_id, instance, generation, task.attempt)
        token = attempt_token(generation, task.attempt)
        if known.setdefault(key, token) != token:
            found.append(f"key {key} stands for {known[key]} and {token}")


def key_of(execution_id: str, instance: str, generation: Generation, attempt: int) -> str:
    """Return the published form of an attempt's key: ``<execution>/<instance>/<life>.<run><attempt>``."""
    life, runs = (generation[0] if generation else ""), generation[1:]
    run = "" if all(number == 1 for number in runs) else "".join(f"{number}." for number in runs)
    return f"{execution_id}/{instance}/{life}.{run}{attempt}"
