"""Tasks of the event loop that nobody awaits: held, ended at close, and never silent when they break."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple

import structlog

_log = structlog.get_logger("tornflow.tasks")
_PAUSE_S = 1.0

Ts = TypeVarTuple("Ts")


class Tasks:
    """``start`` takes the function and its arguments, not a coroutine: one that was never begun must not be left
    behind un-awaited."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self, work: Callable[[*Ts], Awaitable[None]], *arguments: *Ts
    ) -> asyncio.Task[None] | None:
        """Begin some work; None when this is closed. What it raises is logged."""
        if self._is_closed:
            return None
        task = asyncio.get_running_loop().create_task(_logged(work, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def keep_running(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run work that must never end; when it breaks it is logged and begun again."""
        self.start(_again_and_again, name, work)

    async def close(self) -> None:
        """Cancel everything and return when it has ended."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)

    async def join(self) -> None:
        """Return when everything has ended by itself."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _logged(work: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]) -> None:
    try:
        await work(*arguments)
    except Exception:
        _log.exception("a task broke", work=getattr(work, "__qualname__", str(work)))


async def _again_and_again(name: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
            _log.error("a background task ended; it is begun again", task=name)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log.error("a background task was cancelled by nobody; it is begun again", task=name)
        except Exception:
            _log.exception("a background task broke; it is begun again", task=name)
        await asyncio.sleep(_PAUSE_S)
