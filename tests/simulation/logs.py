"""What the runtime logs while a world is played: an exception in a log is a finding."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

_EXPECTED = ("a task type broke",)
_sink: tuple[list[str], Callable[..., None]] | None = None


def watch(problems: list[str] | None, trace: Callable[..., None] | None) -> None:
    """Write exceptions in logs down as problems of a world, everything else into its trace; None: stop."""
    global _sink
    _sink = None if problems is None or trace is None else (problems, trace)
    structlog.configure(processors=[_take], cache_logger_on_first_use=False)


def _take(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if _sink is not None and method != "debug":
        problems, trace = _sink
        text = str(event.get("event"))
        trace("log", method, {key: str(value) for key, value in event.items() if key != "exc_info"})
        is_wrong = method in ("exception", "critical") or text.startswith("a background task")
        if is_wrong and text not in _EXPECTED:
            problems.append(f"log: {text} {_reason()} {({k: v for k, v in event.items() if k != 'event'})}")
    raise structlog.DropEvent


def _reason() -> str:
    import sys
    import traceback

    error = sys.exc_info()[1]
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)[-2:]
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    return f"{error!r} at {where}"
