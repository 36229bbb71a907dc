"""Writes whose answer is lost: they are found out, never guessed (runtime/commits.py, runtime/runner.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.engines import CHILD, PARENT, TWO, echo, ends, engine_with, eventually, never
from tests.unit.test_runner import Watched, Work, ended, key_of, until
from tornflow.errors import DuplicateKey, RevisionConflict, StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.runtime.commits import Commits, CommitSettings, OutcomeLost
from tornflow.spi.storage import ExecutionQuery, ScopeWrite
from tornflow.spi.task_type import Answered, Attempt, Outcome
from tornflow.testing.storage_support import creation, summary
from tornflow_store_memory import open_storage

Picked = Callable[[ScopeWrite], bool]


class Lossy(Watched):
    """Loses the answer of the next write that ``picks`` chooses. ``arrives``: it is stored all the same, once
    ``arrived`` is set (None: at once)."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.picks: Picked | None = None
        self.arrives = True
        self.arrived: asyncio.Event | None = None
        self.lost: list[ScopeWrite] = []
        self.late: list[asyncio.Task[None]] = []

    async def commit(self, write: ScopeWrite) -> int:
        if self.picks is None or not self.picks(write):
            return await super().commit(write)
        self.picks = None
        self.lost.append(write)
        if self.arrives and self.arrived is None:
            await super().commit(write)
        elif self.arrives:
            self.late.append(asyncio.create_task(self._arrive(write)))
        raise StorageUnavailable("connection reset", is_unknown=True)

    async def _arrive(self, write: ScopeWrite) -> None:
        assert self.arrived is not None
        await self.arrived.wait()
        try:
            await self.inner.commit(write)
        except RevisionConflict:
            pass  # somebody was first

    @classmethod
    def new(cls) -> Lossy:
        return cls(open_storage("memory://", {}))


def any_write(_: ScopeWrite) -> bool:
    return True


@pytest.mark.parametrize("arrives", [True, False])
async def test_the_commands_of_a_step_are_carried_out_whether_its_write_had_arrived_or_not(arrives: bool) -> None:
    release = asyncio.Event()

    async def answer(attempt: Attempt) -> Outcome:
        if attempt.task_name == "a":
            await release.wait()
        return Answered({})

    store = Lossy.new()
    store.arrives = arrives
    async with engine_with([TWO], work := Work(answer), store) as (engine, _):
        execution_id = await engine.service.submit("demo:two", {})
        await until(lambda: len(work.attempts) == 1)
        store.picks = any_write
        release.set()
        assert (await ended(engine, execution_id)).status == "SUCCEED"
        assert len(store.lost) == 1
    assert [one.task_name for one in work.attempts] == ["a", "b"]


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_submission_whose_answer_was_lost_is_accepted_and_carried_out_once(arrives: bool) -> None:
    store = Lossy.new()
    store.arrives, store.picks = arrives, any_write
    async with engine_with([TWO], work := Work(), store) as (engine, _):
        execution_id = await engine.service.submit("demo:two", {})
        assert (await ended(engine, execution_id)).status == "SUCCEED"
        assert [one.execution_id for one in await store.executions(ExecutionQuery())] == [execution_id]
    assert len(work.attempts) == 2


async def test_a_write_that_arrives_while_it_is_sent_again_takes_effect_once() -> None:
    store = Lossy.new()
    store.picks, store.arrived = any_write, asyncio.Event()
    store.arrived.set()  # it arrives a turn of the loop later, between the first look and the second write
    async with engine_with([TWO], work := Work(), store) as (engine, _):
        execution_id = await engine.service.submit("demo:two", {})
        assert (await ended(engine, execution_id)).status == "SUCCEED"
        await asyncio.gather(*store.late)
    assert len(work.attempts) == 2


async def test_a_submission_that_cannot_be_found_out_says_so_and_is_carried_out_if_it_stands() -> None:
    store = Lossy.new()
    async with engine_with([TWO], work := Work(), store, unknown_outcome_patience_s=0.05) as (engine, _):
        store.picks = any_write
        real = store.inner.load

        async def away(_: ScopeKey) -> Any:
            raise StorageUnavailable("away")

        store.load = away  # type: ignore[method-assign]
        with pytest.raises(StorageUnavailable) as caught:
            await engine.service.submit("demo:two", {})
        assert caught.value.is_unknown
        execution_id = str(caught.value.details["execution_id"])
        store.load = real  # type: ignore[method-assign]
        await ends(engine, execution_id)
    assert [one.execution_id for one in work.attempts] == [execution_id] * 2


async def test_a_request_whose_outcome_stays_unknown_is_told_so_in_time_and_its_effect_comes() -> None:
    store = Lossy.new()
    async with engine_with([TWO], Work(never), store, unknown_outcome_patience_s=0.05) as (engine, _):
        execution_id = await engine.service.submit("demo:two", {})
        real = store.inner.load
        store.picks = any_write

        async def away(_: ScopeKey) -> Any:
            raise StorageUnavailable("away")

        store.load = away  # type: ignore[method-assign]
        for change in (engine.service.pause, engine.service.resume, engine.service.pause):  # the first one, and later
            with pytest.raises(StorageUnavailable) as caught:
                await asyncio.wait_for(change(execution_id), 30)
            assert caught.value.is_unknown
        store.load = real  # type: ignore[method-assign]
        shown = await engine.service.snapshot(execution_id)
        assert shown is not None and shown.state.is_paused


async def test_after_others_have_written_all_work_of_ours_is_named_again_and_done_once() -> None:
    """Whether the lost write stood cannot be told any more: the next state does not hold its name."""
    release = asyncio.Event()

    async def answer(attempt: Attempt) -> Outcome:
        if attempt.task_name == "a":
            await release.wait()
        return Answered({})

    store = Lossy.new()
    async with engine_with([TWO], work := Work(answer), store) as (engine, _):
        execution_id = await engine.service.submit("demo:two", {})
        await until(lambda: len(work.attempts) == 1)
        key = key_of(execution_id)

        def picks(write: ScopeWrite) -> bool:
            return write.key == key

        real = store.inner.load

        async def meanwhile(asked: ScopeKey) -> Any:
            """Another writer comes first: it changes nothing but the name of the write."""
            store.load = real  # type: ignore[method-assign]
            found = await real(asked)
            assert found is not None
            head = found.head.replace(store.lost[0].head.split(b'"w":"')[1].split(b'"')[0], b"theirs")
            await store.inner.commit(
                ScopeWrite(asked, found.revision, head, life=found.life, owners=found.owners, due_at=found.due_at)
            )
            return await real(asked)

        store.picks = picks
        store.load = meanwhile  # type: ignore[method-assign]
        release.set()
        assert (await ended(engine, execution_id)).status == "SUCCEED"
    assert [one.task_name for one in work.attempts] == ["a", "b"]


async def test_a_submission_that_is_cancelled_while_it_is_stored_is_not_forgotten() -> None:
    store = Watched(open_storage("memory://", {}))
    async with engine_with([TWO], work := Work(), store) as (engine, _):
        real, arrive = store.inner.commit, asyncio.Event()

        async def slow(write: ScopeWrite) -> int:
            async def really() -> int:
                await arrive.wait()
                return int(await real(write))

            return await asyncio.shield(asyncio.ensure_future(really()))

        store.inner.commit = slow  # type: ignore[method-assign]
        submitting = asyncio.create_task(engine.service.submit("demo:two", {}))
        await until(lambda: store.tried > 0)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        arrive.set()

        async def is_over() -> bool:
            found = await store.executions(ExecutionQuery())
            return [one.status for one in found] == ["succeed"]

        await eventually(is_over)
    assert len(work.attempts) == 2


async def test_the_start_of_a_sub_flow_that_is_abandoned_while_it_is_stored_leaves_no_flow_running() -> None:
    async with engine_with([PARENT, CHILD], work := Work(echo)) as (engine, store):
        real, arrive, seen = store.inner.commit, asyncio.Event(), asyncio.Event()

        async def slow(write: ScopeWrite) -> int:
            async def really() -> int:
                if "child" in write.key.execution_id and write.expected_revision == 0:
                    seen.set()
                    await arrive.wait()
                return int(await real(write))

            return await asyncio.shield(asyncio.ensure_future(really()))

        store.inner.commit = slow
        execution_id = await engine.service.submit("demo:parent", {"n": 1})
        await seen.wait()
        await engine.service.terminate(execution_id)
        arrive.set()

        async def is_over() -> bool:
            found = await store.executions(ExecutionQuery(parent_id=execution_id))
            return [one.status for one in found] in (["terminated"], ["succeed"])

        await eventually(is_over)
        assert not [one for one in work.attempts if one.task_name == "sub"]


# --- commits by themselves


async def commits_on(store: Any, **settings: Any) -> Commits:
    await store.open()
    return Commits(store, CommitSettings(**settings), "tag")


def named(name: str, **changes: Any) -> ScopeWrite:
    return creation("one", head=b'{"w":"%s"}' % name.encode(), **changes)


async def test_a_write_that_stands_is_found_by_its_name() -> None:
    commits = await commits_on(store := Watched(open_storage("memory://", {})))
    await store.commit(named("a"))
    await commits.find_out(named("a"))
    assert store.tried == 1, "nothing was written again"


async def test_a_write_that_is_not_there_is_sent_again() -> None:
    commits = await commits_on(store := Watched(open_storage("memory://", {})))
    await commits.find_out(named("a"))
    found = await store.load(ScopeKey("one"))
    assert found is not None and found.revision == 1
    change = ScopeWrite(ScopeKey("one"), 1, b'{"w":"b"}')
    await commits.find_out(change)
    await commits.find_out(change)
    found = await store.load(ScopeKey("one"))
    assert found is not None and (found.revision, found.head) == (2, b'{"w":"b"}')


@pytest.mark.parametrize(
    "lost",
    [
        ScopeWrite(ScopeKey("one"), 1, b'{"w":"b"}'),
        ScopeWrite(ScopeKey("one"), 2, b'{"w":"b"}', life="other"),
        ScopeWrite(ScopeKey("one"), 5, b'{"w":"b"}'),
    ],
)
async def test_where_another_state_stands_the_outcome_is_lost(lost: ScopeWrite) -> None:
    commits = await commits_on(store := Watched(open_storage("memory://", {})))
    await store.commit(named("a"))
    await store.commit(ScopeWrite(ScopeKey("one"), 1, b'{"w":"theirs"}'))
    with pytest.raises(OutcomeLost):
        await commits.find_out(lost)


async def test_a_scope_that_is_gone_is_not_brought_back() -> None:
    commits = await commits_on(Watched(open_storage("memory://", {})))
    with pytest.raises(OutcomeLost):
        await commits.find_out(ScopeWrite(ScopeKey("one"), 3, b'{"w":"b"}'))


async def test_a_key_that_another_execution_holds_ends_the_search() -> None:
    commits = await commits_on(store := Watched(open_storage("memory://", {})))
    await store.commit(creation("other", idempotency_key="k", summary=summary("other")))
    with pytest.raises(DuplicateKey):
        await commits.find_out(named("a", idempotency_key="k"))


async def test_a_store_that_is_away_is_waited_for_but_not_when_the_server_stops() -> None:
    commits = await commits_on(store := Watched(open_storage("memory://", {})))
    store.error = StorageUnavailable("away")
    looking = asyncio.create_task(commits.find_out(named("a")))
    await until(lambda: store.tried >= 2)
    assert commits.trouble == "away" and not looking.done()
    store.error = None
    await looking
    assert commits.trouble == ""
    store.error, commits.is_draining = StorageUnavailable("away"), True
    with pytest.raises(StorageUnavailable) as caught:
        await commits.find_out(ScopeWrite(ScopeKey("one"), 1, b'{"w":"b"}'))
    assert caught.value.is_unknown
