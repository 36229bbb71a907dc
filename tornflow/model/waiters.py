"""Who waits for external events: the list that the root of an execution keeps.

It may hold a hundred thousand groups, so neither finding the next one nor storing a change may look at all. Entries
lie in chunks of bounded size, the unit in which a large scope stores them; an index by name is made when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from tornflow.model.generation import Generation

CHUNK = 64


class Waiter(NamedTuple):
    """A suspense task, where it is, and what it waits for since when (ms). ``names`` are case-folded."""

    path: str
    task: str
    names: tuple[str, ...]
    since: int
    generation: Generation


@dataclass(slots=True)
class _Place:
    waiter: Waiter
    chunk: int


class Waiters:
    """Entries by (path, task). ``dirty`` names the chunks that changed since they were stored."""

    __slots__ = ("_by_name", "_chunks", "_last", "_places", "dirty")

    def __init__(self, chunks: Iterable[tuple[int, Iterable[Waiter]]] = ()) -> None:
        self._places: dict[tuple[str, str], _Place] = {}
        self._chunks: dict[int, dict[tuple[str, str], None]] = {}
        self._last = 0
        self._by_name: dict[str, list[tuple[int, int, str, str]]] | None = None
        self.dirty: set[int] = set()
        for number, waiters in chunks:
            for waiter in waiters:
                self._put(waiter, number)
            self._last = max(self._last, number)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Waiter]:
        return (place.waiter for place in self._places.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Waiters) and sorted(self) == sorted(other)

    __hash__ = None  # type: ignore[assignment]

    def get(self, path: str, task: str) -> Waiter | None:
        place = self._places.get((path, task))
        return None if place is None else place.waiter

    def add(self, waiter: Waiter, order: int) -> None:
        """Enrol a task, in the place of an earlier entry of its own. ``order`` breaks ties of ``since``."""
        self.remove(waiter.path, waiter.task)
        if len(self._chunks.get(self._last, ())) >= CHUNK:
            self._last += 1
        self._put(waiter, self._last)
        self.dirty.add(self._last)
        if self._by_name is not None:
            self._index(waiter, order)

    def remove(self, path: str, task: str) -> None:
        place = self._places.pop((path, task), None)
        if place is not None:
            chunk = self._chunks[place.chunk]
            del chunk[path, task]
            if not chunk and place.chunk != self._last:
                del self._chunks[place.chunk]
            self.dirty.add(place.chunk)

    def first(self, name: str, order: Callable[[str], int], still_waits: Callable[[Waiter], bool]) -> Waiter | None:
        """Return who has waited longest for an event of this name; ties by ``order`` of the task, then by path."""
        if self._by_name is None:
            self._by_name = {}
            for waiter in self:
                self._index(waiter, order(waiter.task), is_heap=False)
            for entries in self._by_name.values():
                heapify(entries)
        entries = self._by_name.get(name, [])
        while entries:
            since, _, path, task = entries[0]
            found = self.get(path, task)
            if found is not None and found.since == since and name in found.names and still_waits(found):
                return found
            heappop(entries)
        return None

    def clear(self) -> None:
        self.dirty.update(self._chunks)
        self._places.clear()
        self._chunks.clear()
        self._by_name = None

    def chunk(self, number: int) -> list[Waiter]:
        """Return the entries of one chunk; an empty list where there is nothing to store."""
        return [self._places[key].waiter for key in self._chunks.get(number, ())]

    @property
    def chunks(self) -> set[int]:
        return {number for number, keys in self._chunks.items() if keys}

    def _put(self, waiter: Waiter, chunk: int) -> None:
        key = (waiter.path, waiter.task)
        self._places[key] = _Place(waiter, chunk)
        self._chunks.setdefault(chunk, {})[key] = None

    def _index(self, waiter: Waiter, order: int, *, is_heap: bool = True) -> None:
        assert self._by_name is not None
        for name in waiter.names:
            entry = (waiter.since, order, waiter.path, waiter.task)
            entries: Any = self._by_name.setdefault(name, [])
            if is_heap:
                heappush(entries, entry)
            else:
                entries.append(entry)
