"""Rules that the runtime does not keep yet. Each test moves to its room when it passes."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from tests.unit.engines import TWO, engine_with, eventually
from tests.unit.test_codec_form1 import FORMS, end_of, opened
from tests.unit.test_runner import Work, until
from tornflow.runtime import tasks as tasks_module
from tornflow.spi.storage import ExecutionQuery


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
