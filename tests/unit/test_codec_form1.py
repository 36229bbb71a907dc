"""A store of the version before lives opens and goes on, whatever its server was doing when it died.

``data/make_form_1.py`` says how the fixtures were made, by the code of that version.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines import engine_with
from tests.unit.test_runner import Watched, Work, ended, key_of, until
from tornflow.model.execution import ScopeKey
from tornflow.runtime.codec import decode
from tornflow.runtime.engine import Engine
from tornflow.spi.storage import ExecutionQuery, StoredRecord, StoredScope, Summary
from tornflow.spi.task_type import Answered, Attempt, Outcome
from tornflow_store_memory import open_storage

FORMS = ("form_1", "form_1_split")
DATA = Path(__file__).with_name("data")


def read(form: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / f"{form}.json").read_text("utf-8"))
    return found


def stored(row: dict[str, Any]) -> StoredScope:
    parts = {name: body.encode() for name, body in row["parts"].items()}
    owners = () if row["owner"] is None else (row["owner"],)
    key = ScopeKey(row["execution_id"], row["path"])
    return StoredScope(key, row["revision"], row["head"].encode(), parts, "", owners, row["due_at"])


@asynccontextmanager
async def opened(form: str, work: Work | None = None) -> AsyncIterator[tuple[Engine, Watched, dict[str, str]]]:
    """Return an engine over what the old version left, the ids of executions by what they do."""
    data = read(form)
    inner = open_storage("memory://", {})
    await inner.open()
    for kind, key, body in data["records"]:
        await inner.put_record(kind, key, body.encode())
    rows = sorted(data["scopes"], key=lambda row: (row["execution_id"], row["path"]))
    await inner.restore([
        StoredRecord(stored(row), Summary(**row["summary"]) if row["summary"] else None, row["key"]) for row in rows
    ])  # fmt: skip
    async with engine_with((), work, Watched(inner)) as (engine, store):
        yield engine, store, data["ids"]


async def end_of(engine: Engine, execution_id: str) -> tuple[str, dict[str, Any]]:
    state = await ended(engine, execution_id)
    return state.status.value, {name: value for name, value in state.context.items() if name in ("v", "done")}


@pytest.mark.parametrize("form", FORMS)
async def test_attempts_in_flight_are_made_again_under_their_old_keys(form: str) -> None:
    async with opened(form, work := Work()) as (engine, _store, ids):
        assert await end_of(engine, ids["chain"]) == ("SUCCEED", {"v": 1})
        assert await end_of(engine, ids["loop"]) == ("SUCCEED", {"done": [1, 1, 1]})
    keys = [one.idempotency_key for one in work.attempts if one.execution_id in (ids["chain"], ids["loop"])]
    assert sorted(keys) == sorted([
        f"{ids['chain']}/a/1", f"{ids['chain']}/b/1", f"{ids['loop']}/each_1-work/1", f"{ids['loop']}/each_2-work/1",
    ])  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
async def test_what_waits_for_somebody_outside_goes_on_when_told(form: str) -> None:
    async with opened(form) as (engine, _store, ids):
        for execution_id in (ids["asynchronous"], "order-7"):
            await engine.service.finish(execution_id, "a", {"v": 3}, success=True)
            assert await end_of(engine, execution_id) == ("SUCCEED", {"v": 3})
        for payload in (2, 3):
            await engine.service.raise_event(ids["waiters"], "GO", payload)
        status, context = await end_of(engine, ids["waiters"])
        assert (status, sorted(map(str, context["done"]))) == ("SUCCEED", sorted(map(str, [2, 3, {"n": 0}])))


@pytest.mark.parametrize("form", FORMS)
async def test_sub_flows_tell_their_parents(form: str) -> None:
    async with opened(form) as (engine, store, ids):
        assert await end_of(engine, ids["orphan"]) == ("SUCCEED", {"v": 5})
        (child,) = await store.executions(ExecutionQuery(parent_id=ids["parent"]))
        await engine.service.finish(child.execution_id, "a", {"v": 8}, success=True)
        assert await end_of(engine, ids["parent"]) == ("SUCCEED", {"v": 8})


@pytest.mark.parametrize("form", FORMS)
async def test_a_pause_holds_on_and_its_resume_reaches_the_groups(form: str) -> None:
    async with opened(form) as (engine, _store, ids):
        shown = await engine.service.snapshot(ids["paused"])
        assert shown is not None and shown.state.is_paused
        group = await engine.runner.view(ScopeKey(ids["paused"], "each_0"))
        assert group is not None and group.state.is_paused
        await engine.service.resume(ids["paused"])
        assert await end_of(engine, ids["paused"]) == ("SUCCEED", {"done": [1, 1]})


@pytest.mark.parametrize("form", FORMS)
async def test_timers_callbacks_and_kept_events_are_still_there(form: str) -> None:
    async def answer(attempt: Attempt) -> Outcome:
        return Answered({"v": 1})

    async with opened(form, work := Work(answer)) as (engine, store, ids):
        assert await end_of(engine, ids["timer"]) == ("SUCCEED", {})
        await until(lambda: any(not one.task_name for one in work.attempts))
        assert [one.execution_id for one in work.attempts if not one.task_name] == [ids["told"]]
        kept = await engine.service.snapshot(ids["kept"])
        assert kept is not None
        assert [(one.name, one.payload) for one in kept.state.events.values()] == [("nobody", {"waits": 1})]
        assert await store.summary(ids["keyed"]) is not None


@pytest.mark.parametrize("form", FORMS)
async def test_the_next_write_is_in_the_present_form(form: str) -> None:
    async with opened(form) as (engine, store, ids):
        await engine.service.raise_event(ids["asynchronous"], "any", 1)
        found = await store.load(key_of(ids["asynchronous"]))
        assert found is not None and json.loads(found.head)["v"] == 2
        assert not decode(found).is_old
        assert decode(found).state.context["flow_execution_id"] == ids["asynchronous"]


@pytest.mark.parametrize("form", FORMS)
async def test_everything_of_a_loop_that_is_rewritten_can_be_read_again(form: str) -> None:
    """Nothing of the old form may be left behind in a part that the first write does not touch."""
    async with opened(form) as (engine, store, ids):
        await engine.service.raise_event(ids["waiters"], "nobody waits for this", 1)
        found = await store.load(key_of(ids["waiters"]))
        assert found is not None
        state = decode(found).state
        before = next(stored(row) for row in read(form)["scopes"] if row["execution_id"] == ids["waiters"])
        old = decode(before).state
        assert (state.context, len(state.waiters)) == (old.context, 2)
        assert state.tasks["each"].groups is not None and old.tasks["each"].groups is not None
        assert state.tasks["each"].groups.marks == old.tasks["each"].groups.marks
