"""A pytest plugin that notes which functions of the project each test calls, and how long the test takes.

``MUTANTS_MAP`` names the JSON file to write: ``{test id: {"s": seconds, "calls": [[file, first line], ...]}}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.mutation.places import ROOMS

_ROOT = str(Path.cwd())
_current: set[CodeType] = set()
_map: dict[str, dict[str, Any]] = {}


def _trace(frame: FrameType, event: str, arg: Any) -> None:
    _current.add(frame.f_code)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _current.clear()
    threading.settrace(_trace)
    sys.settrace(_trace)
    began = time.perf_counter()
    try:
        return (yield)
    finally:
        took = time.perf_counter() - began
        sys.settrace(None)
        threading.settrace(None)
        _map[item.nodeid] = {"s": round(took, 3), "calls": sorted(_ours())}


def pytest_sessionfinish() -> None:
    Path(os.environ["MUTANTS_MAP"]).write_text(json.dumps(_map), "utf-8")


def _ours() -> set[tuple[str, int]]:
    found = set()
    for code in _current:
        name = code.co_filename
        if name.startswith(_ROOT):
            file = name[len(_ROOT) + 1 :]
            if file.startswith(ROOMS):
                found.add((file, code.co_firstlineno))
    return found
