"""What the engine tells a scrape: counters it keeps anyway, rendered only when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from tornflow.runtime.engine import Engine


class EngineMetrics(Collector):
    """Series are few and fixed: labels are statuses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        engine = self._engine
        runner, dispatcher = engine.runner, engine.dispatcher
        yield _by_status("tornflow_executions", "Executions by status they came to", engine.flows_ended)
        yield _by_status("tornflow_tasks", "Task instances by final status", engine.tasks_ended)
        yield CounterMetricFamily("tornflow_commits", "Scope writes stored", value=engine.commits.count)
        yield CounterMetricFamily("tornflow_events", "Events applied", value=runner.events)
        yield CounterMetricFamily("tornflow_conflicts", "Writes that came too late", value=runner.conflicts)
        yield GaugeMetricFamily("tornflow_attempts_in_flight", "Attempts being carried out", dispatcher.in_flight)
        yield GaugeMetricFamily("tornflow_attempts_waiting", "Attempts waiting for a place", dispatcher.waiting)
        yield GaugeMetricFamily("tornflow_scopes_cached", "Scopes held in memory", runner.cached)
        yield GaugeMetricFamily("tornflow_scopes_cached_bytes", "Their stored size", runner.cached_bytes)
        yield GaugeMetricFamily("tornflow_timers_armed", "Timers due within the horizon", engine.timers.armed)
        is_up = 0 if engine.commits.trouble else 1
        yield GaugeMetricFamily("tornflow_storage_up", "1 when the last write was stored", is_up)


def _by_status(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["status"])
    for status, count in sorted(counts.items()):
        family.add_metric([status], count)
    return family
