"""Numbers and advice about flows (rill-http-api 9.9 - 9.12, 10.3, 10.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tornflow.api.rill.errors import RillError
from tornflow.api.rill.executions import resource_check
from tornflow.api.rill.inspection import STATUSES, service_names
from tornflow.api.rill.views import flow_view
from tornflow.api.routes import Call, Json
from tornflow.runtime.cron import server_zone, zone_of
from tornflow.runtime.resources import Resources, Use
from tornflow.spi.storage import ExecutionQuery

_MINUTE_MS = 60_000
_FROM_MINUTES, _TO_MINUTES = 10, 1
_SERVICES = 100
_MAX_STORAGE_PERCENT = 90


async def business_heap_monitor(call: Call) -> Json:
    """Executions of some services by status, submitted in a span of minutes before now."""
    start, end = call.args["start_time_offset"], call.args["end_time_offset"]
    if (start is None) != (end is None):
        raise RillError(30109, "time offset should be all configured")
    if start is None:
        start, end = _FROM_MINUTES, _TO_MINUTES
    if start <= end:
        raise RillError(30109, "start time offset should be bigger than end time offset")
    now = call.edge.clock()
    since, until = now - start * _MINUTE_MS, now - end * _MINUTE_MS
    answer: Json = {}
    for service_id in _services(call):
        counts = await _counts(call, service_id, since, until)
        answer[service_id] = {
            "service_id": service_id,
            "collect_time": now,
            "statistic_duration": start - end,
            "statistic_time_period_start_time": since,
            "statistic_time_period_end_time": until,
            "running_count": _sum(counts, "running"),
            "success_count": _sum(counts, "succeed"),
            "failed_count": _sum(counts, "failed"),
        }
    return answer


async def status_check(call: Call) -> Json:
    """What would keep a submission out. Storage and flow health are shown, and refuse nothing here."""
    given = call.args["descriptor_id"]
    business, _, rest = given.partition(":")
    feature = rest.partition(":")[0]
    if not business or not feature:
        raise RillError(30109, f"descriptorId:{given[:400]} format error")
    service_id, check = f"{business}:{feature}", resource_check(call)
    unsatisfied = _resources(call).unsatisfied(service_id, check)
    running = await call.edge.service.count_executions(
        ExecutionQuery(statuses=STATUSES["running"], business=business, feature=feature)
    )
    return {
        "descriptor_id": service_id,
        "submit_status": {
            "storage_check": {
                "max_usage_percent": _MAX_STORAGE_PERCENT, "current_usage_percent": 0, "usage_limit": False,
            },
            "resource_check": {"unsatisfied_resources": unsatisfied, "resource_limit": bool(unsatisfied)},
            "flow_check": {
                "complete_rate": 0.0, "complete_rate_threshold": 0.0, "success_rate": 0.0,
                "success_rate_threshold": 0.0, "heap_count": sum(running.values()), "heap_count_threshold": 0,
                "complete_rate_limit": False, "success_rate_limit": False, "heap_limit": False,
            },
        },
        "related_resources": _related(call, service_id),
    }  # fmt: skip


async def runtime_dependent_resources(call: Call) -> Json:
    """What the tasks of some services have called in the last three hours, from this process."""
    services = _services(call)
    if not services:
        raise RillError(30109, "service_ids can not be empty")
    return {**{one: _related(call, one) for one in services}, "current_time": call.edge.clock()}


async def clear_runtime_resources(call: Call) -> Json:
    """Lift the limits of the named resources, or forget all about a service."""
    service_id = call.args["service_id"]
    service_names(service_id)
    named = [name.strip() for name in call.args["resource_names"] or () if name.strip()]
    _resources(call).clear(service_id, None if call.args["clear_all"] else named)
    return {"ret": True}


async def business_invoke_summary(call: Call) -> Json:
    """Submissions of one day by service, as texts; counted from the executions that are kept."""
    business, _, day = call.args["business_key"].rpartition("_")
    try:
        start = datetime.strptime(day, "%Y%m%d").replace(tzinfo=zone_of(server_zone()))
    except ValueError:
        return {"ret": {}}
    since = int(start.timestamp() * 1000)
    until = int((start + timedelta(days=1)).timestamp() * 1000)
    ret: Json = {}
    for feature in await call.edge.catalog.features(business):
        count = sum((await _counts(call, f"{business}:{feature}", since, until)).values())
        if count:
            ret[f"{business}:{feature}_dag_submit_count"] = str(count)
    return {"ret": ret}


async def dag_details(call: Call) -> Json:
    """An execution. The reference answers with any key of its database here; we know executions only."""
    snapshot = await call.edge.service.snapshot(call.args["id"])
    if snapshot is None:
        return {"data": "", "message": "", "success": True}
    edge = call.edge
    view = flow_view(snapshot.state, snapshot.descriptor, now=edge.clock(), is_brief=False, evaluate=edge.evaluate)
    return {"data": view, "message": "", "success": True}


def _services(call: Call) -> Sequence[str]:
    found = [one.strip() for one in call.args["service_ids"] or () if one.strip()]
    if len(found) > _SERVICES:
        raise RillError(30109, f"service_ids: at most {_SERVICES} are answered at once")
    for one in found:
        service_names(one)
    return found


async def _counts(call: Call, service_id: str, since: int, until: int) -> dict[str, int]:
    business, feature = service_names(service_id)
    query = replace(ExecutionQuery(business=business, feature=feature), since=since, until=until)
    return dict(await call.edge.service.count_executions(query))


def _sum(counts: dict[str, int], status: str) -> int:
    return sum(counts.get(word, 0) for word in STATUSES[status])


def _resources(call: Call) -> Resources:
    return call.edge.service.resources


def _related(call: Call, service_id: str) -> Json:
    """Return what is known of a service by task and by resource (rill-http-api 4.11)."""
    resources, now = _resources(call), call.edge.clock()
    by_task: Json = {}
    grouped: dict[str, list[Use]] = {}
    for use in resources.uses(service_id):
        by_task[f"{use.task}#{use.resource}"] = _status(resources, [use], now, resource_name=use.resource)
        grouped.setdefault(use.resource, []).append(use)
    by_resource = {
        name: _status(resources, uses, now, task_names=[one.task for one in uses]) for name, uses in grouped.items()
    }
    return {"task_name_order": by_task, "resource_name_order": by_resource}


def _status(resources: Resources, uses: Sequence[Use], now: int, **more: object) -> Json:
    until = max(resources.limited_until(use) for use in uses)
    return {
        **more,
        "resource_limited_time": until,
        "update_time": max(use.updated_at for use in uses),
        "limited": until >= now,
    }
