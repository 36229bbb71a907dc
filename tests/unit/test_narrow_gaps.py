"""Narrow gaps: something comes in at the very moment at which something else is decided. Each was a fault once."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from tests.unit.engines import TWO, engine_with, eventually, never
from tests.unit.test_codec_form1 import FORMS, end_of, opened
from tests.unit.test_runner import LOOP, Watched, Work, ended, key_of, until
from tornflow.engine.events import TimerFired
from tornflow.errors import StorageUnavailable
from tornflow.runtime import tasks as tasks_module
from tornflow.runtime.codec import written_by
from tornflow.spi.storage import ExecutionQuery, ScopeWrite
from tornflow.spi.task_type import Answered, Attempt, Outcome
from tornflow_store_memory import open_storage

MAPPED = "resourceName: test://work\n        inputMappings: [{source: $.context.x, target: $.input.x}]"


@pytest.mark.parametrize("form", FORMS)
async def test_a_sub_flow_that_was_being_started_is_found_again_and_not_started_twice(form: str) -> None:
    async with opened(form) as (engine, store, ids):
        key = ids["starter"]

        async def knows_its_child() -> bool:
            shown = await engine.service.snapshot(key)
            return shown is not None and shown.state.tasks["sub"].child_id is not None

        await eventually(knows_its_child)
        (child,) = await store.executions(ExecutionQuery(parent_id=key))
        await engine.service.finish(child.execution_id, "a", {"v": 8}, success=True)
        assert await end_of(engine, key) == ("SUCCEED", {"v": 8})


async def test_work_that_must_never_end_survives_a_cancellation_that_nobody_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A driver that cancels a future of its own makes whoever awaits it raise ``CancelledError``."""
    monkeypatch.setattr(tasks_module, "_PAUSE_S", 0)
    tasks, begun, enough = tasks_module.Tasks(), 0, asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            enough.set()
        raise asyncio.CancelledError

    tasks.keep_running("poll", work)
    try:
        async with asyncio.timeout(5):
            await enough.wait()
    finally:
        await tasks.close()


async def test_scripts_of_a_callback_given_with_a_submission_are_compiled_beside_the_loop() -> None:
    script = "a" + "-a" * 5000
    rules = [{"source": "1", "target": "$.input.x", "transform": script}]
    callback = json.dumps({"resourceName": "test://told", "inputMappings": rules})
    async with engine_with([TWO], work := Work()) as (engine, _):
        places: list[threading.Thread] = []
        real = engine.outbox_relay._callbacks._transforms

        def noted(text: str) -> Any:
            places.append(threading.current_thread())
            return real(text)

        engine.outbox_relay._callbacks._transforms = noted
        await engine.service.submit("demo:two", {"a": 1}, callback=callback)
        await until(lambda: any(not one.task_name for one in work.attempts))
    assert places and threading.main_thread() not in places


class Busy(Watched):
    """Something about an execution comes in at the very moment at which the store has answered."""

    on_answer: Any = None

    async def commit(self, write: ScopeWrite) -> int:
        revision = await super().commit(write)
        self._answered(write.key.execution_id)
        return revision

    async def delete_executions(self, targets: Any) -> Any:
        were_removed = await self.inner.delete_executions(targets)
        for target in targets:
            self._answered(target.execution_id)
        return were_removed

    def _answered(self, execution_id: str) -> None:
        if self.on_answer is not None:
            on_answer, self.on_answer = self.on_answer, None
            on_answer(execution_id)


async def test_a_purged_execution_is_gone_although_an_event_came_in_meanwhile() -> None:
    """A late answer or timer, which changes nothing, must not keep a copy of what was deleted."""
    async with engine_with([TWO], Work(), Busy(open_storage("memory://", {}))) as (engine, store):
        await engine.service.start_workflow("demo:two", instance_id="i", raw_input="{}", component="dapr")
        await ended(engine, "i")
        store.on_answer = lambda execution_id: engine.runner.post(key_of(execution_id), TimerFired(0))
        await engine.service.purge("i")
        await until(lambda: not engine.runner.queued)
        assert await engine.service.snapshot("i") is None
        await engine.service.start_workflow("demo:two", instance_id="i", raw_input="{}", component="dapr")


async def test_a_new_life_is_shown_although_an_event_for_the_old_one_came_in_meanwhile() -> None:
    async with engine_with([TWO], Work(never), Busy(open_storage("memory://", {}))) as (engine, store):

        async def start() -> None:
            await engine.service.start_workflow("demo:two", instance_id="i", raw_input="{}", component="dapr")

        await start()
        await engine.service.terminate("i")
        await ended(engine, "i")
        store.on_answer = lambda execution_id: engine.runner.post(key_of(execution_id), TimerFired(0))
        await start()
        await until(lambda: not engine.runner.queued)
        shown = await engine.service.snapshot("i")
        assert shown is not None and shown.state.status == "RUNNING"


class Stubborn(Watched):
    """The creation arrives, its answer does not, and the execution goes on before anybody looks."""

    is_lost = False

    async def commit(self, write: ScopeWrite) -> int:
        revision = await super().commit(write)
        if write.expected_revision == 0 and not self.is_lost:
            self.is_lost = True
            head = write.head.replace(written_by(write).encode(), b"of another node")
            await self.inner.commit(
                ScopeWrite(write.key, revision, head, life=write.life, owners=write.owners, due_at=write.due_at)
            )
            raise StorageUnavailable("connection reset", is_unknown=True)
        return revision


@pytest.mark.parametrize("family", ["rill", "dapr"])
async def test_a_start_that_stood_is_accepted_although_others_have_written_since(family: str) -> None:
    """A life is made for one creation: wherever it stands, the creation stands."""
    async with engine_with([TWO], Work(), Stubborn(open_storage("memory://", {}))) as (engine, store):
        if family == "rill":
            execution_id = await engine.service.submit("demo:two", {})
        else:
            execution_id = await engine.service.start_workflow(
                "demo:two", instance_id="i", raw_input="{}", component="dapr"
            )
        assert store.is_lost
        assert (await ended(engine, execution_id)).status == "SUCCEED"


class Full(Watched):
    """Every write may or may not have been stored, for as long as the test likes; reading goes well."""

    is_full = False

    async def commit(self, write: ScopeWrite) -> int:
        if self.is_full:
            self.tried += 1
            raise StorageUnavailable("disk I/O error", is_unknown=True)
        return await super().commit(write)


async def test_a_view_shows_what_is_stored_while_the_outcome_of_a_step_is_unknown() -> None:
    """A full disk: requests that only read need not wait until it has space again."""
    async with engine_with([TWO], Work(never), Full(open_storage("memory://", {}))) as (engine, store):
        execution_id = await engine.service.submit("demo:two", {})
        store.is_full, tried = True, store.tried
        pausing = asyncio.create_task(engine.service.pause(execution_id))
        await until(lambda: store.tried > tried)
        try:
            async with asyncio.timeout(5):
                shown = await engine.service.snapshot(execution_id)
            assert shown is not None and not shown.state.is_paused
        finally:
            store.is_full = False
            await asyncio.wait({pausing})


async def test_results_are_those_of_the_present_life_although_an_old_group_was_at_work() -> None:
    """The mailbox of an old group runs at the moment at which the new one is stored."""
    text = LOOP.replace("resourceName: test://work", MAPPED)

    async def answer(attempt: Attempt) -> Outcome:
        return Answered({"v": attempt.input["x"]})

    store = Busy(open_storage("memory://", {}))
    async with engine_with([text], Work(answer), store) as (engine, _):

        async def run(value: str) -> None:
            raw = json.dumps({"items": [value]})
            await engine.service.start_workflow("demo:loop", instance_id="i", raw_input=raw, component="dapr")
            state = await ended(engine, "i")
            assert (state.status, state.context["done"]) == ("SUCCEED", [value])

        await run("old")
        real = store.inner.commit

        async def commit(write: ScopeWrite) -> int:
            revision = int(await real(write))
            if write.key.path and write.expected_revision == 0:
                engine.runner.post(write.key, TimerFired(0))
            return revision

        store.inner.commit = commit  # type: ignore[method-assign]
        await run("new")
