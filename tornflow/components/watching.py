"""Looking at component files while the server runs: a change is taken as a whole, or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from tornflow.components.loaded import Components, Loaded
from tornflow.components.loading import ComponentSource, load_components
from tornflow.errors import ConfigError

log = logging.getLogger("tornflow.components")

LOOK_EVERY_S = 1.0
Signature = tuple[tuple[str, int, int, int], ...]


async def watch_components(source: ComponentSource, components: Components, before: Signature) -> None:
    """Look until cancelled. ``before`` is the signature of what is in force, taken before it was read."""
    last = before
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now = await asyncio.to_thread(signature, source)
        is_still, last = now == last, now
        if now != before and is_still:  # two looks apart: whoever writes has finished
            before = now
            await reload_components(source, components)


async def reload_components(
    source: ComponentSource, components: Components, load: Callable[[ComponentSource], Loaded] = load_components
) -> None:
    """Exchange what is in force; if something is broken it stays, and the log and the metadata page say so."""
    try:
        loaded = await asyncio.to_thread(load, source)
    except ConfigError as error:
        components.problem = f"{error.message}; the components loaded before stay in force"
        log.error("component files not taken: %s", components.problem)
        return
    for warning in loaded.warnings:
        log.warning(warning)
    components.problem = ""
    components.replace(loaded.components)
    log.info("component files loaded: %s", ", ".join(one.name for one in loaded.components) or "no component")


def signature(source: ComponentSource) -> Signature:
    """Return what tells a changed folder from an unchanged one; () if it cannot be read."""
    try:
        with os.scandir(source.folder) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith((".yaml", ".yml"))]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats))
