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
    routes would be exponential). Tasks without a name, or with one that is taken, are looked at too.
    """
    places: dict[str, int] = {}
    for place, one in enumerate(siblings):
        if "name" in one.task:
            places.setdefault(one.task["name"], place)
    done: set[int] = set()
    for place in range(len(siblings)):
        if place not in done:
            yield from _walk(place, siblings, places, done)


def _walk(
    start: int, siblings: Sequence[Placed], places: dict[str, int], done: set[int]
) -> Iterator[Missing | Circle]:
    route: dict[int, Iterator[str]] = {start: _targets(siblings[start])}
    while route:
        here = next(reversed(route))
        target = next(route[here], None)
        place = None if target is None else places.get(target)
        if target is None:
            done.add(here)
            del route[here]
        elif place is None:
            yield Missing(siblings[here], target)
        elif place in route:
            passed = list(route)
            names = [siblings[one].name for one in passed[passed.index(place) :]]
            yield Circle(siblings[here], (*names, target))
        elif place not in done:
            route[place] = _targets(siblings[place])


def _targets(one: Placed) -> Iterator[str]:
    return iter(dict.fromkeys(split_next(one.task.get("next"))))
