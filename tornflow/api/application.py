"""The applications of the two ports, put together from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from tornflow import web
from tornflow.api import actuator, ops
from tornflow.api.base import EdgeApplication, EdgeHandler, Found
from tornflow.api.dapr import routes as dapr
from tornflow.api.dapr.handler import DaprFinder, DaprHandler
from tornflow.api.edge import Edge
from tornflow.api.fixed import FixedPage, Page
from tornflow.api.metrics import RequestMetrics
from tornflow.api.openapi import openapi_document
from tornflow.api.rill import routes as rill
from tornflow.api.rill.handler import RillHandler
from tornflow.api.routes import Answer, Call, Json, Operation, Route, methods_of
from tornflow.model.jsontext import dumps


def make_application(edge: Edge, *, pages: Sequence[Page] | None = None, rules: Sequence[Any] = ()) -> EdgeApplication:
    """Return the application of the main port: both families, operations, pages.

    ``pages`` are fixed answers to GET, by default those of ``tornflow.web``; ``rules`` ordinary Tornado rules, tried
    last.
    Metrics of other rooms appear at ``/metrics`` when they are in ``edge.registry``.
    """
    registry = edge.registry or CollectorRegistry()
    metrics = RequestMetrics()
    registry.register(metrics)
    table = (*ops.routes(registry), *actuator.routes(registry))
    exact = _found(edge, RillHandler, rill.ROUTES, rill.PREFIXES)
    exact.update(_found(edge, ops.OpsHandler, table))
    document = _document(edge, table)
    fixed = [
        *(_plain_route(path, document) for path in ("/openapi.json", "/v3/api-docs", "/v2/api-docs")),
        *(_plain_route(page[0], FixedPage(page)) for page in (web.pages() if pages is None else pages)),
    ]
    exact.update(_found(edge, ops.OpsHandler, fixed))
    finders = (DaprFinder(edge, is_alone=False), actuator.MetricFinder(edge, ops.OpsHandler, table))
    return EdgeApplication(edge, exact, finders, RillHandler, metrics, rules)


def make_dapr_application(edge: Edge, *, metrics: RequestMetrics | None = None) -> EdgeApplication:
    """Return the application of the Dapr port. ``metrics`` are those of the main application, which shows them."""
    metrics = metrics or RequestMetrics()
    return EdgeApplication(edge, {}, (DaprFinder(edge, is_alone=True),), DaprHandler, metrics)


def all_routes(table: Sequence[Route]) -> list[tuple[str, str, Route]]:
    """Return (family, whole path, route) of everything that is documented."""
    return [
        *(("rill", prefix + route.path, route) for prefix in rill.PREFIXES for route in rill.ROUTES),
        *(("dapr", f"/{prefix}{route.path}", route) for prefix, route in dapr.ROUTES),
        *(("api", route.path, route) for route in table),
    ]


def _found(
    edge: Edge, handler: type[EdgeHandler], routes: Sequence[Route], prefixes: Sequence[str] = ("",)
) -> dict[str, Found]:
    return {
        prefix + path: (handler, {"edge": edge, "route": route, "uri": prefix + path})
        for prefix in prefixes
        for path, route in methods_of(routes).items()
    }


def _document(edge: Edge, table: Sequence[Route]) -> Operation:
    rendered: list[bytes] = []

    async def document(call: Call) -> Answer:
        if not rendered:  # made when first asked for: most processes never are
            made: Json = openapi_document(all_routes(table), version=edge.version, server_url=edge.server_url)
            rendered.append(dumps(made))
        return Answer(200, rendered[0], "application/json", {"Access-Control-Allow-Origin": "*"})

    return document


def _plain_route(path: str, operation: Operation) -> Route:
    return Route(path=path, methods=("GET",), operation=operation, tag="web", summary="A page", is_probe=True)
