"""Mailboxes: the queue of one scope, what is cached of it, and who waits for a look at it.

Idle mailboxes are a cache, least recently used first, bounded in number and in bytes. Bytes are those of the saved
form; as Python objects a context takes five to seven times as much.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from tornflow.engine.events import Event
from tornflow.engine.scope import Scope
from tornflow.errors import TornflowError
from tornflow.model.execution import ScopeKey

Waiter = asyncio.Future[None] | None
"""Who waits for an event to be stored or refused; None: nobody."""


class Entry(NamedTuple):
    """``is_own``: an event of the runtime itself, which is kept and tried again until it is stored. Others are told
    when the store cannot take theirs."""

    event: Event
    waiter: Waiter
    is_own: bool


_LOOKED_AT = 8


@dataclass(slots=True, eq=False)
class Mailbox:
    key: ScopeKey
    queue: deque[Entry] = field(default_factory=deque)
    scope: Scope | None = None
    is_running: bool = False
    viewers: list[asyncio.Future[Scope | None]] = field(default_factory=list)
    epoch: int = 0  # counts what made copies of this scope worthless: it was replaced, or deleted
    is_settling: bool = False  # whether its last step was stored is being found out; the store knows more than we
    singles: int = 0  # so many events are applied one by one, to find the one that cannot be stored
    weight: int = 0  # bytes counted for it

    async def look(self) -> Scope | None:
        """Wait for the end of the present step; None when the scope must be read from the store."""
        viewer: asyncio.Future[Scope | None] = asyncio.get_running_loop().create_future()
        self.viewers.append(viewer)
        return await viewer

    def show(self) -> None:
        """Let those who wait see the scope as it is stored."""
        for viewer in self.viewers:
            if not viewer.done():
                viewer.set_result(self.scope)
        self.viewers.clear()

    def refuse_all(self, error: TornflowError, count: int | None = None) -> None:
        """Refuse the first ``count`` events, or all."""
        for _ in range(len(self.queue) if count is None else count):
            answer(self.queue.popleft().waiter, error)

    def refuse_requests(self, error: TornflowError) -> None:
        """Tell requests what happened to them; events of our own stay in the queue."""
        kept = deque[Entry]()
        for entry in self.queue:
            if entry.is_own:
                kept.append(entry)
            else:
                answer(entry.waiter, error)
        self.queue = kept


def answer(waiter: Waiter, refusal: TornflowError | None) -> None:
    """Tell a waiter how it went, if there is one."""
    if waiter is None or waiter.done():
        return
    if refusal is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(refusal)


class Mailboxes:
    """Every mailbox by its scope. Those at work are never dropped, so they may exceed the bounds for a while."""

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._boxes: OrderedDict[ScopeKey, Mailbox] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._boxes)

    def get(self, key: ScopeKey) -> Mailbox | None:
        return self._boxes.get(key)

    def use(self, key: ScopeKey) -> Mailbox:
        """Return the mailbox of a scope, made if need be, as the most recently used one."""
        box = self._boxes.get(key)
        if box is None:
            box = self._boxes[key] = Mailbox(key)
        else:
            self._boxes.move_to_end(key)
        return box

    def settle(self, box: Mailbox) -> None:
        """A mailbox came to rest: count what it holds, drop it if that is nothing, then make room. Cheap: looks at
        few."""
        weight = box.scope.saved_bytes if box.scope is not None else 0
        self.bytes += weight - box.weight
        box.weight = weight
        if box.scope is None:
            self._drop(box)
        if len(self._boxes) > self._max_count or self.bytes > self._max_bytes:
            self._make_room()

    def _make_room(self) -> None:
        for key in list(islice(self._boxes, _LOOKED_AT)):
            if len(self._boxes) <= self._max_count and self.bytes <= self._max_bytes:
                return
            box = self._boxes[key]
            if box.is_running or box.queue:
                self._boxes.move_to_end(key)
            else:
                self._drop(box)

    def forget(self, lives: Mapping[str, str]) -> None:
        """Drop what is cached of lives that were deleted (by execution id); looks at all mailboxes once."""
        for box in [box for key, box in self._boxes.items() if key.execution_id in lives]:
            if box.scope is None or box.scope.state.life == lives[box.key.execution_id]:
                self.outdate(box)

    def outdate(self, box: Mailbox) -> None:
        """Drop the copy of a scope that is no longer what is stored, also from under a step that uses it."""
        box.epoch += 1
        box.scope = None
        if not box.is_running:
            self.settle(box)

    @property
    def are_at_rest(self) -> bool:
        return not any(box.is_running or box.queue for box in self._boxes.values())

    def _drop(self, box: Mailbox) -> None:
        if self._boxes.get(box.key) is box:
            del self._boxes[box.key]
            self.bytes -= box.weight
            box.weight = 0
