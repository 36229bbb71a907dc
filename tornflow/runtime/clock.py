"""Two clocks: the one on the wall, and one that no administrator can set.

Moments (timestamps, a start at a given time) follow the wall clock. Durations (waits, retries, timeouts) count elapsed
time, time asleep included: a step of the wall clock must neither shorten nor lengthen them. Both clocks count
milliseconds since the epoch, and they agree until somebody sets the wall clock.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def wall_ms(self) -> int:
        """Return the time of day, milliseconds since the epoch."""

    def steady_ms(self) -> int:
        """Return the wall time at the start of the process plus the time that has passed since; never goes back."""

    def drift_ms(self) -> int:
        """Return by how much the steady clock is ahead of the wall clock."""

    def seconds(self) -> float:
        """Return seconds that have passed since some moment; for rates and for the age of what this process holds."""

    def shift(self, by_ms: int) -> None:
        """Move the steady clock onto the timeline of nodes that started earlier; only before the first timer is set."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._shift_ms = time.time_ns() // 1_000_000 - _elapsed_ms()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_ms(self) -> int:
        return _elapsed_ms() + self._shift_ms

    def drift_ms(self) -> int:
        return _elapsed_ms() + self._shift_ms - time.time_ns() // 1_000_000

    def seconds(self) -> float:
        return time.monotonic()

    def shift(self, by_ms: int) -> None:
        self._shift_ms += by_ms


# Time asleep counts: a laptop that was closed for an hour has waited an hour. Only Linux has this clock by name; others
# count sleep in their monotonic clock, or have none that does.
if hasattr(time, "CLOCK_BOOTTIME"):

    def _elapsed_ms() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

else:

    def _elapsed_ms() -> int:
        return time.monotonic_ns() // 1_000_000
