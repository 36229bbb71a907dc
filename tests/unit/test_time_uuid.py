"""Time-based UUIDs: valid by RFC 4122, unique within and across processes, in the order of their making."""

from __future__ import annotations

import time
import uuid

import pytest

from tornflow.runtime.time_uuid import TimeUuids

_TICKS_1970 = 0x01B21DD213814000


def test_they_are_version_1_of_the_present_with_a_random_node() -> None:
    before = time.time_ns() // 100 + _TICKS_1970
    made = uuid.UUID(TimeUuids()())
    after = time.time_ns() // 100 + _TICKS_1970
    assert (made.version, made.variant) == (1, uuid.RFC_4122)
    assert before <= made.time <= after
    assert made.node >> 40 & 1, "the bit that says: no network card has this address"


def test_the_text_is_the_usual_one() -> None:
    text = TimeUuids()()
    assert text == str(uuid.UUID(text))


def test_many_in_one_tick_and_after_the_clock_was_set_back_are_unique_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = 1_800_000_000_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    new = TimeUuids()
    made = [uuid.UUID(new()) for _ in range(500)]
    moment -= 3_600_000_000_000
    made += [uuid.UUID(new()) for _ in range(500)]
    times = [one.time for one in made]
    assert times == list(range(times[0], times[0] + 1000))
    assert len({one.clock_seq for one in made}) == len({one.node for one in made}) == 1


def test_two_processes_do_not_meet_in_one_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)
    made = {TimeUuids()() for _ in range(1000)}
    assert len(made) == 1000


@pytest.mark.parametrize("year_ticks", [0, 2**60 - 1 - _TICKS_1970])
def test_every_field_keeps_its_width(monkeypatch: pytest.MonkeyPatch, year_ticks: int) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: year_ticks * 100)
    made = uuid.UUID(TimeUuids()())
    assert (made.time, made.version) == (year_ticks + _TICKS_1970, 1)
