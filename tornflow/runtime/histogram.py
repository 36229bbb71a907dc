"""Durations as a list of counts: an observation costs a search among some bounds, the rest is done when asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""For what a machine does: a write, an answer, a wait in a queue."""

LONG_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0)
"""For executions and tasks, which may wait for people."""


class Histogram:
    """``counts[i]`` are those of at most ``bounds[i]`` seconds and more than the bound before; the last one are those
    beyond all bounds."""

    __slots__ = ("bounds", "counts", "total_s")

    def __init__(self, bounds: Sequence[float] = SHORT_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds
