"""Lanes: the queue of one scope, what is cached of it, and who waits for a look at it.

Idle lanes are a cache, least recently used first, bounded in number and in bytes. Bytes are those of the saved form; as
Python objects a context takes five to seven times as much.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice

from tornflow.engine.events import Event
from tornflow.engine.scope import Scope
from tornflow.errors import TornflowError
from tornflow.model.execution import ScopeKey

Waiter = asyncio.Future[None] | None
"""The request that waits for its event; None for an event of our own."""

Entry = tuple[Event, Waiter]
_LOOKED_AT = 8


@dataclass(slots=True, eq=False)
class Lane:
    key: ScopeKey
    queue: deque[Entry] = field(default_factory=deque)
    scope: Scope | None = None
    is_running: bool = False
    viewers: list[asyncio.Future[Scope | None]] = field(default_factory=list)
    singles: int = 0  # so many events are applied one by one, to find the one that cannot be stored
    weight: int = 0  # bytes counted for it

    async def look(self) -> Scope | None:
        """Wait for the end of the present turn; None when the scope must be read from the store."""
        viewer: asyncio.Future[Scope | None] = asyncio.get_running_loop().create_future()
        self.viewers.append(viewer)
        return await viewer

    def show(self) -> None:
        """Let those who wait see the scope as it is stored."""
        for viewer in self.viewers:
            if not viewer.done():
                viewer.set_result(self.scope)
        self.viewers.clear()

    def refuse_all(self, error: TornflowError) -> None:
        while self.queue:
            _event, waiter = self.queue.popleft()
            answer(waiter, error)

    def refuse_requests(self, error: TornflowError) -> None:
        """Requests learn that nothing was stored; events of our own stay in the queue."""
        kept = deque[Entry]()
        for event, waiter in self.queue:
            if waiter is None:
                kept.append((event, None))
            else:
                answer(waiter, error)
        self.queue = kept


def answer(waiter: Waiter, refusal: TornflowError | None) -> None:
    """Tell a request how it went, if one waits."""
    if waiter is None or waiter.done():
        return
    if refusal is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(refusal)


class Lanes:
    """Every lane by its scope. Lanes at work are never dropped, so they may exceed the bounds for a while."""

    def __init__(self, max_lanes: int, max_bytes: int) -> None:
        self._max_lanes = max_lanes
        self._max_bytes = max_bytes
        self._lanes: OrderedDict[ScopeKey, Lane] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def get(self, key: ScopeKey) -> Lane | None:
        return self._lanes.get(key)

    def use(self, key: ScopeKey) -> Lane:
        """Return the lane of a scope, made if need be, as the most recently used one."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        else:
            self._lanes.move_to_end(key)
        return lane

    def settle(self, lane: Lane) -> None:
        """A lane came to rest: count what it holds, drop it if that is nothing, then make room. Cheap: looks at few."""
        weight = lane.scope.saved_bytes if lane.scope is not None else 0
        self.bytes += weight - lane.weight
        lane.weight = weight
        if lane.scope is None:
            self._drop(lane.key)
        if len(self._lanes) > self._max_lanes or self.bytes > self._max_bytes:
            self._make_room()

    def _make_room(self) -> None:
        for key in list(islice(self._lanes, _LOOKED_AT)):
            if len(self._lanes) <= self._max_lanes and self.bytes <= self._max_bytes:
                return
            lane = self._lanes[key]
            if lane.is_running or lane.queue:
                self._lanes.move_to_end(key)
            else:
                self._drop(key)

    def forget(self, execution_id: str) -> None:
        """Drop what is cached of an execution that was deleted; looks at all lanes, of which there are few."""
        for key in [key for key in self._lanes if key.execution_id == execution_id]:
            if not self._lanes[key].is_running:
                self._drop(key)

    @property
    def are_at_rest(self) -> bool:
        return not any(lane.is_running or lane.queue for lane in self._lanes.values())

    def _drop(self, key: ScopeKey) -> None:
        lane = self._lanes.pop(key, None)
        if lane is not None:
            self.bytes -= lane.weight
            lane.weight = 0
