"""The cache of idle lanes: bounded in number and in bytes, never losing one that is at work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tornflow.runtime.lanes import Lanes

from tornflow.engine.events import Continued
from tornflow.model.execution import ScopeKey


def _rest(lanes: Lanes, name: str, size: int) -> None:
    lane = lanes.use(ScopeKey(name))
    scope: Any = SimpleNamespace(saved_bytes=size)
    lane.scope = scope
    lanes.settle(lane)


def _names(lanes: Lanes) -> list[str]:
    return [name for name in "abcdef" if lanes.get(ScopeKey(name)) is not None]


def test_the_least_recently_used_lane_goes_first() -> None:
    lanes = Lanes(max_lanes=2, max_bytes=1000)
    _rest(lanes, "a", 1)
    _rest(lanes, "b", 1)
    lanes.use(ScopeKey("a"))
    _rest(lanes, "c", 1)
    assert _names(lanes) == ["a", "c"]


def test_large_scopes_make_room_by_their_bytes() -> None:
    lanes = Lanes(max_lanes=100, max_bytes=1000)
    for name in "abc":
        _rest(lanes, name, 400)
    assert (_names(lanes), lanes.bytes) == (["b", "c"], 800)


def test_a_scope_that_grows_is_counted_anew() -> None:
    lanes = Lanes(max_lanes=100, max_bytes=1000)
    _rest(lanes, "a", 100)
    _rest(lanes, "a", 300)
    assert lanes.bytes == 300
    lanes.forget("a")
    assert (lanes.bytes, len(lanes)) == (0, 0)


def test_lanes_at_work_stay() -> None:
    lanes = Lanes(max_lanes=1, max_bytes=1000)
    busy = lanes.use(ScopeKey("a"))
    busy.queue.append((Continued(0), None))
    _rest(lanes, "b", 1)
    _rest(lanes, "c", 1)
    assert "a" in _names(lanes)
    assert len(lanes) <= 2


def test_a_lane_that_holds_nothing_is_dropped() -> None:
    lanes = Lanes(max_lanes=10, max_bytes=1000)
    lanes.settle(lanes.use(ScopeKey("a")))
    assert len(lanes) == 0
