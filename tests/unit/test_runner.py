"""The shell on a real loop and a real store: mailboxes, commits, trouble with the store, bugs in a step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tornflow.engine.commands import Command
from tornflow.engine.events import AttemptEnded, EventRaised, Paused, Resumed, Submitted
from tornflow.engine.scope import Scope
from tornflow.errors import ExecutionNotFound, LimitExceeded, RevisionConflict, StorageUnavailable, TornflowError
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.runtime import poison as faults
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.engine import Engine, EngineSettings
from tornflow.spi.storage import ScopeWrite, Storage, StoredScope
from tornflow.spi.task_type import Answered, Attempt, Host, Outcome
from tornflow_store_memory import open_storage as open_memory

FLOW = """
workspace: demo
dagName: {name}
type: flow
tasks:
  - category: function
    name: work
    pattern: {pattern}
    resourceName: test://work
    outputMappings: [{{source: $.output.v, target: $.context.v}}]
"""

LOOP = """
workspace: demo
dagName: loop
type: flow
tasks:
  - category: foreach
    name: each
    inputMappings: [{source: $.context.items, target: $.input.items}]
    iterationMapping: {collection: $.input.items, item: x}
    outputMappings: [{source: "$.output.sub_context[*].v", target: $.context.done}]
    tasks:
      - category: function
        name: work
        pattern: task_sync
        resourceName: test://work
        outputMappings: [{source: $.output.v, target: $.context.v}]
"""


class Work:
    """A task type whose answer a test decides."""

    protocols = ("test",)
    title = "for tests"

    def __init__(self, answer: Callable[[Attempt], Awaitable[Any]] | None = None) -> None:
        self.answer = answer
        self.attempts: list[Attempt] = []

    async def start(self, host: Host) -> None: ...

    async def execute(self, attempt: Attempt) -> Outcome:
        self.attempts.append(attempt)
        if self.answer is None:
            return Answered({"v": 1})
        outcome: Outcome = await self.answer(attempt)
        return outcome

    async def stop(self) -> None: ...


class Watched:
    """A store that counts, and fails on command."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.is_shared = inner.is_shared
        self.commits: list[ScopeWrite] = []
        self.error: TornflowError | None = None
        self.gate: asyncio.Event | None = None
        self.tried = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def commit(self, write: ScopeWrite) -> int:
        self.tried += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        revision = await self.inner.commit(write)
        self.commits.append(write)
        return revision

    async def load(self, key: ScopeKey) -> StoredScope | None:
        return await self.inner.load(key)

    def of(self, key: ScopeKey) -> list[ScopeWrite]:
        return [write for write in self.commits if write.key == key]


@asynccontextmanager
async def running(
    work: Work, storage: Any = None, flows: Sequence[str] = (), **settings: Any
) -> AsyncIterator[tuple[Engine, Watched]]:
    store = storage or Watched(open_memory("memory://", {}))
    plugins = Plugins({"test": work}, {}, (), (), ())
    engine = Engine(store, plugins, EngineSettings(**settings), lambda scope, config: {})
    await engine.start()
    try:
        for text in flows or [FLOW.format(name=name, pattern=f"task_{name}") for name in ("sync", "async")]:
            names = engine.catalog.names_in(text)
            await engine.catalog.add(text, business=names[0], feature=names[1], alias="release")
        yield engine, store
    finally:
        await engine.close()


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it never happened"
        await asyncio.sleep(0.002)


async def ended(engine: Engine, execution_id: str) -> ScopeState:
    end = time.monotonic() + 60
    while True:
        found = await engine.service.snapshot(execution_id)
        assert found is not None and time.monotonic() < end, found
        if found.state.status.is_completed:
            return found.state
        await asyncio.sleep(0.002)


def key_of(execution_id: str) -> ScopeKey:
    return ScopeKey(execution_id)


async def test_events_that_wait_for_one_commit_share_the_next() -> None:
    async with running(Work()) as (engine, store):
        execution_id = await engine.service.submit("demo:async", {})
        before = len(store.of(key_of(execution_id)))
        store.gate = asyncio.Event()
        raised = [asyncio.create_task(engine.service.raise_event(execution_id, "x", n)) for n in range(50)]
        await until(lambda: store.tried > len(store.commits))
        store.gate.set()
        await asyncio.gather(*raised)
        assert len(store.of(key_of(execution_id))) - before <= 3
        found = await engine.runner.view(key_of(execution_id))
        assert found is not None and [kept.payload for kept in found.state.events.values()] == list(range(50))


async def test_requests_fail_while_the_store_is_away_and_our_own_events_wait() -> None:
    release = asyncio.Event()

    async def late(_: Attempt) -> Outcome:
        await release.wait()
        return Answered({"v": 7})

    async with running(Work(late)) as (engine, store):
        execution_id = await engine.service.submit("demo:sync", {})
        store.error = StorageUnavailable("disk full")
        for request in (engine.service.pause(execution_id), engine.service.submit("demo:sync", {})):
            with pytest.raises(StorageUnavailable):
                await request
        tried = store.tried
        release.set()
        await until(lambda: store.tried > tried)
        assert engine.commits.trouble == "disk full"
        found = await engine.service.snapshot(execution_id)
        assert found is not None and found.state.status == "RUNNING"
        store.error = None
        assert (await ended(engine, execution_id)).context["v"] == 7


async def test_a_second_writer_is_noticed_and_its_change_is_kept() -> None:
    async with running(Work()) as (engine, store):
        execution_id = await engine.service.submit("demo:async", {})
        async with _second(engine, store) as other:
            await other.raise_event(execution_id, "theirs", 1)
            await engine.service.raise_event(execution_id, "ours", 2)
            await other.raise_event(execution_id, "theirs", 3)
        assert engine.runner.conflicts >= 1
        stored = await engine.runner.stored(key_of(execution_id))
        assert stored is not None and [kept.payload for kept in stored[0].events.values()] == [1, 2, 3]


@asynccontextmanager
async def _second(engine: Engine, store: Watched) -> AsyncIterator[Any]:
    """Another node over the same store; it has its own cache."""
    other = Engine(Watched(store.inner), engine.plugins, EngineSettings(), lambda scope, config: {})
    yield other.service
    await other.runner.drain()


async def test_a_request_that_breaks_a_step_is_refused_and_the_mailbox_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_on(monkeypatch, Paused)
    async with running(Work()) as (engine, _store):
        execution_id = await engine.service.submit("demo:async", {})
        with pytest.raises(TornflowError, match="internal error") as caught:
            await engine.service.pause(execution_id)
        assert caught.value.code == "internal_error"
        await engine.service.finish(execution_id, "work", {"v": 3}, success=True)
        assert (await ended(engine, execution_id)).context["v"] == 3


def _break_on(monkeypatch: pytest.MonkeyPatch, kind: type, times: int = 1_000_000) -> None:
    """Make the step of some events raise, as a bug would."""
    left = times
    real = faults.apply

    def apply(scope: Scope, event: Any, commands: list[Command]) -> None:
        nonlocal left
        if isinstance(event, kind) and left:
            left -= 1
            scope.state.context["half"] = "done"
            raise RuntimeError("a bug")
        real(scope, event, commands)

    monkeypatch.setattr(faults, "apply", apply)


async def test_an_answer_that_breaks_its_step_fails_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_on(monkeypatch, AttemptEnded, times=1)
    async with running(Work()) as (engine, _store):
        state = await ended(engine, await engine.service.submit("demo:sync", {}))
        assert (state.status, state.tasks["work"].msg) == ("FAILED", "internal error: a bug")
        assert "half" not in state.context


async def test_a_step_that_always_breaks_ends_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_on(monkeypatch, AttemptEnded)
    async with running(Work()) as (engine, _store):
        state = await ended(engine, await engine.service.submit("demo:sync", {}))
        assert (state.status, state.code, state.msg) == ("FAILED", "internal_error", "internal error: a bug")


@pytest.mark.parametrize("value", ["\ud800", {1, 2}, float("inf"), object(), {"big": 2**70, "nan": float("nan")}])
async def test_an_answer_that_cannot_be_stored_fails_its_task(value: Any) -> None:
    async def odd(_: Attempt) -> Outcome:
        return Answered({"v": value})

    async with running(Work(odd)) as (engine, _store):
        execution_id = await engine.service.submit("demo:sync", {})
        state = await ended(engine, execution_id)
        if value == float("inf"):  # written as null
            return
        assert state.status == "FAILED"
        assert state.tasks["work"].msg


async def test_what_cannot_be_stored_takes_nothing_else_with_it() -> None:
    async def odd(attempt: Attempt) -> Outcome:
        return Answered({"v": "\ud800" if attempt.input["x"] == 3 else attempt.input["x"]})

    mapped = "        inputMappings: [{source: $.context.x, target: $.input.x}]\n        pattern"
    text = LOOP.replace("        pattern", mapped)
    async with running(Work(odd), flows=[text]) as (engine, _store):
        state = await ended(engine, await engine.service.submit("demo:loop", {"items": [1, 2, 3, 4]}))
        assert (state.status, state.context["done"]) == ("FAILED", [1, 2, None, 4])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "answered NoneType"),
        ({"v": 1}, "answered dict"),
        (asyncio.CancelledError(), "gave up"),
        (RuntimeError("boom"), "RuntimeError: boom"),
    ],
)
async def test_whatever_a_task_type_does_the_task_ends(answer: Any, message: str) -> None:
    async def odd(_: Attempt) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async with running(Work(odd)) as (engine, _store):
        state = await ended(engine, await engine.service.submit("demo:sync", {}))
        assert state.status == "FAILED" and message in str(state.tasks["work"].msg)
        assert engine.dispatcher.in_flight == 0


async def test_an_unknown_protocol_fails_the_task_and_names_what_is_installed() -> None:
    text = FLOW.format(name="strange", pattern="task_sync").replace("test://", "gopher://")
    async with running(Work(), flows=[text]) as (engine, _store):
        state = await ended(engine, await engine.service.submit("demo:strange", {}))
        assert "gopher" in str(state.tasks["work"].msg) and ", test" in str(state.tasks["work"].msg)


async def test_no_more_attempts_run_than_allowed_and_a_waiting_one_can_be_abandoned() -> None:
    from tornflow.runtime.dispatcher import DispatchSettings

    release, most, now = asyncio.Event(), 0, 0

    async def counted(_: Attempt) -> Outcome:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await release.wait()
        now -= 1
        return Answered({"v": 1})

    settings = {"dispatch": DispatchSettings("http://127.0.0.1:1", max_in_flight=3)}
    async with running(work := Work(counted), **settings) as (engine, _store):
        ids = [await engine.service.submit("demo:sync", {}) for _ in range(10)]
        await until(lambda: len(work.attempts) == 3)
        assert engine.dispatcher.waiting == 7
        await engine.service.terminate(ids[9])
        await until(lambda: engine.dispatcher.waiting == 6)
        release.set()
        states = [await ended(engine, execution_id) for execution_id in ids]
        assert [state.status for state in states] == ["SUCCEED"] * 9 + ["TERMINATED"]
        assert (most, len(work.attempts)) == (3, 9)


async def test_mailboxes_are_bounded_and_what_was_dropped_is_read_again() -> None:
    async with running(Work(), cache_scopes=5) as (engine, _store):
        ids = [await engine.service.submit("demo:async", {"n": n}) for n in range(40)]
        await until(lambda: engine.runner.cached <= 5 + 1)
        for n, execution_id in enumerate(ids):
            await engine.service.finish(execution_id, "work", {"v": n}, success=True)
        states = [await ended(engine, execution_id) for execution_id in ids]
        assert [state.context["v"] for state in states] == list(range(40))
        assert engine.runner.cached <= 6


async def test_a_view_shows_what_is_stored_and_nothing_else() -> None:
    async with running(Work()) as (engine, store):
        execution_id = await engine.service.submit("demo:async", {})
        store.gate = asyncio.Event()
        tried = store.tried
        pausing = asyncio.create_task(engine.service.pause(execution_id))
        await until(lambda: store.tried > tried)
        looking = asyncio.create_task(engine.runner.view(key_of(execution_id)))
        await asyncio.sleep(0)
        stored = await engine.runner.stored(key_of(execution_id))
        assert stored is not None and not stored[0].is_paused
        assert not looking.done()
        store.error = StorageUnavailable("away")
        store.gate.set()
        with pytest.raises(StorageUnavailable):
            await pausing
        found = await looking
        assert found is not None and not found.state.is_paused
        store.error = None


async def test_of_two_creations_of_one_scope_one_wins() -> None:
    async with running(Work()) as (engine, _store):
        entry = await engine.catalog.resolve("demo:async")

        async def create(n: int) -> str:
            state = ScopeState(ScopeKey("one"), entry.md5, context={"n": n}, generation=(f"life{n}",))
            state.workspace, state.dag_name = "demo", "async"
            try:
                await engine.runner.create(state, entry.compiled, Submitted(n))
            except RevisionConflict:
                return "lost"
            return "won"

        assert sorted(await asyncio.gather(*map(create, range(5)))) == ["lost"] * 4 + ["won"]


async def test_draining_stores_what_is_in_hand() -> None:
    async with running(Work()) as (engine, store):
        execution_id = await engine.service.submit("demo:async", {})
        raised = [asyncio.create_task(engine.service.raise_event(execution_id, "x", n)) for n in range(5)]
        await asyncio.sleep(0)
        await engine.runner.drain()
        await asyncio.gather(*raised)
        stored = await engine.runner.stored(key_of(execution_id))
        assert stored is not None and len(stored[0].events) == 5


async def test_a_store_that_stays_away_does_not_hold_up_the_end() -> None:
    release = asyncio.Event()

    async def late(_: Attempt) -> Outcome:
        await release.wait()
        return Answered({"v": 1})

    async with running(Work(late)) as (engine, store):
        execution_id = await engine.service.submit("demo:sync", {})
        store.error = StorageUnavailable("away")
        tried = store.tried
        release.set()
        await until(lambda: store.tried > tried)
        async with asyncio.timeout(5):
            await engine.runner.drain()
        assert await store.owners() == [engine.node_id], "a restart finds what was not stored"
        stored = await engine.runner.stored(key_of(execution_id))
        assert stored is not None and stored[0].tasks["work"].is_in_flight


async def test_an_event_for_nobody_is_refused() -> None:
    async with running(Work()) as (engine, _store):
        with pytest.raises(ExecutionNotFound):
            await engine.runner.apply(ScopeKey("nobody"), Resumed(0))
        engine.runner.post(ScopeKey("nobody"), Resumed(0))
        await engine.runner.drain()
        assert engine.runner.cached == 0
        await until(lambda: not engine.runner._running)  # a step that has ended is not kept


async def test_too_many_kept_events_are_refused_by_name() -> None:
    from tornflow.engine.program import Rules

    async with running(Work(), rules=Rules(event_buffer=2)) as (engine, _store):
        execution_id = await engine.service.submit("demo:async", {})
        for n in range(2):
            await engine.runner.apply(key_of(execution_id), EventRaised(0, "x", n))
        with pytest.raises(LimitExceeded, match="engine.event_buffer"):
            await engine.runner.apply(key_of(execution_id), EventRaised(0, "x", 3))
