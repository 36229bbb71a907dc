"""Health, metrics, and our own additions under ``/api`` (design, section 5; decisions, "Beyond both")."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from tornflow import errors
from tornflow.api.base import JSON, RETRY, EdgeHandler, UnknownPath, WrongMethod, log
from tornflow.api.outcome import storage_text
from tornflow.api.packed import CODINGS, BodyTooLarge, UnknownCoding
from tornflow.api.reading import BadRequest
from tornflow.api.routes import INTEGER, TEXT, Answer, Call, Json, Kind, Operation, Param, Route, list_of, shape
from tornflow.model.jsontext import dumps
from tornflow.model.status import FlowStatus
from tornflow.spi.storage import ExecutionQuery

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_STATUSES = tuple(status.value.lower() for status in FlowStatus)

# kind of error -> (status, public code or "" for the error's own); looked up along the MRO
WORDINGS: dict[type[Exception], tuple[int, str]] = {
    BadRequest: (400, "malformed_field"),
    UnknownPath: (404, "not_found"),
    WrongMethod: (405, "wrong_method"),
    BodyTooLarge: (413, "limit_exceeded"),
    UnknownCoding: (415, "unsupported_coding"),
    errors.TornflowError: (500, ""),
    errors.RequestError: (400, ""),
    errors.NotFound: (404, ""),
    errors.IllegalTransition: (409, ""),
    errors.ExecutionExists: (409, ""),
    errors.StorageError: (503, ""),
    errors.ServerNotReady: (503, ""),
    errors.AdmissionRefused: (503, ""),
}


class OpsHandler(EdgeHandler):
    """Our own paths answer errors as ``{"code": str, "message": str}``."""

    def explain(self, error: Exception) -> Answer:
        found = next((WORDINGS[kind] for kind in type(error).__mro__ if kind in WORDINGS), None)
        if found is None:
            log.error("unexpected error in a request", exc_info=error)
            return Answer(500, dumps({"code": "internal_error", "message": "internal server error"}), JSON)
        status, code = found
        message = storage_text(error) if isinstance(error, errors.StorageUnavailable) else str(error)
        body = {"code": code or getattr(error, "code", ""), "message": message or "not found"}
        headers = {405: {"Allow": self._methods()}, 415: {"Accept-Encoding": CODINGS}, 503: RETRY}.get(status, {})
        return Answer(status, dumps(body), JSON, headers)


    def _methods(self) -> str:
        return ", ".join(self.route.methods) if self.route else ""


async def healthz(call: Call) -> Json:
    return {"status": "ok"}


async def readyz(call: Call) -> Json | Answer:
    reason = call.edge.is_ready()
    return Answer(503, dumps({"status": "not ready", "reason": reason}), JSON) if reason else {"status": "ready"}


def metrics(registry: CollectorRegistry) -> Operation:
    """Return the operation that renders a registry."""

    async def render(call: Call) -> Answer:
        return Answer(200, generate_latest(registry), _EXPOSITION)

    return render


async def list_executions(call: Call) -> Json:
    """A page of executions of both families, newest first."""
    args = call.args
    limit = call.edge.limits.page_size
    if args["offset"] < 0 or not 1 <= args["limit"] <= limit:
        raise BadRequest("limit", f"offset must be at least 0, limit 1 to {limit}")
    statuses = [word.strip().lower() for word in args["status"] or () if word.strip()]
    unknown = [word for word in statuses if word not in _STATUSES]
    if unknown:
        raise BadRequest("status", f"status must be of {', '.join(_STATUSES)}: {unknown[0][:100]!r}")
    query = ExecutionQuery(
        statuses=tuple(statuses),
        business=args["business"] or None,
        feature=args["feature"] or None,
        code=args["code"] or None,
        family=args["family"] or None,
        workflow_name=args["workflow_name"] or None,
        parent_id=args["parent_id"] or None,
        since=args["since"],
        until=args["until"],
    )
    found = await call.edge.service.executions(query, offset=args["offset"], limit=args["limit"])
    counts = await call.edge.service.count_executions(query)
    # counts by status without the filter by status: what a list shows beside its filters
    by_status = await call.edge.service.count_executions(replace(query, statuses=())) if statuses else counts
    return {
        "items": [_line(one) for one in found],
        "total": sum(counts.values()),
        "by_status": dict(by_status),
        "offset": args["offset"],
        "limit": args["limit"],
    }


def _line(one: Any) -> Json:
    line = {name: getattr(one, name) for name in _FIELDS}
    return {name: value for name, value in line.items() if value is not None}


_FIELDS = (
    "execution_id", "business", "feature", "status", "submitted_at", "finished_at", "code", "family", "workflow_name",
    "parent_id",
)  # fmt: skip

_LISTED = shape(**{name: INTEGER if name.endswith("_at") else TEXT for name in _FIELDS})


def routes(registry: CollectorRegistry) -> tuple[Route, ...]:
    """Return the table of these paths."""
    render = metrics(registry)
    return (
        Route(
            path="/healthz", methods=("GET",), operation=healthz, tag="operations", is_probe=True,
            summary="200 when the process lives", returns=shape(status=TEXT),
        ),
        Route(
            path="/readyz", methods=("GET",), operation=readyz, tag="operations", is_probe=True,
            summary="200 when the server can work, else 503", returns=shape(status=TEXT, reason=TEXT),
        ),
        Route(
            path="/metrics", methods=("GET",), operation=render, tag="operations", is_probe=True,
            summary="Metrics in the Prometheus text format",
        ),
        Route(
            path="/actuator/prometheus", methods=("GET",), operation=render, tag="operations", is_probe=True,
            summary="The same as /metrics",
        ),
        Route(
            path="/api/executions", methods=("GET",), operation=list_executions, tag="api",
            summary="List executions of both families, newest first",
            params=(
                Param("status", Kind.LIST, note=", ".join(_STATUSES)),
                Param("business"), Param("feature"), Param("code"), Param("workflow_name"), Param("parent_id"),
                Param("family", note="rill or dapr"),
                Param("since", Kind.INT, note="submitted at or after, ms"),
                Param("until", Kind.INT, note="submitted before, ms"),
                Param("offset", Kind.INT, default=0), Param("limit", Kind.INT, default=100),
            ),
            returns=shape(
                items=list_of(_LISTED), total=INTEGER, by_status={"type": "object", "additionalProperties": INTEGER},
                offset=INTEGER, limit=INTEGER,
            ),
        ),
    )  # fmt: skip
