"""Signals, on systems that have fewer of them, or whose loop cannot wait for any (Windows)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_signal(name: str, call: Callable[[], None]) -> bool:
    """Call ``call`` on the running loop whenever the signal comes; False: this system has none of that name."""
    number = getattr(signal, name, None)
    if number is None:
        return False
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, call)
    except NotImplementedError:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(call))
    return True
