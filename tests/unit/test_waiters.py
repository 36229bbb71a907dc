"""The list of those who wait for events: right like a plain list, and cheap however long it is (model/waiters.py)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.by_hand import ByHand, function
from tornflow.engine.events import EventRaised, WaiterArrived
from tornflow.engine.transition import apply
from tornflow.model.jsontext import dumps
from tornflow.model.waiters import CHUNK, Waiter, Waiters
from tornflow.runtime.codec import encode

NAMES = ("go", "stop", "ping")
TASKS = {"first": 0, "second": 1, "third": 2}
PATHS = ["", *(f"each_{number}" for number in range(6))]

STEP = st.one_of(
    st.tuples(
        st.just("add"), st.sampled_from(PATHS), st.sampled_from(list(TASKS)), st.integers(0, 4),
        st.sets(st.sampled_from(NAMES), min_size=1),
    ),
    st.tuples(st.just("remove"), st.sampled_from(PATHS), st.sampled_from(list(TASKS))),
    st.tuples(st.just("first"), st.sampled_from(NAMES), st.sampled_from(PATHS)),
    st.tuples(st.just("store")),
    st.tuples(st.just("clear")),
)  # fmt: skip


class Naive:
    """The rule as it is said: who has waited longest, then the place of the task, then the path."""

    def __init__(self) -> None:
        self.entries: list[Waiter] = []

    def add(self, waiter: Waiter) -> None:
        self.remove(waiter.path, waiter.task)
        self.entries.append(waiter)

    def remove(self, path: str, task: str) -> None:
        self.entries = [one for one in self.entries if (one.path, one.task) != (path, task)]

    def first(self, name: str, excluded: str) -> Waiter | None:
        mine = [one for one in self.entries if name in one.names and one.path != excluded]
        return min(mine, key=lambda one: (one.since, TASKS[one.task], one.path), default=None)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_it_is_a_plain_list_in_all_that_it_says(steps: list[Any]) -> None:
    waiters, naive, parts = Waiters(), Naive(), dict[int, list[Waiter]]()
    for step in steps:
        match step:
            case ("add", path, task, since, names):
                waiter = Waiter(path, task, tuple(sorted(names)), since, ("life", since))
                waiters.add(waiter, TASKS[task])
                naive.add(waiter)
            case ("remove", path, task):
                waiters.remove(path, task)
                naive.remove(path, task)
            case ("first", name, path):
                # Who does not wait any more is passed over for good: it is gone from the list as well.
                for one in [one for one in naive.entries if one.path == path]:
                    waiters.remove(one.path, one.task)
                    naive.remove(one.path, one.task)
                found = waiters.first(name, TASKS.__getitem__, lambda one: True)
                assert found == naive.first(name, path)
            case ("clear",):
                waiters.clear()
                naive = Naive()
            case _:
                waiters = stored(waiters, parts)
        assert sorted(waiters) == sorted(naive.entries)
        assert len(waiters) == len(naive.entries)
    assert sorted(stored(waiters, parts)) == sorted(naive.entries)


def stored(waiters: Waiters, parts: dict[int, list[Waiter]]) -> Waiters:
    """Write what is dirty, and read all again: what is not marked would be lost here."""
    for number in waiters.dirty:
        if entries := waiters.chunk(number):
            parts[number] = entries
        else:
            parts.pop(number, None)
    waiters.dirty.clear()
    assert set(parts) == waiters.chunks
    assert all(len(entries) <= CHUNK for entries in parts.values())
    return Waiters(sorted(parts.items()))


def many(count: int) -> Waiters:
    waiters = Waiters()
    for number in range(count):
        waiters.add(Waiter(f"each_{number}", "gate", ("go",), 1000 + number, ("life", 1)), 0)
    waiters.dirty.clear()
    return waiters


def test_who_is_passed_over_does_not_come_back_to_the_front() -> None:
    waiters = many(3)
    gone = {"each_0"}
    first = waiters.first("go", lambda _: 0, lambda one: one.path not in gone)
    assert first is not None and first.path == "each_1"
    assert waiters.get("each_0", "gate") is not None, "only the caller takes entries away"


def test_one_that_enrols_again_waits_from_then_on() -> None:
    waiters = many(3)
    waiters.first("go", lambda _: 0, lambda _: True)
    waiters.add(Waiter("each_0", "gate", ("go",), 9999, ("life", 1)), 0)
    order = []
    while (found := waiters.first("go", lambda _: 0, lambda _: True)) is not None:
        order.append(found.path)
        waiters.remove(found.path, found.task)
    assert order == ["each_1", "each_2", "each_0"]


def test_a_change_among_a_hundred_thousand_marks_one_bounded_chunk() -> None:
    waiters = many(100_000)
    for _ in range(100):
        found = waiters.first("go", lambda _: 0, lambda _: True)
        assert found is not None
        waiters.remove(found.path, found.task)
        assert len(waiters.dirty) == 1
        assert sum(len(dumps(waiters.chunk(number))) for number in waiters.dirty) < 100 * CHUNK
        waiters.dirty.clear()


def test_chunks_that_ran_empty_are_gone() -> None:
    waiters = many(10 * CHUNK)
    for number in range(9 * CHUNK):
        waiters.remove(f"each_{number}", "gate")
    assert waiters.chunks == {9}
    assert waiters.dirty == set(range(9))


def test_an_event_costs_the_root_the_same_however_many_wait() -> None:
    """A hundred times as many waiters: the bytes that a step writes stay within one chunk."""
    written = {}
    for count in (100, 10_000):
        play = ByHand(function("work")).begin()
        scope, run = play.at(), (*play.at().state.generation, 1)
        for number in range(count):
            scope.state.waiters.add(Waiter(f"each_{number}", "gate", ("go",), 1000 + number, run), 0)
        play.tell(WaiterArrived(play.now, "each_x", "gate", ("go",), 999_999, run))
        before = dict(play.saved[play.root].parts)
        apply(scope, EventRaised(play.now, "go", 1), [])
        write = encode(scope, 0)
        assert len(before) > count / CHUNK
        written[count] = len(write.head) + sum(len(body or b"") for body in write.parts.values())
    assert written[10_000] < written[100] + 200
    assert written[10_000] < 100 * CHUNK
