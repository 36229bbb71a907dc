"""The table of the Dapr family. Workflow paths are served under each of the three prefixes, the others under /v1.0."""

from __future__ import annotations

from tornflow.api.dapr import sidecar, workflows
from tornflow.api.routes import INTEGER, OBJECT, TEXT, Body, Kind, Param, Route, list_of, shape

PREFIXES = ("v1.0", "v1.0-beta1", "v1.0-alpha1")

_APP = Param("appID", Kind.TEXT, note="this server's own app id, or nothing")
_INSTANCE = "/workflows/{component}/{id}"
_VIEW = shape(
    instanceID=TEXT, workflowName=TEXT, createdAt=TEXT, lastUpdatedAt=TEXT, runtimeStatus=TEXT,
    properties={"type": "object", "additionalProperties": TEXT},
)  # fmt: skip

WORKFLOWS = (
    Route(
        path="/workflows/{component}/{name}/start", methods=("POST",), operation=workflows.start, name="start",
        summary="Start a workflow instance; the body is its input", tag="workflows", status=202,
        params=(Param("instanceID", Kind.TEXT, note="1 to 64 bytes: letters, digits, - and _"), _APP),
        returns=shape(instanceID=TEXT),
    ),
    Route(
        path=_INSTANCE, methods=("GET",), operation=workflows.get, name="get",
        summary="Show a workflow instance", tag="workflows", params=(_APP,), returns=_VIEW,
    ),
    Route(
        path=_INSTANCE + "/raiseEvent/{event}", methods=("POST",), operation=workflows.raise_event, name="raiseEvent",
        summary="Send an event to an instance; the body is its payload", tag="workflows", status=202,
        params=(_APP,), returns=OBJECT,
    ),
    *(
        Route(
            path=f"{_INSTANCE}/{name}", methods=("POST",), operation=workflows.command(name), name=name,
            summary=summary, tag="workflows", status=202, params=(_APP,), returns=OBJECT,
        )
        for name, summary in (
            ("terminate", "End an instance and its sub-flows"),
            ("pause", "Hold an instance: nothing new starts"),
            ("resume", "Let a held instance go on"),
            ("purge", "Delete a finished instance"),
        )
    ),
)  # fmt: skip

SIDECAR = (
    Route(
        path="/healthz", methods=("GET",), operation=sidecar.healthz, name="healthz", tag="sidecar", is_probe=True,
        summary="204 when the server can work", params=(Param("appid", Kind.TEXT),), status=204,
    ),
    Route(
        path="/healthz/outbound", methods=("GET",), operation=sidecar.healthz_outbound, name="healthz", tag="sidecar",
        summary="204 when the server can work", status=204, is_probe=True,
    ),
    Route(
        path="/metadata", methods=("GET",), operation=sidecar.metadata, name="metadata", tag="sidecar",
        summary="Show app id, version and components",
        returns=shape(
            id=TEXT, runtimeVersion=TEXT, components=list_of(OBJECT), extended=OBJECT,
            workflows=shape(connectedWorkers=INTEGER),
        ),
    ),
    Route(
        path="/metadata/{key}", methods=("PUT",), operation=sidecar.put_metadata, name="metadata", tag="sidecar",
        summary="Keep a text, the body, that GET /v1.0/metadata shows under extended", body=Body.OPTIONAL_RAW,
        status=204,
    ),
)  # fmt: skip

ROUTES: tuple[tuple[str, Route], ...] = (
    *((prefix, route) for prefix in PREFIXES for route in WORKFLOWS),
    *(("v1.0", route) for route in SIDECAR),
)
"""(prefix, route): the whole path is ``/<prefix><route.path>``."""
