"""The background endpoints that the web UI calls (rill-http-api 15)."""

from __future__ import annotations

from tornflow.api.rill.errors import RillError
from tornflow.api.rill.inspection import STATUSES, view_of
from tornflow.api.rill.views import listed_status
from tornflow.api.routes import Call, Json
from tornflow.descriptors import unconvert
from tornflow.model.descriptor import Descriptor
from tornflow.spi.storage import ExecutionQuery, Summary

_USER = {
    "realName": "admin",
    "roles": [{"roleName": "Super Admin", "value": "super"}],
    "userId": "1",
    "username": "admin",
    "desc": "manager",
    "token": "fakeToken1",
}


async def login(call: Call) -> Json:
    """Always succeeds, as in the reference; credentials are neither checked nor kept."""
    return {**_USER}


async def current_user(call: Call) -> Json:
    return {**_USER, "homePath": "/flow-definition/list", "avatar": ""}


async def get_business_options(call: Call) -> Json:
    return {"business_ids": [{"id": name, "name": name} for name in await call.edge.catalog.businesses()]}


async def get_descriptor(call: Call) -> Json:
    """A definition as JSON, its root tasks as an object by name."""
    descriptor_id: str = call.args["id"]
    descriptor = (await call.edge.catalog.resolve(descriptor_id)).descriptor
    data = definition(descriptor)
    if not data.get("alias"):
        data["alias"] = await _registered_alias(call, descriptor_id, descriptor)
    return {"data": data, "message": "", "success": True}


async def get_descriptor_ids(call: Call) -> Json:
    """All definitions with a version, newest first. Paging parameters are required and ignored, as in the reference."""
    business, feature = call.args["business"], call.args["feature"]
    items = [
        {
            "business_id": one.business,
            "feature_id": one.feature,
            "alias": one.alias,
            "descriptor_id": one.descriptor_id,
            "create_time": one.created_at,
            "update_time": one.updated_at,
        }
        for one in await call.edge.catalog.descriptor_ids()
        if (not business or one.business == business) and (not feature or one.feature == feature)
    ]
    return {"items": items, "total": len(items)}


async def get_execution_ids(call: Call) -> Json:
    """A page of executions, newest first, or the one that ``id`` names."""
    args = call.args
    if args["id"]:
        return await _single(call, args["id"])
    page, size = args["page"], args["pageSize"]
    limit = call.edge.limits.page_size
    if page < 1 or not 1 <= size <= limit:
        raise RillError(30109, f"page must be at least 1, pageSize 1 to {limit}")
    query = ExecutionQuery(
        statuses=STATUSES.get((args["status"] or "").lower(), ()),
        business=args["business"] or None,
        feature=args["feature"] or None,
        code=args["code"] or None,
        since=args["startTime"] + 1 if args["startTime"] else None,
        until=None if args["endTime"] is None else args["endTime"] + 1,
    )
    offset = (page - 1) * size
    found = await call.edge.service.executions(query, offset=offset, limit=size)
    counts = await call.edge.service.count_executions(query)
    items = [_item(offset + number, one) for number, one in enumerate(found, start=1)]
    return {"items": items, "total": sum(counts.values())}


async def get_execution(call: Call) -> Json:
    """A FlowView; ``trace_url`` is always a text because the web UI relies on that."""
    view = await view_of(call, call.args["id"])
    host = call.edge.trace_query_host
    view["trace_url"] = f"{host}/trace/{view['context'].get('traceId', 'null')}" if host else ""
    return {"data": view, "message": "", "success": True}


def definition(descriptor: Descriptor) -> Json:
    """Return the document with ``tasks`` as ``name -> {"task", "next"}`` (rill-http-api 15.1).

    It is what was written: shorthand is shorthand again and references stand unexpanded, because an editor sends
    all of it back to be stored.
    """
    document = unconvert(descriptor.document)
    written: list[Json] = document.get("tasks", []) if descriptor.tasks else []
    names = {task["name"] for task in written}
    followers = {task.name: [name for name in task.next if name in names] for task in descriptor.tasks}
    tasks = {task["name"]: {"task": _with_protocol(task), "next": followers[task["name"]]} for task in written}
    return {**document, "tasks": tasks}


def _with_protocol(task: Json) -> Json:
    name = task.get("resourceName")
    if not name or task.get("resourceProtocol"):
        return task
    scheme, separator, _ = str(name).partition("://")
    return {**task, "resourceProtocol": scheme if separator else ""}


async def _registered_alias(call: Call, descriptor_id: str, descriptor: Descriptor) -> str | None:
    """Return the alias under which the version is registered, so that the editor can save it again (section 17)."""
    parts = [part.strip() for part in descriptor_id.split(":")]
    if len(parts) > 2 and parts[2] and not parts[2].startswith("md5_"):
        return parts[2]
    catalog = call.edge.catalog
    business, feature = parts[0], parts[1]
    aliases = sorted(await catalog.aliases(business, feature), key=lambda alias: (alias != "release", alias))
    for alias in aliases:
        versions = await catalog.versions(business, feature, alias)
        if any(one.md5 == descriptor.md5 for one in versions):
            return alias
    return None


async def _single(call: Call, execution_id: str) -> Json:
    snapshot = await call.edge.service.snapshot(execution_id)
    if snapshot is None:
        return {"total": 0, "items": []}
    state = snapshot.state
    item = {
        "id": 1,
        "execution_id": execution_id,
        "submit_time": state.created_at,
        "business_id": state.workspace or snapshot.descriptor.workspace,
        "feature_id": state.dag_name or snapshot.descriptor.dag_name,
        "status": listed_status(state.status),
    }
    return {"total": 1, "items": [item]}


def _item(number: int, one: Summary) -> Json:
    return {
        "id": number,
        "execution_id": one.execution_id,
        "submit_time": one.submitted_at,
        "business_id": one.business,
        "feature_id": one.feature,
        "status": listed_status(one.status),
    }
