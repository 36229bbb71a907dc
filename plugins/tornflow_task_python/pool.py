"""A bounded pool of daemon threads.

The standard pool joins its threads when the interpreter ends, so one function that never returns would keep the
server from going down.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class DaemonPool(Generic[T]):
    """At most ``size`` calls run at a time, the others wait in order. Used from one thread, the event loop's."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = queue.SimpleQueue()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run ``call`` as soon as a thread is free; cancelling the future works until then."""
        future: Future[T] = Future()
        self._waiting.put((future, call))
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Let go of idle threads now and of busy ones when their call returns; calls still waiting are cancelled."""
        while not self._waiting.empty():
            try:
                waiting = self._waiting.get_nowait()
            except queue.Empty:  # a thread took it first
                break
            if waiting is not None:
                waiting[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            future, call = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                found = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(found)
            del item, future, call  # an idle thread must not keep the last input alive
