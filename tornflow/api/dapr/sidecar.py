"""What clients expect beside the workflow operations: health and metadata (dapr-http-api 10)."""

from __future__ import annotations

from tornflow.api.dapr.errors import DaprError
from tornflow.api.edge import Edge
from tornflow.api.routes import Answer, Call, Json
from tornflow.components import Component

DAPR_VERSION = "1.18.2"
"""The runtime that this family was compared with: clients that check versions expect Dapr's numbers."""

ENTRIES_CHARS = 1_048_576
"""What clients may keep under ``extended``, keys and values together."""

_FINE = Answer(204)


async def healthz(call: Call) -> Answer:
    app_id = call.args["appid"]
    if app_id and app_id != call.edge.app_id:
        raise DaprError(500, "ERR_HEALTH_APPID_NOT_MATCH", "dapr app-id does not match")
    reason = call.edge.is_ready()
    if reason:
        raise DaprError(500, "ERR_HEALTH_NOT_READY", f"dapr is not ready: {reason}")
    return _FINE


async def healthz_outbound(call: Call) -> Answer:
    if call.edge.is_ready():
        raise DaprError(500, "ERR_OUTBOUND_HEALTH_NOT_READY", "dapr outbound is not ready")
    return _FINE


async def metadata(call: Call) -> Json:
    edge = call.edge
    answer: Json = {
        "id": edge.app_id,
        "runtimeVersion": DAPR_VERSION,
        "components": [_shown(one) for one in edge.components.loaded],
        "extended": {**edge.metadata_entries, **_own_entries(edge)},
    }
    answer = {name: value for name, value in answer.items() if value}
    answer["workflows"] = {"connectedWorkers": 0}
    return answer


async def put_metadata(call: Call) -> Answer:
    """Keep an entry in this process. Our own keep their values, which is no error (dapr-http-api 10.2)."""
    entries, key, text = call.edge.metadata_entries, call.path["key"], call.body
    size = sum(len(name) + len(value) for name, value in entries.items() if name != key)
    if size + len(key) + len(text) > ENTRIES_CHARS:
        reason = f"the entries of the metadata page may have {ENTRIES_CHARS} characters together"
        raise DaprError(400, "ERR_BODY_READ", f"failed to read request body: {reason}")
    entries[key] = text
    return _FINE


def _shown(component: Component) -> Json:
    """Never a value of its metadata: it may be a secret."""
    shown = {"name": component.name, "type": component.type}
    return {**shown, "version": component.version} if component.version else shown


def _own_entries(edge: Edge) -> dict[str, str]:
    own = {"daprRuntimeVersion": DAPR_VERSION, "tornflowVersion": edge.version}
    if edge.components.problem:
        own["tornflowComponents"] = edge.components.problem
    return {name: value for name, value in own.items() if value}
