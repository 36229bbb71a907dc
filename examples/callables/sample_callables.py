"""Callables for ``python://name``. Register them in the configuration:

    plugins:
      python:
        callables:
          add: sample_callables:add
          summary: sample_callables:summary
          slowly: sample_callables:slowly

and let the server find the module: ``PYTHONPATH=examples/callables scripts/serve --config my.yaml``. A package of
your own registers them without configuration, in its pyproject.toml:

    [project.entry-points."tornflow.callables"]
    add = "sample_callables:add"
"""

from __future__ import annotations

import asyncio
from typing import Any


def add(left: int, right: int = 1) -> int:
    """Entries of the input are keyword arguments. A result that is no object arrives as ``{"result": 3}``."""
    return left + right


def summary(input: dict[str, Any]) -> dict[str, Any]:
    """One parameter named ``input`` gets the whole input object."""
    return {"keys": sorted(input), "count": len(input)}


async def slowly(text: str, turns: int = 3) -> dict[str, Any]:
    """A coroutine runs on the server's loop and must not block it; plain functions run in threads."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return {"text": text}
