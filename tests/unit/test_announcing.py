"""What is logged and counted of executions; the hot path asks for the log level once, not for each of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.engines import TWO, TWO_CALLBACKS, engine_with, eventually, never
from tests.unit.test_runner import Work
from tornflow.errors import TornflowError
from tornflow.runtime.announcing import OTHERS, Announcements
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.dispatcher import DispatchSettings
from tornflow.runtime.engine import Engine
from tornflow.runtime.histogram import Histogram
from tornflow.runtime.metrics import EngineMetrics
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Everything that is logged; the level is info."""
    with structlog.testing.capture_logs() as found:
        yield found


def of(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


async def broken(attempt: Attempt) -> Outcome:
    return Failed("no paper", "printer") if attempt.task_name == "b" else Answered({})


async def run(work: Work, count: int = 1, flows: tuple[str, ...] = (TWO,), **settings: Any) -> tuple[Engine, list[str]]:
    async with engine_with(flows, work, **settings) as (engine, _):
        names = [":".join(engine.catalog.names_in(text)) for text in flows]
        ids = [await engine.service.submit(name, {}) for name in names for _ in range(count)]
        told = engine.announcements.flow_statuses

        async def all_ended() -> bool:
            return told.get("SUCCEED", 0) + told.get("FAILED", 0) == len(ids)

        await eventually(all_ended)
    return engine, ids


async def test_a_failed_execution_is_one_warning_that_names_task_code_and_message(lines: list[dict[str, Any]]) -> None:
    _, (execution_id,) = await run(Work(broken))
    assert of(lines, "execution failed") == [
        {
            "event": "execution failed",
            "log_level": "warning",
            "execution_id": execution_id,
            "flow": "demo:two",
            "task": "b",
            "code": "printer",
            "message": "no paper",
        }
    ]


async def test_start_and_end_are_logged_at_info(lines: list[dict[str, Any]]) -> None:
    _, (execution_id,) = await run(Work())
    known = {"log_level": "info", "execution_id": execution_id, "flow": "demo:two"}
    assert of(lines, "execution started") == [{"event": "execution started", **known}]
    assert of(lines, "execution ended") == [{"event": "execution ended", **known, "status": "SUCCEED"}]


async def test_at_level_warning_the_flow_lines_are_not_even_made(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []

    class Quiet:
        def bind(self) -> Quiet:
            return self

        def is_enabled_for(self, level: int) -> bool:
            levels.append(level)
            return False

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was called")

    monkeypatch.setattr("tornflow.runtime.announcing._log", Quiet())
    await run(Work(), count=3)
    assert levels == [logging.INFO]


async def test_a_new_level_counts_once_it_was_looked_at(lines: list[dict[str, Any]]) -> None:
    told = Announcements(Plugins({}, {}, (), (), ()))
    told._logs_each = False
    told.look_at_level()
    assert told._logs_each


async def test_a_refused_completion_names_execution_task_and_reason(lines: list[dict[str, Any]]) -> None:
    async with engine_with([TWO_CALLBACKS], Work()) as (engine, _):
        execution_id = await engine.service.submit("demo:callbacks", {})
        for complete in (engine.service.finish, engine.service.trigger):
            with pytest.raises(TornflowError):
                await complete(execution_id, "nobody", {}, success=True)
        with pytest.raises(TornflowError):
            await engine.service.wakeup(execution_id, "a", {})
    found = of(lines, "completion refused")
    assert [(line["execution_id"], line["task"], line["log_level"]) for line in found] == [
        (execution_id, "nobody", "warning"),
        (execution_id, "nobody", "warning"),
        (execution_id, "a", "warning"),
    ]
    assert all(line["reason"] and line["code"] for line in found)


def series(engine: Engine, **options: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample of a scrape; the parser refuses a text that is not well formed."""
    registry = CollectorRegistry()
    registry.register(EngineMetrics(engine, **options))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


async def test_every_duration_is_a_histogram_that_counted_what_happened() -> None:
    engine, _ = await run(Work(), count=2)
    found = series(engine, loop_lag=Histogram())
    counts = {name: found[(f"tornflow_{name}_seconds_count", ())] for name in ("execution", "task", "attempt")}
    assert counts == {"execution": 2, "task": 4, "attempt": 4}
    assert found[("tornflow_queue_wait_seconds_count", ())] == 4
    assert found[("tornflow_commit_seconds_count", ())] == engine.commits.count > 0
    assert found[("tornflow_loop_lag_seconds_count", ())] == 0
    assert found[("tornflow_execution_seconds_bucket", (("le", "+Inf"),))] == 2
    assert found[("tornflow_executions_total", (("status", "SUCCEED"),))] == 2  # the names before stay


async def test_flows_beyond_the_limit_share_one_label() -> None:
    flows = tuple(TWO.replace("dagName: two", f"dagName: two{number}") for number in range(4))
    engine, _ = await run(Work(), flows=flows, metrics_flows=2)
    found = series(engine)
    labels = {dict(labels)["flow"] for name, labels in found if name == "tornflow_flow_executions_total"}
    assert len(labels) == 3 and OTHERS in labels
    assert found[("tornflow_flow_executions_total", (("flow", OTHERS), ("status", "SUCCEED")))] == 2
    assert sum(value for (name, _), value in found.items() if name == "tornflow_flow_execution_seconds_count") == 4


async def test_running_and_waiting_attempts_are_shown_by_target_up_to_a_limit() -> None:
    async with engine_with([TWO], Work(never), dispatch=DispatchSettings("http://x", per_target=1)) as (engine, _):
        for _ in range(3):
            await engine.service.submit("demo:two", {})

        async def all_there() -> bool:
            return engine.dispatcher.waiting == 2

        await eventually(all_there)
        found, without = series(engine), series(engine, max_targets=0)
    assert found[("tornflow_target_attempts_in_flight", (("target", "test"),))] == 1
    assert found[("tornflow_target_attempts_waiting", (("target", "test"),))] == 2
    assert without[("tornflow_target_attempts_waiting", (("target", OTHERS),))] == 2
    assert found[("tornflow_callbacks_waiting", ())] == 0


@pytest.mark.parametrize(("seconds", "place"), [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (9.0, 2)])
def test_an_observation_counts_in_the_first_bucket_that_holds_it(seconds: float, place: int) -> None:
    times = Histogram((1.0, 2.0))
    times.observe(seconds)
    assert times.counts[place] == sum(times.counts) == 1
    assert times.total_s == seconds


async def test_every_metric_stands_in_the_manual() -> None:
    engine, _ = await run(Work())
    registry = CollectorRegistry()
    registry.register(EngineMetrics(engine, loop_lag=Histogram()))
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    names = [family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()]
    assert len(names) > 15
    assert [name for name in names if f"`{name}`" not in page] == []
