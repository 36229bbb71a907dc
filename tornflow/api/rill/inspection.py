"""Looking at executions: get, get_context, the lists and counts (rill-http-api 5.4, 9.1, 9.3, 10.1, 10.2)."""

from __future__ import annotations

from dataclasses import replace

from tornflow.api.rill.errors import RillError
from tornflow.api.rill.views import flow_view, unknown_execution
from tornflow.api.routes import Call, Json
from tornflow.spi.storage import ExecutionQuery

# What a Rill status means in the store; a terminated execution is a failed one here.
STATUSES = {
    "not_started": ("not_started",),
    "running": ("running",),
    "key_succeed": ("key_succeed",),
    "succeed": ("succeed",),
    "failed": ("failed", "terminated"),
}
_COUNTED = ("running", "succeed", "failed")  # where no status is asked for (rill-http-api 10.2)
_COUNT_LIMIT = 100
_MINUTE_MS = 60_000


async def service_check(call: Call) -> Json:
    return {"ret": "ok"}


async def get(call: Call) -> Json:
    return {"ret": await view_of(call, call.args["execution_id"], is_brief=call.args["brief"])}


async def get_context(call: Call) -> Json:
    execution_id = call.args["execution_id"]
    if not execution_id:
        return {"code": -1, "msg": "executionId is empty!"}
    snapshot = await call.edge.service.snapshot(execution_id)
    return {"ret": {} if snapshot is None else snapshot.state.context}


async def view_of(call: Call, execution_id: str, *, is_brief: bool = False) -> Json:
    """Return the FlowView of an execution, or what stands for an unknown one."""
    edge = call.edge
    snapshot = await edge.service.snapshot(execution_id)
    if snapshot is None:
        return unknown_execution()
    return flow_view(
        snapshot.state, snapshot.descriptor, now=edge.clock(), is_brief=is_brief, evaluate=edge.evaluate
    )


async def get_execution_ids(call: Call) -> Json:
    """One page of executions of a service, newest first, submitted up to ``time``."""
    args = call.args
    code, status, page, count = args["code"] or None, args["type"] or "succeed", args["page"], args["count"]
    if code is None and status not in STATUSES:
        raise RillError(30109, "type value nonsupport")
    if count > _COUNT_LIMIT:
        raise RillError(30109, "count too big")
    if count < 1 or page < 1:
        raise RillError(30109, "page and count must be at least 1")
    business, feature = service_names(args["service_id"])
    until = call.edge.clock() if args["time"] is None else args["time"]
    query = ExecutionQuery(
        statuses=() if code else STATUSES[status], business=business, feature=feature, code=code, until=until + 1
    )
    found = await call.edge.service.executions(query, offset=(page - 1) * count, limit=count + 1)
    return {
        "execution_ids": [{"execution_id": one.execution_id, "submit_time": one.submitted_at} for one in found[:count]],
        "type": code or status,
        "cursor_time": until,
        "current_page": page,
        "next_page_available": len(found) > count,
    }


async def get_execution_count(call: Call) -> Json:
    """Counts by status, and of one failure code, over a span of minutes before now."""
    args = call.args
    business, feature = service_names(args["service_id"])
    now, code, status = call.edge.clock(), args["code"] or None, args["type"] or None
    span = ExecutionQuery(
        business=business,
        feature=feature,
        since=now - args["start_time_offset"] * _MINUTE_MS,
        until=now - args["end_time_offset"] * _MINUTE_MS,
    )
    answer: Json = {"collect_time": now}
    has_known_type = status in STATUSES
    if has_known_type or code is None:
        wanted = STATUSES[status] if status and has_known_type else ()
        counts = await call.edge.service.count_executions(replace(span, statuses=wanted))
        names = (status,) if status and has_known_type else _COUNTED
        answer["dag"] = {name: sum(counts.get(word, 0) for word in STATUSES[name]) for name in names}
    if code is not None:
        by_status = await call.edge.service.count_executions(replace(span, code=code))
        answer["code"] = {code: sum(by_status.values())}
    elif not has_known_type:
        answer["code"] = {}  # the store counts by status only
    return answer


def service_names(service_id: str) -> tuple[str, str]:
    """Return (business, feature). Raises RillError for what is not ``business:feature``."""
    business, separator, feature = service_id.partition(":")
    if not (business and separator and feature) or ":" in feature:
        raise RillError(30109, f"service_id:{service_id} format error")
    return business, feature
