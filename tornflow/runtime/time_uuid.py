"""Time-based UUIDs (RFC 4122, version 1) without asking the operating system for each."""

from __future__ import annotations

import secrets
import time

_EPOCH_TICKS = 0x01B21DD213814000  # 100 ns from 1582-10-15 to 1970-01-01
_MULTICAST = 1 << 40  # says that the node is a random number, no address of a network card (RFC 4122, 4.5)


class TimeUuids:
    """Makes the UUIDs of one process: make it after a fork, not before.

    Node and clock sequence are random, so two processes do not meet; within one, every UUID has a tick of its own. Many
    in one tick, or a clock that was set back, take the next free ticks: order of making is always order of time.
    """

    def __init__(self) -> None:
        self._last = 0
        sequence = 0x8000 | secrets.randbits(14)
        node = _MULTICAST | secrets.randbits(48)
        self._tail = f"{sequence:04x}-{node:012x}"

    def __call__(self) -> str:
        """Return the next UUID as text."""
        ticks = self._last = max(time.time_ns() // 100 + _EPOCH_TICKS, self._last + 1)
        return f"{ticks & 0xFFFFFFFF:08x}-{ticks >> 32 & 0xFFFF:04x}-{0x1000 | ticks >> 48 & 0x0FFF:04x}-{self._tail}"
