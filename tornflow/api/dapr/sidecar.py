"""What clients expect beside the workflow operations: health and metadata (dapr-http-api 10)."""

from __future__ import annotations

from tornflow.api.dapr.errors import DaprError
from tornflow.api.routes import Answer, Call, Json

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
        "runtimeVersion": edge.version,
        "components": [
            {"name": one.name, "type": one.type, "version": one.version, "capabilities": []} for one in edge.components
        ],
        "extended": {"daprRuntimeVersion": edge.version} if edge.version else {},
    }
    answer = {name: value for name, value in answer.items() if value}
    answer["workflows"] = {"connectedWorkers": 0}
    return answer
