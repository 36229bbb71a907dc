"""Failed tasks inside loops: found in the store after the end of a flow, within bounds, and told to callbacks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.by_hand import flow_of, function, loop
from tests.unit.engines import add, ends, eventually
from tests.unit.test_runner import Watched, Work
from tornflow.api.rill.callback import callback_body, name_failures
from tornflow.errors import StorageUnavailable
from tornflow.model.execution import GroupsState, Mark, ScopeKey, ScopeState, TaskState
from tornflow.model.generation import Generation
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.runtime import group_failures
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.engine import Engine, EngineSettings
from tornflow.runtime.group_failures import failed_tasks, suspects
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome
from tornflow_store_memory import open_storage

F, S, R = Mark.FAILED, Mark.SUCCEED, Mark.RUNNING


def scope(path: str, generation: Generation, *tasks: TaskState) -> ScopeState:
    state = ScopeState(ScopeKey("demo:ex_c_1", path), "md5", FlowStatus.FAILED)
    state.generation = generation
    state.tasks = {task.name: task for task in tasks}
    return state


def foreach(name: str, *marks: int, attempt: int = 1) -> TaskState:
    groups = GroupsState(len(marks), bytearray(marks), next=len(marks))
    return TaskState(name, TaskStatus.FAILED, attempt=attempt, groups=groups)


def leaf(name: str = "leaf", size: int = 0, status: TaskStatus = TaskStatus.FAILED) -> TaskState:
    return TaskState(name, status, code="c", input={"pad": "x" * size}, output={})


class Scopes:
    """What lies in the store."""

    def __init__(self, *states: ScopeState) -> None:
        self.states = {state.key.path: state for state in states}
        self.read: list[str] = []
        self.errors: dict[str, Exception] = {}

    async def load(self, key: ScopeKey) -> ScopeState | None:
        self.read.append(key.path)
        if key.path in self.errors:
            raise self.errors.pop(key.path)
        return self.states.get(key.path)


async def test_every_level_is_read_and_only_groups_that_may_have_failed() -> None:
    root = scope("", ("life",), foreach("rows", S, F, R), leaf("plain"))
    stored = Scopes(
        scope("rows_1", ("life", 1), foreach("cells", F, S), leaf("fine", status=TaskStatus.SUCCEED)),
        scope("rows_2", ("life", 1), leaf()),
        scope("rows_1-cells_0", ("life", 1, 1), leaf()),
    )
    found = await failed_tasks(stored.load, suspects(root))
    assert list(found) == ["rows_1-cells", "rows_2-leaf", "rows_1-cells_0-leaf"]
    assert stored.read == ["rows_1", "rows_2", "rows_1-cells_0"]


async def test_groups_of_another_run_or_life_and_groups_that_are_gone_say_nothing() -> None:
    root = scope("", ("life",), foreach("rows", F, F, F, attempt=2))
    stored = Scopes(scope("rows_0", ("life", 1), leaf()), scope("rows_1", ("other", 2), leaf()))
    assert await failed_tasks(stored.load, suspects(root)) == {}


@pytest.mark.parametrize("bound", ["MAX_TASKS", "MAX_GROUPS"])
async def test_so_many_are_named_and_no_more_read(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_failures, bound, 70)
    root = scope("", ("life",), foreach("rows", *[F] * 200))
    stored = Scopes(*(scope(f"rows_{index}", ("life", 1), leaf()) for index in range(200)))
    found = await failed_tasks(stored.load, suspects(root))
    assert list(found) == [f"rows_{index}-leaf" for index in range(70)]
    assert len(stored.read) <= 128


async def test_beyond_so_many_bytes_only_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_failures, "MAX_BYTES", 250)
    root = scope("", ("life",), foreach("rows", F, F, F))
    states = [scope(f"rows_{index}", ("life", 1), leaf(size=100)) for index in range(3)]
    found = await failed_tasks(Scopes(*states).load, suspects(root))
    assert [(task.code, task.input is None) for task in found.values()] == [("c", False), ("c", False), ("c", True)]
    assert states[2].tasks["leaf"].input is not None


async def test_a_store_that_is_away_is_waited_for_and_a_damaged_group_is_left_out() -> None:
    root = scope("", ("life",), foreach("rows", F, F))
    stored = Scopes(*(scope(f"rows_{index}", ("life", 1), leaf()) for index in range(2)))
    stored.errors = {"rows_0": StorageUnavailable("away"), "rows_1": ValueError("broken")}
    assert list(await failed_tasks(stored.load, suspects(root))) == ["rows_0-leaf"]


async def refuse(attempt: Attempt) -> Outcome:
    if not attempt.task_name:
        return Answered({})
    return Failed("no paper", "c7") if attempt.input.get("x") == 2 else Answered({})


async def test_a_callback_names_them() -> None:
    inner = function("leaf", "task_sync", resourceName="test://leaf",
                     inputMappings=[{"source": "$.context.x", "target": "$.input.x"}])  # fmt: skip
    work, store = Work(refuse), Watched(open_storage("memory://", {}))
    plugins = Plugins({"test": work}, {}, (), (), ())
    engine = Engine(store, plugins, EngineSettings(), callback_body, name_failures)
    await engine.start()
    try:
        await add(engine, [flow_of("ex", [loop(inner)], callback={"resourceName": "test://done"})])
        await ends(engine, await engine.service.submit("demo:ex", {}))
        told: list[Any] = []

        async def is_told() -> bool:
            told[:] = [attempt.extra_body for attempt in work.attempts if not attempt.task_name]
            return bool(told)

        await eventually(is_told)
    finally:
        await engine.close()
    failed = told[0]["error_info"]["failed_tasks_invoke_info"]
    assert list(failed) == ["loop", "loop_1-leaf"]
    assert (failed["loop_1-leaf"]["code"], failed["loop_1-leaf"]["input"]) == ("c7", {"x": 2})
    assert failed["loop_1-leaf"]["msg"] == failed["loop"]["msg"] == "no paper"
