"""The check of ``next``: every target exists among its siblings, and nothing goes in circles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tornflow.descriptors.grammar import split_next
from tornflow.descriptors.walk import Placed


@dataclass(frozen=True, slots=True)
class Missing:
    task: Placed
    target: str


@dataclass(frozen=True, slots=True)
class Circle:
    """``names`` starts and ends with the same task."""

    task: Placed
    names: tuple[str, ...]


def find_faults(siblings: Sequence[Placed]) -> Iterator[Missing | Circle]:
    """Yield what is wrong in one task list, in the order in which a walk from each task in turn finds it.

    Each task is entered once and without recursion, so long and dense graphs cost what they hold (a walk over all
    routes would be exponential).
    """
    tasks = {one.task["name"]: one for one in siblings if "name" in one.task}
    done: set[str] = set()
    for name in tasks:
        if name not in done:
            yield from _walk(name, tasks, done)


def _walk(start: str, tasks: dict[str, Placed], done: set[str]) -> Iterator[Missing | Circle]:
    route: dict[str, Iterator[str]] = {start: _targets(tasks[start])}
    while route:
        name = next(reversed(route))
        target = next(route[name], None)
        if target is None:
            done.add(name)
            del route[name]
        elif target not in tasks:
            yield Missing(tasks[name], target)
        elif target in route:
            names = list(route)
            yield Circle(tasks[name], (*names[names.index(target) :], target))
        elif target not in done:
            route[target] = _targets(tasks[target])


def _targets(one: Placed) -> Iterator[str]:
    return iter(dict.fromkeys(split_next(one.task.get("next"))))
