"""Places to write: compiled targets, and the two ways to put a value there (rill-dsl 5.5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tornflow.engine.jsonpath.errors import PathSyntaxError
from tornflow.engine.jsonpath.limits import MAX_TARGET_INDEX
from tornflow.engine.jsonpath.parsing import parse
from tornflow.engine.jsonpath.steps import Index, Name, Step

ROOTS = ("input", "context", "output")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """``root`` is one of ROOTS; ``steps`` are names and non-negative indexes, the first one a name.

    Without steps it is the root itself, where nothing can be written.
    """

    root: str
    steps: tuple[str | int, ...]


@lru_cache(maxsize=1024)
def compile_target(text: str) -> Target:
    """Raises PathSyntaxError for what cannot be written to."""
    steps = parse(text).steps
    first = steps[0] if steps else None
    if not isinstance(first, Name) or first.name not in ROOTS:
        raise PathSyntaxError("a target starts with $.input, $.context or $.output")
    places = tuple(map(_place, steps[1:]))
    if places and not isinstance(places[0], str):
        raise PathSyntaxError(f"$.{first.name} is an object, an index cannot be written there")
    return Target(first.name, places)


def _place(step: Step) -> str | int:
    if isinstance(step, Name):
        return step.name
    if isinstance(step, Index) and 0 <= step.index <= MAX_TARGET_INDEX:
        return step.index
    raise PathSyntaxError(f"a target has only names and indexes from 0 to {MAX_TARGET_INDEX}")


def plant(root: Json, steps: tuple[str | int, ...], value: Any) -> None:
    """Write into ``root`` in place; missing containers are made.

    Raises:
        ValueError: a name below something that is no object. Nothing was written.
    """
    owned = _Everything()
    first = steps[0]
    root[str(first)] = value if len(steps) == 1 else graft(root.get(str(first)), steps, 1, value, owned)


def graft(node: Any, steps: tuple[str | int, ...], place: int, value: Any, owned: Any) -> Any:
    """Return ``node`` with ``value`` at ``steps[place:]`` below it.

    Containers in ``owned`` (by id, the values keep them alive) are changed in place; others are copied first and
    become owned. Null gives way to a new container; so does whatever is no array before an index.

    Raises:
        ValueError: a name below something that is no object. Nothing that was there before has changed.
    """
    step = steps[place]
    is_last = place + 1 == len(steps)
    if isinstance(step, str):
        if node is None:
            node = {}
            owned[id(node)] = node
        elif not isinstance(node, dict):
            raise ValueError(f"{_kind(node)} stands where {step!r} needs an object")
        child = value if is_last else graft(node.get(step), steps, place + 1, value, owned)
    else:
        if not isinstance(node, list):
            node = []
            owned[id(node)] = node
        old = node[step] if step < len(node) else None
        child = value if is_last else graft(old, steps, place + 1, value, owned)
    if id(node) not in owned:
        node = node.copy()
        owned[id(node)] = node
    if isinstance(step, int) and step >= len(node):
        node.extend([None] * (step + 1 - len(node)))
    node[step] = child
    return node


class _Everything:
    """Stands for the ids of all containers: nothing is copied."""

    def __contains__(self, _identity: int) -> bool:
        return True

    def __setitem__(self, _identity: int, _container: Any) -> None:
        pass


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return "a boolean"
    return "a text" if isinstance(value, str) else "a number"
