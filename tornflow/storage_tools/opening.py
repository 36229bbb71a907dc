"""Opening a store for a tool: without an engine, and only where that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tornflow.errors import ConfigError
from tornflow.runtime.discovery import find_storage
from tornflow.spi.storage import Storage

_LOOK_S = 0.25


@asynccontextmanager
async def opened(url: str, values: Mapping[str, Any], *, must_exist: bool = True) -> AsyncIterator[Storage]:
    """Open the store of a URL, and close it whatever happens.

    Raises:
        ConfigError: the URL is not served, the store is used by a server that locks it, or the file does not exist
            although ``must_exist``.
        StorageUnavailable
    """
    storage = find_storage(url, values)
    if must_exist and not _exists(url):
        raise ConfigError(f"{url}: there is no such file")
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


def _exists(url: str) -> bool:
    """A misspelt file name would be created, and then found to be in the best order."""
    scheme, _, path = url.partition(":///")
    return scheme != "sqlite" or Path(unquote(path)).exists()


async def living_nodes(storage: Storage, heartbeat_s: float) -> list[str]:
    """Return the nodes whose heartbeat moves while we look, for two and a half heartbeats at most.

    Clocks are not compared: what a node wrote may come from a clock that is wrong.
    """
    if not storage.is_shared:
        return []  # opening it would have failed
    first = {beat.node_id: beat.seen_at for beat in await storage.nodes()}
    living: set[str] = set()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 2.5 * heartbeat_s
    while living != set(first) and loop.time() < deadline:
        await asyncio.sleep(min(_LOOK_S, heartbeat_s / 4))
        for beat in await storage.nodes():
            if first.setdefault(beat.node_id, 0) != beat.seen_at:
                living.add(beat.node_id)
    return sorted(living)


async def check_unused(storage: Storage, heartbeat_s: float) -> None:
    """Raise ConfigError when a server uses the store."""
    living = await living_nodes(storage, heartbeat_s)
    if living:
        raise ConfigError(f"the store is used by {len(living)} running node(s): {', '.join(living)}; stop them first")
