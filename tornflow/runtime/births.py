"""Groups in the making: who must reach all groups of an execution waits until those that are being stored are there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Births:
    def __init__(self) -> None:
        self._open: dict[str, set[asyncio.Future[None]]] = {}

    @contextmanager
    def of(self, execution_id: str) -> Iterator[None]:
        """Mark that groups of an execution are being stored."""
        births = self._open.setdefault(execution_id, set())
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        births.add(over)
        try:
            yield
        finally:
            over.set_result(None)
            births.discard(over)
            if not births:
                self._open.pop(execution_id, None)

    async def over(self, execution_id: str) -> None:
        """Return when the groups that are being stored now are stored."""
        births = self._open.get(execution_id)
        if births:
            await asyncio.wait(births)
