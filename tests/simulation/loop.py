"""An event loop without time and without input or output: it runs what is ready, then jumps to the next timer.

Everything that runs belongs to a simulated process or to the world outside (``PROCESS`` in the context of its handle).
A frozen process keeps its place in every queue and runs nothing; nothing of a dead one ever runs again. Two runs that
ask for the same things do the same things: tasks and futures hash by their number, never by their address.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any

_STEPS_PER_INSTANT = 200_000
_THREAD_S = 0.002


class Livelock(Exception):
    """So many callbacks ran in one instant that it will not end, or so many in all that the run is too long."""


@dataclass(slots=True, eq=False)
class Process:
    """One simulated operating system process, as far as the loop has to know it."""

    name: str
    is_frozen: bool = False
    is_dead: bool = False
    held: list[asyncio.Handle] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    clock: Any = None

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Call ``work`` as if this process did it; what it schedules belongs to the process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return context.run(work, *args)


PROCESS: ContextVar[Process | None] = ContextVar("PROCESS", default=None)
OUTSIDE = Context()
"""The context of the world: no process runs what is scheduled with it."""


class _Task(asyncio.Task[Any]):
    number: int

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    number: int

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    def __init__(self, seed: str, step_limit: int = 20_000_000) -> None:
        super().__init__()
        self.random = Random(f"loop/{seed}")
        self.complaints: list[str] = []
        self.steps = 0
        self._now = 0.0
        self._step_limit = step_limit
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count(1)
        self._is_over = False
        self.set_task_factory(self._task)
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        return self._now

    # --- what asyncio asks of a loop

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._is_over:
            self._soon.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is dropped when its moment comes

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future.number = next(self._numbers)
        return future

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Threads take a moment and do their work in one piece."""
        future = self.create_future()
        self.call_later(self.random.random() * _THREAD_S, _work_off, future, func, args)
        return future

    def _task(
        self, _loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = _Task.__new__(_Task)
        task.number = next(self._numbers)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        task.__init__(coro, loop=self, context=context)  # type: ignore[misc]
        if process is not None:
            process.tasks.append(task)
            if len(process.tasks) > 500:
                process.tasks[:] = [one for one in process.tasks if not one.done()]
        return task

    def _run_once(self) -> None:
        """Run everything that is ready now; with nothing ready, go to the next moment."""
        if not self._soon:
            self._advance()
        limit = _STEPS_PER_INSTANT
        while self._soon:
            self._run_handle(self._soon.popleft())
            limit -= 1
            if limit == 0:
                raise Livelock(f"{_STEPS_PER_INSTANT} callbacks at {self._now:.3f} s")
            if self._stopping:  # type: ignore[attr-defined]
                return
        if self.steps > self._step_limit:
            raise Livelock(f"{self.steps} callbacks until {self._now:.3f} s")

    def _run_handle(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:  # type: ignore[attr-defined]
            return
        process: Process | None = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None:
            if process.is_dead:
                return
            if process.is_frozen:
                process.held.append(handle)
                return
        self.steps += 1
        handle._run()

    def _advance(self) -> None:
        while self._timers and self._timers[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(self._timers)
        if not self._timers:
            raise Livelock("nothing is ready and nothing will be")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._soon.append(heapq.heappop(self._timers)[2])

    # --- processes

    def freeze(self, process: Process) -> None:
        process.is_frozen = True

    def thaw(self, process: Process) -> None:
        process.is_frozen = False
        self._soon.extend(process.held)
        process.held.clear()

    def kill(self, process: Process) -> None:
        """Nothing of it runs again, not even what Python does to clear up."""
        process.is_dead = True
        process.held.clear()

    def bury(self, process: Process) -> None:
        """Let go of the memory of a dead process; call it when nothing else runs any more."""
        self._is_over = True
        with _quiet():
            for task in process.tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coro = task.get_coro()
                with contextlib.suppress(BaseException):
                    coro.close()  # type: ignore[union-attr]
            process.tasks.clear()

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        task = context.get("task") or context.get("future")
        self.complaints.append(f"asyncio: {context['message']}: {error!r} {task!r}")


def _work_off(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook
