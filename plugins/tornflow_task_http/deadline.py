"""One time limit for very many calls.

``asyncio.timeout`` arms and cancels a timer of the loop for each. Here all calls have the same time, so they expire in
the order of their beginning and one timer is enough: it is armed again about once per limit, not once per call.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """``with deadline():`` cancels the task inside after ``seconds``, which becomes a TimeoutError outside."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._begun: dict[_Limited, float] = {}  # in order: the first one expires first
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> _Limited:
        return _Limited(self)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self, one: _Limited) -> None:
        now = self._loop.time()
        self._begun[one] = now
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._seconds, self._look)

    def end(self, one: _Limited) -> None:
        self._begun.pop(one, None)

    def _look(self) -> None:
        oldest = self._loop.time() - self._seconds
        self._timer = None
        while self._begun:
            one, begun = next(iter(self._begun.items()))
            if begun > oldest:
                self._timer = self._loop.call_at(begun + self._seconds, self._look)
                return
            del self._begun[one]
            one.expire()


class _Limited:
    """One call; the rules about cancellation from elsewhere are those of ``asyncio.timeout``."""

    __slots__ = ("_cancelling", "_deadline", "_is_expired", "_task")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._is_expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a limit is for what runs in a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._deadline.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadline.end(self)
        if self._is_expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        self._is_expired = True
        self._task.cancel()
