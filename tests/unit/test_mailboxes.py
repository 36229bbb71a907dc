"""The cache of idle mailboxes: bounded in number and in bytes, never losing one that is at work."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tornflow.engine.events import Continued, Paused, Resumed
from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.runtime.mailboxes import Entry, Mailbox, Mailboxes


def _rest(boxes: Mailboxes, name: str, size: int, life: str = "life") -> None:
    box = boxes.use(ScopeKey(name))
    scope: Any = SimpleNamespace(saved_bytes=size, state=SimpleNamespace(life=life))
    box.scope = scope
    boxes.settle(box)


def _names(boxes: Mailboxes) -> list[str]:
    return [name for name in "abcdef" if boxes.get(ScopeKey(name)) is not None]


def test_the_least_recently_used_mailbox_goes_first() -> None:
    boxes = Mailboxes(max_count=2, max_bytes=1000)
    _rest(boxes, "a", 1)
    _rest(boxes, "b", 1)
    boxes.use(ScopeKey("a"))
    _rest(boxes, "c", 1)
    assert _names(boxes) == ["a", "c"]


def test_large_scopes_make_room_by_their_bytes() -> None:
    boxes = Mailboxes(max_count=100, max_bytes=1000)
    for name in "abc":
        _rest(boxes, name, 400)
    assert (_names(boxes), boxes.bytes) == (["b", "c"], 800)


def test_a_scope_that_grows_is_counted_anew() -> None:
    boxes = Mailboxes(max_count=100, max_bytes=1000)
    _rest(boxes, "a", 100)
    _rest(boxes, "a", 300)
    assert boxes.bytes == 300
    boxes.forget({"a": "life"})
    assert (boxes.bytes, len(boxes)) == (0, 0)


def test_what_is_forgotten_of_one_life_stays_of_another() -> None:
    boxes = Mailboxes(max_count=100, max_bytes=1000)
    _rest(boxes, "a", 100, life="second")
    boxes.forget({"a": "first"})
    assert (boxes.bytes, _names(boxes)) == (100, ["a"])


def test_mailboxes_at_work_stay() -> None:
    boxes = Mailboxes(max_count=1, max_bytes=1000)
    boxes.use(ScopeKey("a")).queue.append(Entry(Continued(0), None, True))
    _rest(boxes, "b", 1)
    _rest(boxes, "c", 1)
    assert "a" in _names(boxes)
    assert len(boxes) <= 2
    assert not boxes.are_at_rest


def test_a_mailbox_that_holds_nothing_is_dropped() -> None:
    boxes = Mailboxes(max_count=10, max_bytes=1000)
    boxes.settle(boxes.use(ScopeKey("a")))
    assert len(boxes) == 0


async def test_requests_are_told_of_trouble_and_events_of_our_own_are_kept_in_order() -> None:
    box = Mailbox(ScopeKey("a"))
    request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watched: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    box.queue.extend([
        Entry(Continued(1), None, True), Entry(Paused(2), request, False), Entry(Resumed(3), watched, True),
    ])  # fmt: skip
    box.refuse_requests(StorageUnavailable("away"))
    assert [entry.event.at for entry in box.queue] == [1, 3]
    assert not watched.done()
    with pytest.raises(StorageUnavailable):
        await request
