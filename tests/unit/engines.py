"""Engines for tests: over one store or several over a shared one, with task types whose answers a test decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.unit.test_runner import Watched, Work
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.engine import Engine, EngineSettings
from tornflow.spi.task_type import Answered, Attempt, Host, Outcome
from tornflow_store_memory import open_storage

TWO = """
workspace: demo
dagName: two
type: flow
tasks:
  - {category: function, name: a, pattern: task_sync, resourceName: 'test://a', next: b}
  - {category: function, name: b, pattern: task_sync, resourceName: 'test://b'}
"""

TWO_CALLBACKS = """
workspace: demo
dagName: callbacks
type: flow
tasks:
  - {category: function, name: a, pattern: task_async, resourceName: 'test://a', next: b,
     outputMappings: [{source: $.output.v, target: $.context.a}]}
  - {category: function, name: b, pattern: task_async, resourceName: 'test://b',
     outputMappings: [{source: $.output.v, target: $.context.b}]}
"""

PARENT = """
workspace: demo
dagName: parent
type: flow
tasks:
  - category: function
    name: sub
    pattern: flow_sync
    resourceName: sub://demo:child
    inputMappings: [{source: $.context.n, target: $.input.n}]
    outputMappings: [{source: $.output.out, target: $.context.result}]
"""

CHILD = """
workspace: demo
dagName: child
type: flow
tasks:
  - category: function
    name: work
    pattern: task_sync
    resourceName: test://work
    inputMappings: [{source: $.context.n, target: $.input.n}]
    outputMappings: [{source: $.output.n, target: $.context.out}]
"""


class Sub:
    """Starts sub-flows."""

    protocols = ("sub",)
    title = "sub-flows"

    async def start(self, host: Host) -> None:
        self.host = host

    async def execute(self, attempt: Attempt) -> Outcome:
        return Answered({"execution_id": await self.host.start_child(attempt, attempt.rest, dict(attempt.input))})

    async def stop(self) -> None: ...


async def never(_: Attempt) -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


async def echo(attempt: Attempt) -> Outcome:
    return Answered({"n": attempt.input.get("n")})


class Shared(Watched):
    """One of several views of a store that more than one node uses. ``partitioned``: nothing gets through."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.is_shared = True

    async def close(self) -> None:
        """The other nodes go on."""


def made(
    store: Any, work: Work, *, clock: Any = None, identities: Any = None, observers: Any = (), **settings: Any
) -> Engine:
    plugins = Plugins({"test": work, "sub": Sub()}, {}, (), (), (), task_observers=observers)
    return Engine(
        store, plugins, EngineSettings(**settings), lambda scope, config: {}, clock=clock, identities=identities
    )


async def add(engine: Engine, flows: Sequence[str]) -> None:
    for text in flows:
        names = engine.catalog.names_in(text)
        await engine.catalog.add(text, business=names[0], feature=names[1], alias="release")


@asynccontextmanager
async def engine_with(
    flows: Sequence[str], work: Work | None = None, store: Any = None, **settings: Any
) -> AsyncIterator[tuple[Engine, Any]]:
    store = store or Watched(open_storage("memory://", {}))
    engine = made(store, work or Work(), **settings)
    await engine.start()
    try:
        await add(engine, flows)
        yield engine, store
    finally:
        await engine.close()


@asynccontextmanager
async def nodes(
    count: int, flows: Sequence[str], works: Sequence[Work] = (), **settings: Any
) -> AsyncIterator[tuple[list[Engine], Any]]:
    """Run several nodes over one memory store; they share nothing else."""
    inner = open_storage("memory://", {})
    await inner.open()
    engines: list[Engine] = []
    async with AsyncExitStack() as stack:
        for number in range(count):
            engine = made(Shared(inner), works[number] if works else Work(), **settings)
            await engine.start()
            stack.push_async_callback(engine.close)
            engines.append(engine)
        await add(engines[0], flows)
        yield engines, inner


async def eventually(condition: Callable[[], Awaitable[bool]], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.005)


async def stored_state(engine: Engine, execution_id: str, path: str = "") -> ScopeState:
    """Return what lies in the store, past every cache."""
    found = await engine.runner.stored(ScopeKey(execution_id, path))
    assert found is not None
    return found[0]


async def ends(engine: Engine, execution_id: str) -> ScopeState:
    """Wait until an execution has ended in the store."""

    async def is_over() -> bool:
        return (await stored_state(engine, execution_id)).status.is_completed

    await eventually(is_over)
    return await stored_state(engine, execution_id)


async def waits_for(engine: Engine, execution_id: str, task: str, status: str = "RUNNING", path: str = "") -> None:
    """Wait until a task has a status and no attempt of it is in flight."""

    async def is_there() -> bool:
        found = await engine.runner.stored(ScopeKey(execution_id, path))
        state = None if found is None else found[0].tasks.get(task)
        return state is not None and state.status == status and not state.is_in_flight

    await eventually(is_there)
