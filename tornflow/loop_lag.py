"""How late the event loop is: what every request, timer and answer waits for beside its own work."""

from __future__ import annotations

import asyncio

from tornflow.runtime.histogram import Histogram

_EVERY_S = 0.5


class LoopLag:
    """Makes an appointment with the loop twice a second and notes by how much it was missed."""

    def __init__(self) -> None:
        self.times = Histogram()
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._appoint(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _appoint(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _EVERY_S
        self._handle = loop.call_at(due, self._kept, loop, due)

    def _kept(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.times.observe(max(0.0, loop.time() - due))
        self._appoint(loop)
