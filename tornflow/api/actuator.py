"""The paths at which scrapers and tools look for a Spring application (rill-http-api 16)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from tornado.httputil import HTTPServerRequest

from tornflow.api.base import JSON, EdgeHandler, Found, UnknownPath
from tornflow.api.edge import Edge
from tornflow.api.routes import OBJECT, TEXT, Answer, Call, Json, Kind, Param, Route, list_of, shape
from tornflow.model.jsontext import dumps

METRICS = "/actuator/metrics"
_STATISTICS = {"_count": "COUNT", "_sum": "TOTAL", "_total": "COUNT", "_max": "MAX"}
_LINKS = {
    "self": "/actuator", "health": "/actuator/health", "prometheus": "/actuator/prometheus", "metrics": METRICS,
    "metrics-requiredMetricName": METRICS + "/{requiredMetricName}",
}  # fmt: skip


def routes(registry: CollectorRegistry) -> tuple[Route, ...]:
    """Return the table; the last route carries a parameter in its path, see ``MetricFinder``."""

    async def names(call: Call) -> Json:
        return {"names": sorted(family.name for family in registry.collect())}

    async def metric(call: Call) -> Json:
        wanted = call.path["name"]
        family = next((one for one in registry.collect() if one.name == wanted), None)
        if family is None:
            raise UnknownPath
        return _described(family, call.args["tag"] or ())

    return (
        _probe("/actuator", links, "The paths below", shape(_links=OBJECT)),
        _probe("/actuator/health", health, "Whether the server can work; 503 when not", shape(status=TEXT)),
        _probe(METRICS, names, "Names of all metrics", shape(names=list_of(TEXT))),
        _probe(
            METRICS + "/{name}", metric, "One metric, added up over what `tag` leaves",
            shape(name=TEXT, description=TEXT, measurements=list_of(OBJECT), availableTags=list_of(OBJECT)),
            (Param("tag", Kind.LIST, note="name:value"),),
        ),
        _probe("/swagger-resources", swagger_resources, "Where the document is", list_of(OBJECT)),
    )  # fmt: skip


async def links(call: Call) -> Json:
    base = call.edge.server_url.rstrip("/")
    return {"_links": {name: {"href": base + path, "templated": "{" in path} for name, path in _LINKS.items()}}


async def health(call: Call) -> Json | Answer:
    if call.edge.is_ready():
        return Answer(503, dumps({"status": "DOWN"}), JSON)
    return {"status": "UP"}


async def swagger_resources(call: Call) -> list[Json]:
    path = "/v2/api-docs"
    return [{"name": "default", "url": path, "swaggerVersion": "3.0.3", "location": path}]


class MetricFinder:
    """Finds the route of ``/actuator/metrics/{name}``."""

    def __init__(self, edge: Edge, handler: type[EdgeHandler], table: Iterable[Route]) -> None:
        self._handler = handler
        self._edge = edge
        self._route = next(route for route in table if route.path.startswith(METRICS + "/"))

    def __call__(self, request: HTTPServerRequest) -> Found | None:
        name = request.path.removeprefix(METRICS + "/")
        if name == request.path or not name or "/" in name:
            return None
        about = {"edge": self._edge, "route": self._route, "uri": self._route.path, "path": {"name": name}}
        return self._handler, about


def _probe(
    path: str, operation: Callable[[Call], Any], summary: str, returns: Json, params: tuple[Param, ...] = ()
) -> Route:
    return Route(
        path=path, methods=("GET",), operation=operation, tag="operations", is_probe=True, summary=summary,
        returns=returns, params=params,
    )  # fmt: skip


def _described(family: Metric, tags: Iterable[str]) -> Json:
    wanted = [(name, value) for name, _, value in (tag.partition(":") for tag in tags)]
    samples = [one for one in family.samples if all(one.labels.get(name) == value for name, value in wanted)]
    if wanted and not samples:
        raise UnknownPath
    sums: dict[str, float] = {}
    seen: dict[str, set[str]] = {}
    for sample in samples:
        if "le" in sample.labels or sample.name.endswith("_created"):
            continue  # steps of a histogram are no values of their own
        suffix = sample.name.removeprefix(family.name)
        statistic = _STATISTICS.get(suffix, "VALUE")
        sums[statistic] = sums.get(statistic, 0.0) + sample.value
        for name, value in sample.labels.items():
            seen.setdefault(name, set()).add(value)
    return {
        "name": family.name,
        "description": family.documentation,
        "measurements": [{"statistic": name, "value": value} for name, value in sums.items()],
        "availableTags": [{"tag": name, "values": sorted(values)} for name, values in seen.items()],
    }
