"""The python task type: functions in a bounded thread pool, coroutines on the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from tornflow.spi.task_type import Answered, Attempt, Failed, Host, Outcome
from tornflow_task_python.callables import GROUP, Register, Registered, Unusable
from tornflow_task_python.pool import DaemonPool
from tornflow_task_python.settings import PythonSettings, read_settings
from tornflow_task_python.values import NotJson, as_json

log = logging.getLogger("tornflow.python")
_TEXT_LIMIT = 2000


class PythonTaskType:
    """Runs ``python://name``. Rules for arguments and results: docs/task-types.md."""

    protocols: tuple[str, ...] = ("python",)
    title = "Run a registered Python callable"
    icon = "ant-design:code-outlined"
    schema: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": True}

    def __init__(self) -> None:
        self._settings = PythonSettings()
        self._register = Register({}, ())
        self._threads: DaemonPool[Outcome] | None = None

    async def start(self, host: Host) -> None:
        self._settings = read_settings(host.settings)
        self._register = Register(self._settings.callables, entry_points(group=GROUP))
        for known in self._register:
            if known.error:
                log.warning("callable %s of %s could not be loaded: %s", known.name, known.source, known.error)
        self._threads = DaemonPool(self._settings.threads, "tornflow-python")

    async def execute(self, attempt: Attempt) -> Outcome:
        """Answer with an object: the callable's own, or ``{"result": value}`` for any other JSON value."""
        if self._threads is None:
            return Failed("the python task type is not started", "not_started")
        name = attempt.rest
        try:
            known = self._register.find(name)
            entries = {key: as_json(value, f"input.{key}") for key, value in attempt.input.items()}
            arguments = known.arguments(entries)
        except (Unusable, NotJson) as error:
            return Failed(f"python://{name}: {error}", "unsendable")
        if known.is_async:
            return await self._run_here(known, arguments)
        return await self._run_in_thread(self._threads, known, arguments)

    def target(self, resource: str) -> str:
        """Each callable is a target of its own: one that is slow holds up no other (but see ``threads``)."""
        return resource

    async def stop(self) -> None:
        if self._threads is not None:
            self._threads.close()
            self._threads = None

    async def _run_here(self, known: Registered, arguments: dict[str, Any]) -> Outcome:
        assert known.call is not None
        limit = asyncio.timeout(self._settings.timeout_s)
        try:
            async with limit:
                return _outcome(known, await known.call(**arguments))
        except (Exception, SystemExit) as error:
            return self._late(known, "did not finish") if limit.expired() else _failure(known, error)

    async def _run_in_thread(
        self, threads: DaemonPool[Outcome], known: Registered, arguments: dict[str, Any]
    ) -> Outcome:
        running = threads.submit(partial(contextvars.copy_context().run, _call, known, arguments))
        try:
            async with asyncio.timeout(self._settings.timeout_s) as limit:
                return await asyncio.wrap_future(running)
        except TimeoutError:
            if not limit.expired():
                raise
            return self._late(known, "found no free thread" if running.cancelled() else "did not finish")

    def _late(self, known: Registered, what: str) -> Failed:
        said = f"python://{known.name}: {what} within plugins.python.timeout_s = {self._settings.timeout_s:g} s"
        return Failed(said, "timeout")


def _call(known: Registered, arguments: dict[str, Any]) -> Outcome:
    """Run in a thread. Every exception becomes an outcome here: SystemExit or StopIteration in a future would reach
    the event loop."""
    assert known.call is not None
    call: Callable[..., Any] = known.call
    try:
        value = call(**arguments)
    except BaseException as error:
        return _failure(known, error)
    if inspect.iscoroutine(value):
        value.close()
        said = f"python://{known.name}: returned a coroutine; register an async def function itself"
        return Failed(said, "not_json")
    return _outcome(known, value)


def _outcome(known: Registered, value: Any) -> Outcome:
    try:
        found = as_json(value)
    except NotJson as error:
        return Failed(f"python://{known.name}: {error}", "not_json")
    return Answered(found if isinstance(found, dict) else {"result": found})


def _failure(known: Registered, error: BaseException) -> Failed:
    log.warning("python://%s raised", known.name, exc_info=error)
    text = str(error)[:_TEXT_LIMIT]
    kind = type(error).__name__
    return Failed(f"{kind}: {text}" if text else kind, kind)
