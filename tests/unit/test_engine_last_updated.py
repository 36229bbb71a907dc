"""When an execution was last updated: by every change, the one that ends it included (dapr-http-api 5.2)."""

from __future__ import annotations

import pytest

from tests.unit.by_hand import ByHand, function
from tornflow.engine.events import Degraded, Delivered, Event, EventRaised, Paused, Resumed, StatusForced, Terminated
from tornflow.model.status import FlowStatus


def later(play: ByHand, event_of: type[Event], *fields: object) -> int:
    """Tell an event five seconds later; return by how much the execution was updated."""
    before = play.at().state.updated_at
    play.now += 5000
    play.tell(event_of(play.now, *fields))  # type: ignore[call-arg]
    return play.at().state.updated_at - before


def waiting() -> ByHand:
    return ByHand(function("a")).begin()


@pytest.mark.parametrize(
    ("event_of", "fields", "status"),
    [
        (Terminated, (), FlowStatus.TERMINATED),
        (StatusForced, (True,), FlowStatus.SUCCEED),
        (StatusForced, (False,), FlowStatus.FAILED),
    ],
)
def test_an_end_by_order_counts(event_of: type[Event], fields: tuple[bool, ...], status: FlowStatus) -> None:
    play = waiting()
    assert later(play, event_of, *fields) == 5000
    assert play.at().state.status is status
    assert play.at().state.finished_at == play.now


def test_a_timeout_of_the_flow_counts() -> None:
    play = waiting()
    play.at().state.due_at = play.now + 60_000
    before = play.at().state.updated_at
    play.wait(60)
    assert play.at().state.status is FlowStatus.FAILED
    assert play.at().state.updated_at - before == 60_000


def test_commands_to_a_finished_execution_leave_it_alone() -> None:
    play = waiting()
    later(play, Terminated)
    saved = play.saved[play.at().state.key]
    for event_of in (Terminated, Paused, Resumed):
        assert later(play, event_of) == 0
    assert later(play, EventRaised, "go", None) == 0
    assert play.saved[play.at().state.key] == saved


def test_what_follows_an_end_is_no_change_of_the_execution() -> None:
    play = waiting()
    later(play, Terminated)
    assert later(play, Degraded, "a", True, False) == 0
    assert later(play, Delivered, "callback:1") == 0


def test_a_forced_status_of_a_finished_execution_counts() -> None:
    play = waiting()
    later(play, StatusForced, True)
    assert later(play, StatusForced, False) == 5000
    assert play.at().state.status is FlowStatus.FAILED
