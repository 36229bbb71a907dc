"""Trying again while the store is away: for work of our own, which nobody else would do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from tornflow.errors import StorageUnavailable

T = TypeVar("T")

_log = structlog.get_logger("tornflow.storage")
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


async def while_unavailable(work: Callable[[], Awaitable[T]]) -> T:
    """Return what ``work`` returns once the store answers. It must be safe to do twice."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await work()
        except StorageUnavailable as error:
            _log.debug("storage unavailable, will try again", reason=str(error))
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
