"""Request metrics: plain numbers on the hot path, rendered when somebody scrapes (rill-http-api 16)."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))
_OUTCOMES = {2: "SUCCESS", 3: "REDIRECTION", 4: "CLIENT_ERROR", 5: "SERVER_ERROR"}
_LABELS = ("application", "exception", "method", "outcome", "status", "uri")
_APPLICATION = "rill-flow-web"


class RequestMetrics(Collector):
    """Counts answered requests by method, path template and status.

    The number of series is bounded by the table of routes: unknown paths and methods share one label each.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], list[float]] = {}  # -> [count, sum, max]

    def observe(self, method: str, uri: str, status: int, seconds: float) -> None:
        """Count one answer. ``uri`` is the template of the path, or a fixed word."""
        series = self._series.get((method, uri, status))
        if series is None:
            key = (method if method in _METHODS else "UNKNOWN", uri, status)
            series = self._series.setdefault(key, [0, 0.0, 0.0])
        series[0] += 1
        series[1] += seconds
        if seconds > series[2]:
            series[2] = seconds

    def collect(self) -> Iterable[Metric]:
        requests = SummaryMetricFamily("http_server_requests_seconds", "Answered requests", labels=_LABELS)
        longest = GaugeMetricFamily("http_server_requests_seconds_max", "Longest request so far", labels=_LABELS)
        for (method, uri, status), (count, total, maximum) in self._series.items():
            labels = (_APPLICATION, "None", method, _OUTCOMES.get(status // 100, "UNKNOWN"), str(status), uri)
            requests.add_metric(labels, count_value=int(count), sum_value=total)
            longest.add_metric(labels, maximum)
        return (requests, longest)
