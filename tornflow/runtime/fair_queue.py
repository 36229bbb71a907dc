"""Who may start next: fair shares of a limited number of slots.

Each entry goes to a *target* and belongs to a *flow*. Three limits hold at any time: slots in all, per target, per
flow. Among the entries that may start, targets take turns, within a target flows take turns, and within a flow the
oldest comes first. An entry that may not start is never looked at again until what it waits for has a free slot:

* entries of one flow for one target form a *line*;
* a line stands either in the ring of its target or, once it was found that its flow is full, is parked at its flow;
* a target is *ready* while it has a free slot and its ring is not empty;
* a flow is *open* while it has a free slot and parked lines. Each choice puts one parked line back into a ring, so that
  a flow with very many lines costs no pass over all of them whenever one of its slots comes free.

So a choice costs O(1), amortised, times at most the number of flows that are full while targets are full as well (the
limits bound it: four flows with the defaults). Removing a waiting entry is O(1). Shares that nobody uses are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

_IDLE_SHARES = 1024


class Load(NamedTuple):
    in_flight: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Slots at one time; each at least 1."""

    total: int
    per_target: int
    per_flow: int


class Entry:
    """What takes a slot. Subclasses say what it is; these fields belong to the queue."""

    __slots__ = ("flow", "line", "target")

    flow: _Flow
    target: _Target
    line: _Line | None  # set while it waits

    @property
    def is_waiting(self) -> bool:
        return self.line is not None


E = TypeVar("E", bound=Entry)


class FairQueue(Generic[E]):
    """Counts slots and chooses who comes next; it starts nothing itself.

    ``next`` must be called until it returns None after each ``leave``, so that no entry that may start is left waiting:
    ``enter`` relies on it.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._targets: dict[str, _Target] = {}
        self._flows: dict[str, _Flow] = {}
        self._ready: OrderedDict[_Target, None] = OrderedDict()
        self._open: OrderedDict[_Flow, None] = OrderedDict()
        self._sweep_at = _IDLE_SHARES
        self.in_flight = 0
        self.waiting = 0

    def enter(self, entry: E, target: str, flow: str, *, must_wait: bool = False) -> bool:
        """Return True if the entry has its slot at once; else it waits in its line."""
        its_target, its_flow = self._targets.get(target), self._flows.get(flow)
        if its_target is None or its_flow is None:
            its_target, its_flow = self._new_shares(target, flow)
        entry.target, entry.flow, entry.line = its_target, its_flow, None
        if not (must_wait or its_flow.is_full or its_target.is_full or self.in_flight >= self._limits.total):
            self._take(entry)
            return True
        line = its_target.lines.get(its_flow)
        if line is None:
            line = its_target.lines[its_flow] = _Line(its_target, its_flow)
            self._place(line)
        entry.line = line
        line.entries[entry] = None
        its_target.waiting += 1
        its_flow.waiting += 1
        self.waiting += 1
        return False

    def next(self) -> E | None:
        """Give a slot to the entry whose turn it is; None if none may start."""
        if not self.waiting or self.in_flight >= self._limits.total:
            return None
        self._unpark()
        while True:
            while self._ready:
                target, _ = self._ready.popitem(last=False)
                line = _first_startable(target)
                if line is not None:
                    return self._first_of(line)
            if not self._unpark():
                return None

    def leave(self, entry: E) -> None:
        """Give the slot of an entry back."""
        target, flow = entry.target, entry.flow
        self.in_flight -= 1
        target.give_back()
        flow.give_back()
        if target.ring:
            self._ready[target] = None
        if flow.parked:
            self._open[flow] = None

    def remove(self, entry: E) -> None:
        """Take out an entry that waits."""
        line = entry.line
        assert line is not None, "only what waits can be removed"
        del line.entries[entry]
        self._count_out(entry)
        if not line.entries:
            self._drop(line)

    def drain(self) -> list[E]:
        """Take out everything that waits."""
        found = [entry for target in self._targets.values() for line in target.lines.values() for entry in line.entries]
        for entry in found:
            self.remove(entry)
        return found

    def waiting_of(self, flow: str) -> int:
        share = self._flows.get(flow)
        return 0 if share is None else share.waiting

    def waiting_for(self, target: str) -> int:
        share = self._targets.get(target)
        return 0 if share is None else share.waiting

    def targets(self) -> dict[str, Load]:
        """Return the load of each target that has any."""
        return {
            name: Load(share.in_flight, share.waiting)
            for name, share in self._targets.items()
            if share.in_flight or share.waiting
        }

    # --- shares

    def _new_shares(self, target: str, flow: str) -> tuple[_Target, _Flow]:
        if len(self._targets) + len(self._flows) >= self._sweep_at:
            self._sweep()
        return (
            self._targets.setdefault(target, _Target(self._limits.per_target)),
            self._flows.setdefault(flow, _Flow(self._limits.per_flow)),
        )

    def _sweep(self) -> None:
        self._targets = {name: share for name, share in self._targets.items() if share.in_flight or share.waiting}
        self._flows = {name: share for name, share in self._flows.items() if share.in_flight or share.waiting}
        self._sweep_at = max(_IDLE_SHARES, 2 * (len(self._targets) + len(self._flows)))

    def _take(self, entry: E) -> None:
        self.in_flight += 1
        entry.target.take()
        entry.flow.take()

    # --- lines

    def _first_of(self, line: _Line) -> E:
        """Start the oldest entry of a line that was just taken out of the ring of its target."""
        target = line.target
        entry: E
        entry, _ = line.entries.popitem(last=False)
        self._count_out(entry)
        self._take(entry)
        if line.entries:
            target.ring[line] = None
        else:
            del target.lines[line.flow]
        if target.ring and not target.is_full:
            self._ready[target] = None
        return entry

    def _place(self, line: _Line) -> None:
        target, flow = line.target, line.flow
        if flow.is_full:
            flow.parked[line] = None
            return
        target.ring[line] = None
        if not target.is_full:
            self._ready.setdefault(target)

    def _unpark(self) -> bool:
        """Put one parked line of an open flow back; open flows take turns. False if there is none."""
        while self._open:
            flow, _ = self._open.popitem(last=False)
            if flow.is_full or not flow.parked:
                continue  # it opens again when one of its slots comes free
            line, _ = flow.parked.popitem(last=False)
            if flow.parked:
                self._open[flow] = None
            self._place(line)
            return True
        return False

    def _drop(self, line: _Line) -> None:
        target, flow = line.target, line.flow
        del target.lines[flow]
        if line in flow.parked:
            del flow.parked[line]
            return
        del target.ring[line]
        if not target.ring:
            self._ready.pop(target, None)

    def _count_out(self, entry: E) -> None:
        entry.line = None
        entry.target.waiting -= 1
        entry.flow.waiting -= 1
        self.waiting -= 1


def _first_startable(target: _Target) -> _Line | None:
    """Take the next line out of the ring whose flow has a free slot; park those before it."""
    while target.ring:
        line, _ = target.ring.popitem(last=False)
        if not line.flow.is_full:
            return line
        line.flow.parked[line] = None
    return None


class _Share:
    __slots__ = ("in_flight", "is_full", "limit", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.waiting = 0
        self.is_full = False

    def take(self) -> None:
        self.in_flight += 1
        self.is_full = self.in_flight >= self.limit

    def give_back(self) -> None:
        self.in_flight -= 1
        self.is_full = False


class _Target(_Share):
    __slots__ = ("lines", "ring")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.lines: dict[_Flow, _Line] = {}
        self.ring: OrderedDict[_Line, None] = OrderedDict()


class _Flow(_Share):
    __slots__ = ("parked",)

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.parked: OrderedDict[_Line, None] = OrderedDict()


class _Line:
    """Entries of one flow for one target, oldest first."""

    __slots__ = ("entries", "flow", "target")

    def __init__(self, target: _Target, flow: _Flow) -> None:
        self.target = target
        self.flow = flow
        self.entries: OrderedDict[Any, None] = OrderedDict()
