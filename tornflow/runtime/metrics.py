"""What the engine tells a scrape: counters it keeps anyway, rendered only when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tornflow.runtime.announcing import OTHERS
from tornflow.runtime.histogram import Histogram

if TYPE_CHECKING:
    from tornflow.runtime.announcing import Announcements
    from tornflow.runtime.dispatcher import Dispatcher
    from tornflow.runtime.engine import Engine


class EngineMetrics(Collector):
    """Series are bounded: labels are statuses, the flows that ``Announcements`` tells apart, and the ``max_targets``
    targets with the most attempts. ``loop_lag`` is measured by whoever owns the loop."""

    def __init__(self, engine: Engine, *, max_targets: int = 100, loop_lag: Histogram | None = None) -> None:
        self._engine = engine
        self._max_targets = max_targets
        self._loop_lag = loop_lag

    def collect(self) -> Iterable[Metric]:
        engine = self._engine
        runner, dispatcher, told = engine.runner, engine.dispatcher, engine.announcements
        yield _by_status("tornflow_executions", "Executions by status they came to", told.flow_statuses)
        yield _by_status("tornflow_tasks", "Task instances by final status", told.task_statuses)
        yield CounterMetricFamily("tornflow_commits", "Scope writes stored", value=engine.commits.count)
        yield CounterMetricFamily("tornflow_events", "Events applied", value=runner.events)
        yield CounterMetricFamily("tornflow_conflicts", "Writes that came too late", value=runner.conflicts)
        yield GaugeMetricFamily("tornflow_attempts_in_flight", "Attempts being carried out", dispatcher.in_flight)
        yield GaugeMetricFamily("tornflow_attempts_waiting", "Attempts waiting for a place", dispatcher.waiting)
        waiting = dispatcher.callbacks_waiting
        yield GaugeMetricFamily("tornflow_callbacks_waiting", "Completion callbacks waiting for a place", waiting)
        yield from _by_target(dispatcher, self._max_targets)
        yield GaugeMetricFamily("tornflow_scopes_cached", "Scopes held in memory", runner.cached)
        yield GaugeMetricFamily("tornflow_scopes_cached_bytes", "Their stored size", runner.cached_bytes)
        yield GaugeMetricFamily("tornflow_timers_armed", "Timers due within the horizon", engine.timers.armed)
        is_up = 0 if engine.commits.trouble else 1
        yield GaugeMetricFamily("tornflow_storage_up", "1 when the last write was stored", is_up)
        yield from _by_flow(told)
        yield from self._durations()

    def _durations(self) -> Iterator[Metric]:
        engine, told = self._engine, self._engine.announcements
        for name, text, times in (
            ("execution", "From submission, or the last redo, to the end", told.execution_times),
            ("task", "From the start of the first attempt of a task to the end of the last one", told.task_times),
            ("attempt", "How long an attempt held its slot", engine.dispatcher.times),
            ("queue_wait", "How long an attempt waited for its slot", engine.dispatcher.waits),
            ("commit", "How long the store took for a write, waiting for its turn included", engine.commits.times),
            ("loop_lag", "How late the event loop was for an appointment", self._loop_lag),
        ):
            if times is not None:
                yield _durations(f"tornflow_{name}_seconds", text, times)


def _by_status(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["status"])
    for status, count in sorted(counts.items()):
        family.add_metric([status], count)
    return family


def _by_flow(told: Announcements) -> Iterator[Metric]:
    ended = CounterMetricFamily("tornflow_flow_executions", "Executions that ended", labels=["flow", "status"])
    times = SummaryMetricFamily("tornflow_flow_execution_seconds", "Seconds that they took", labels=["flow"])
    for (workspace, dag_name), figures in told.flows.items():
        flow = f"{workspace}:{dag_name}" if dag_name else workspace
        for status, count in sorted(figures.ended.items()):
            ended.add_metric([flow, status], count)
        times.add_metric([flow], count_value=sum(figures.ended.values()), sum_value=figures.seconds)
    return iter((ended, times))


def _by_target(dispatcher: Dispatcher, limit: int) -> Iterator[Metric]:
    running = GaugeMetricFamily("tornflow_target_attempts_in_flight", "Attempts being carried out", labels=["target"])
    waiting = GaugeMetricFamily("tornflow_target_attempts_waiting", "Attempts waiting for a place", labels=["target"])
    loads = sorted(dispatcher.targets().items(), key=lambda one: -(one[1].in_flight + one[1].waiting))
    shown = [(name, load.in_flight, load.waiting) for name, load in loads[:limit]]
    if rest := [load for _, load in loads[limit:]]:
        shown.append((OTHERS, sum(one.in_flight for one in rest), sum(one.waiting for one in rest)))
    for name, in_flight, waits in shown:
        running.add_metric([name], in_flight)
        waiting.add_metric([name], waits)
    return iter((running, waiting))


def _durations(name: str, text: str, times: Histogram) -> Metric:
    buckets, count = [], 0
    for bound, more in zip((*times.bounds, float("inf")), times.counts, strict=True):
        count += more
        buckets.append((f"{bound:g}".replace("inf", "+Inf"), count))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=times.total_s)
