"""Long computations beside the event loop, so that others are served meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONG = 256
"""Characters of source that take some 5 ms at worst: a dense script compiles at 0.02 ms a character, YAML without one
is read at 0.0006 ms. What a text holds is known only after it was read, and a change of thread costs but 0.04 ms."""


async def run_long(size: int, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, computed in a thread if its source has ``size`` or more characters to compile.

    Raises whatever ``work`` raises. ``work`` must not touch what the loop changes meanwhile.
    """
    return work() if size < LONG else await asyncio.to_thread(work)
