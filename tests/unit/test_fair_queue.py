"""Fair shares of slots: limits, turns, and a model that looks at everything."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tornflow.runtime.fair_queue import Entry, FairQueue, Limits


class One(Entry):
    __slots__ = ("flow_name", "number", "target_name")

    def __init__(self, number: int, target: str, flow: str) -> None:
        self.number, self.target_name, self.flow_name = number, target, flow


def filled(queue: FairQueue[One], *pairs: tuple[str, str]) -> list[One]:
    """Let entries of these (target, flow) wait, in this order."""
    entries = [One(number, *pair) for number, pair in enumerate(pairs)]
    for entry in entries:
        queue.enter(entry, entry.target_name, entry.flow_name, must_wait=True)
    return entries


def started_by(queue: FairQueue[One]) -> list[One]:
    return list(iter(queue.next, None))


def order(queue: FairQueue[One]) -> list[tuple[str, str]]:
    """Start and end one after the other; return who came when."""
    found = []
    while (entry := queue.next()) is not None:
        found.append((entry.target_name, entry.flow_name))
        queue.leave(entry)
    return found


def test_targets_take_turns_however_many_wait_for_one() -> None:
    queue: FairQueue[One] = FairQueue(Limits(1, 1, 1))
    filled(queue, *[("a", "f")] * 5, *[("b", "f")] * 2, ("c", "f"))
    assert [target for target, _ in order(queue)] == ["a", "b", "c", "a", "b", "a", "a", "a"]


def test_flows_take_turns_within_a_target() -> None:
    queue: FairQueue[One] = FairQueue(Limits(1, 1, 1))
    filled(queue, *[("a", "f")] * 4, *[("a", "g")] * 2)
    assert [flow for _, flow in order(queue)] == ["f", "g", "f", "g", "f", "f"]


def test_a_full_target_leaves_slots_to_others() -> None:
    queue: FairQueue[One] = FairQueue(Limits(10, 2, 10))
    filled(queue, *[("dead", "f")] * 100, *[("alive", "f")] * 3)
    started = [queue.next() for _ in range(5)]
    assert Counter(one.target_name for one in started if one) == {"dead": 2, "alive": 2}
    assert started[4] is None
    assert queue.targets() == {"dead": (2, 98), "alive": (2, 1)}


def test_a_full_flow_leaves_slots_to_others_and_to_itself_when_one_comes_free() -> None:
    queue: FairQueue[One] = FairQueue(Limits(10, 10, 2))
    filled(queue, *[(f"t{n}", "many") for n in range(50)], ("t0", "other"))
    started = []
    while (entry := queue.next()) is not None:
        started.append(entry)
    assert Counter(one.flow_name for one in started) == {"many": 2, "other": 1}
    queue.leave(started[0])
    following = queue.next()
    assert following is not None and (following.flow_name, queue.next()) == ("many", None)


def test_a_flow_whose_first_line_is_blocked_goes_on_with_the_next() -> None:
    queue: FairQueue[One] = FairQueue(Limits(10, 1, 2))
    filled(queue, ("a", "f"), ("b", "f"), ("c", "g"))
    first, *_ = started_by(queue)
    filled(queue, ("c", "f"), ("d", "f"))
    assert started_by(queue) == []
    queue.leave(first)  # of f; the target of its first line, c, is taken by g
    assert [one.target_name for one in started_by(queue)] == ["d"]


def test_a_flow_that_was_full_is_not_passed_over_while_others_fill_every_slot() -> None:
    queue: FairQueue[One] = FairQueue(Limits(3, 3, 1))
    filled(queue, ("a", "f"), ("b", "g1"), ("b", "g2"))
    running = started_by(queue)
    filled(queue, ("a", "f"), *[("b", f"g{n}") for n in range(3, 20)])
    queue.leave(running[0])
    assert [one.flow_name for one in started_by(queue)] == ["g3"]
    queue.leave(running[1])
    assert [one.flow_name for one in started_by(queue)] == ["f"]


def test_one_flow_to_very_many_targets_is_not_looked_through_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: FairQueue[One] = FairQueue(Limits(10_000, 10, 4))
    looks = 0
    put_back = FairQueue._unpark  # the only way that a parked line is looked at

    def counted(self: FairQueue[One]) -> bool:
        nonlocal looks
        looks += 1
        return put_back(self)

    monkeypatch.setattr(FairQueue, "_unpark", counted)
    filled(queue, *[(f"t{n}", "wide") for n in range(2000)])
    assert len(order(queue)) == 2000
    assert looks <= 4 * 2000


def test_what_nobody_uses_is_forgotten() -> None:
    queue: FairQueue[One] = FairQueue(Limits(10, 10, 10))
    for number in range(10_000):
        entry = One(number, f"t{number}", f"f{number}")
        assert queue.enter(entry, entry.target_name, entry.flow_name)
        queue.leave(entry)
    assert len(queue._targets) + len(queue._flows) <= 1026


class Shares(RuleBasedStateMachine):
    """Any order of coming, going and removing, beside lists that are searched each time."""

    LIMITS = Limits(total=5, per_target=2, per_flow=2)

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[One] = FairQueue(self.LIMITS)
        self.waiting: list[One] = []
        self.running: list[One] = []
        self.number = 0

    @rule(place=st.sampled_from("abcd"), flow=st.sampled_from("fgh"), must_wait=st.booleans())
    def enter(self, place: str, flow: str, must_wait: bool) -> None:
        self.number += 1
        entry = One(self.number, place, flow)
        could_start = self.may_start(entry)
        if self.queue.enter(entry, place, flow, must_wait=must_wait):
            assert could_start and not must_wait
            self.running.append(entry)
        else:
            assert must_wait or not could_start
            self.waiting.append(entry)
            self.start_all()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.running))
        self.running.remove(entry)
        self.queue.leave(entry)
        self.start_all()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(entry)
        self.queue.remove(entry)

    @rule()
    def drain(self) -> None:
        assert sorted(one.number for one in self.queue.drain()) == sorted(one.number for one in self.waiting)
        self.waiting.clear()

    def start_all(self) -> None:
        while (entry := self.queue.next()) is not None:
            assert self.may_start(entry)
            line = [one for one in self.waiting if self.pair(one) == self.pair(entry)]
            assert line[0] is entry, "the oldest of its flow for its target comes first"
            self.waiting.remove(entry)
            self.running.append(entry)
        assert not any(map(self.may_start, self.waiting)), "nobody waits who may start"

    def may_start(self, entry: One) -> bool:
        return (
            len(self.running) < self.LIMITS.total
            and sum(one.target_name == entry.target_name for one in self.running) < self.LIMITS.per_target
            and sum(one.flow_name == entry.flow_name for one in self.running) < self.LIMITS.per_flow
        )

    @staticmethod
    def pair(entry: One) -> tuple[str, str]:
        return entry.target_name, entry.flow_name

    @invariant()
    def counts_are_right(self) -> None:
        assert (self.queue.in_flight, self.queue.waiting) == (len(self.running), len(self.waiting))
        for flow in "fgh":
            assert self.queue.waiting_of(flow) == sum(one.flow_name == flow for one in self.waiting)
        loads = {target: [0, 0] for target in "abcd"}
        for place, entries in enumerate((self.running, self.waiting)):
            for one in entries:
                loads[one.target_name][place] += 1
        assert self.queue.targets() == {name: tuple(load) for name, load in loads.items() if any(load)}

    def teardown(self) -> None:
        while self.running:
            self.queue.leave(self.running.pop())
            self.start_all()
        assert not self.waiting, "everybody came"
        assert not self.queue._ready
        assert not any(share.lines or share.ring for share in self.queue._targets.values())
        assert not any(share.parked for share in self.queue._flows.values())


TestShares = Shares.TestCase
TestShares.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)
