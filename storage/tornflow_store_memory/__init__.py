"""The store that forgets: ``memory://``. For tests and for flows that nobody misses after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.errors import ConfigError
from tornflow.spi.storage import Storage
from tornflow_store_memory.store import MemoryStorage

__all__ = ["MemoryStorage", "open_storage"]


def open_storage(url: str, settings: Mapping[str, Any]) -> Storage:
    """Build a store of its own, empty and not shared with any other call.

    Raises:
        ConfigError: the URL says more than ``memory://``, or there are settings (it has none).
    """
    if url.removeprefix("memory:") not in ("", "//"):
        raise ConfigError(f"storage: {url!r} is not understood; the memory store is written memory://", field="storage")
    if settings:
        raise ConfigError(f"storage.memory.{next(iter(settings))}: the memory store has no settings", field="storage")
    return MemoryStorage()
