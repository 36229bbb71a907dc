"""Two clocks and made-up names (runtime/clock.py, runtime/identities.py), and what the engine makes of them."""

from __future__ import annotations

import time

import pytest

from tests.unit.by_hand import ByHand, function
from tornflow.engine.events import TimerFired
from tornflow.engine.scope import Scope
from tornflow.runtime.clock import SystemClock
from tornflow.runtime.identities import SystemIdentities

HOUR = 3_600_000


def test_the_clocks_agree_until_somebody_sets_one() -> None:
    clock = SystemClock()
    before, steady, after = clock.wall_ms(), clock.steady_ms(), clock.wall_ms()
    assert before - 5 <= steady <= after + 5


def test_the_steady_clock_does_not_follow_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + HOUR * 1_000_000)
    assert clock.wall_ms() - clock.steady_ms() > HOUR - 60_000


def test_the_steady_clock_never_goes_back() -> None:
    clock = SystemClock()
    moments = [clock.steady_ms() for _ in range(1000)]
    assert moments == sorted(moments)


def test_a_shift_moves_the_steady_clock_alone() -> None:
    clock = SystemClock()
    clock.shift(HOUR)
    assert clock.steady_ms() - clock.wall_ms() > HOUR - 60_000


def test_names_are_never_used_twice() -> None:
    one, other = SystemIdentities(), SystemIdentities()
    for make in ("life", "node_id", "time_uuid", "instance_id"):
        made = [getattr(source, make)() for source in (one, other) for _ in range(500)]
        assert len(set(made)) == 1000, make
        assert all(name.replace("-", "").isalnum() for name in made)
    assert all(0 <= one.chance() < 1 for _ in range(100))


# --- the engine: durations follow the steady clock, moments the wall


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_timeout_is_neither_shortened_nor_lengthened_by_setting_the_clock(set_by: int) -> None:
    play = ByHand(function("work", timeline={"timeoutInSeconds": 60})).begin()
    wall = _set(play.at(), play.now, set_by)
    play.tell(TimerFired(wall + 59_000))
    assert play.state_of("work").status == "RUNNING"
    play.tell(TimerFired(wall + 60_000))
    assert (play.state_of("work").status, play.state_of("work").msg) == ("FAILED", "timeout")


def _set(scope: Scope, now: int, by: int) -> int:
    """Set the wall clock of the node that has a scope; return what it shows now."""
    scope.drift = -by
    return now + by


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_wait_for_a_span_is_neither_shortened_nor_lengthened(set_by: int) -> None:
    play = ByHand({"category": "pass", "name": "later", "timeline": {"suspenseIntervalSeconds": 60}}).begin()
    wall = _set(play.at(), play.now, set_by)
    play.tell(TimerFired(wall + 59_000))
    assert play.at().state.status == "RUNNING"
    play.tell(TimerFired(wall + 60_000))
    assert play.at().state.status == "SUCCEED"


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_wait_for_a_moment_follows_the_wall_clock(set_by: int) -> None:
    read = [{"source": "$.context.at", "target": "$.input.at"}]
    until = {"suspenseTimestamp": "$.input.at"}
    play = ByHand({"category": "pass", "name": "later", "inputMappings": read, "timeline": until})
    at = play.now + 2 * HOUR
    play.begin(at=at)
    scope = play.at()
    assert scope.next_due == at
    _set(scope, play.now, set_by)
    assert scope.next_due == at - set_by, "on the steady clock it comes earlier, or later"
    play.tell(TimerFired(at - 1))
    assert play.at().state.status == "RUNNING"
    play.tell(TimerFired(at))
    assert play.at().state.status == "SUCCEED"
