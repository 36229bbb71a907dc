"""Removing finished executions when their time is over, and descriptor texts that nobody needs.

Deleting is conditional on the life and revision that were judged: an execution that was redone or started again
meanwhile stays. Any number of nodes may do this at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from tornflow.errors import StorageError
from tornflow.runtime.clock import Clock
from tornflow.runtime.runner import Runner
from tornflow.runtime.tasks import Tasks
from tornflow.spi.storage import Storage, Target

_log = structlog.get_logger("tornflow.retention")

_PAGE = 500


class Retention:
    """``collect`` removes what only the catalog knows; called once per sweep."""

    def __init__(
        self,
        storage: Storage,
        runner: Runner,
        clock: Clock,
        *,
        pause_s: float,
        collect: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._clock = clock
        self._pause_s = pause_s
        self._collect = collect
        self._tasks = Tasks()
        self.removed = 0

    def start(self) -> None:
        self._tasks.keep_running("retention", self._keep_sweeping)

    async def stop(self) -> None:
        await self._tasks.close()

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
                if self._collect is not None:
                    await self._collect()
            except StorageError as error:
                _log.warning("cannot remove expired executions", reason=str(error))
            await asyncio.sleep(self._pause_s)

    async def sweep(self) -> int:
        """Delete executions whose retention is over, page by page; return how many.

        A page of which nothing could be removed ends it: what is left is in use, and its turn comes again.
        """
        count = 0
        while expired := await self._storage.expired(self._clock.wall_ms(), _PAGE):
            removed = await self._remove(await self._without_living_children(expired))
            count += removed
            if removed == 0 or len(expired) < _PAGE:
                break
        self.removed += count
        return count

    async def _remove(self, targets: list[Target]) -> int:
        if not targets:
            return 0
        were_removed = await self._storage.delete_executions(targets)
        removed = {one.execution_id: one.life for one, is_gone in zip(targets, were_removed, strict=True) if is_gone}
        self._runner.forget(removed)
        return len(removed)

    async def _without_living_children(self, targets: Sequence[Target]) -> list[Target]:
        living = await self._storage.living_parents([target.execution_id for target in targets])
        return [target for target in targets if target.execution_id not in living]
