"""Long work beside the event loop, so that other requests go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONG_TEXT = 16_384
"""Characters. A change of thread costs 0.04 ms; reading YAML of this length some 10 ms."""


async def aside(size: int, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, computed in a thread if its input is a long text of ``size`` characters."""
    return work() if size < LONG_TEXT else await asyncio.to_thread(work)
