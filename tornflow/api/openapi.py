"""The OpenAPI document, made from the same tables that route and check requests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from apispec import APISpec

from tornflow.api.routes import TEXT, Body, Json, Kind, Param, Route

_SCHEMAS: dict[Kind, Json] = {
    Kind.NAME: TEXT,
    Kind.TEXT: TEXT,
    Kind.BOOL: {"type": "boolean"},
    Kind.INT: {"type": "integer", "format": "int64"},
    Kind.LIST: {"type": "array", "items": TEXT},
}
_BODIES: dict[Body, Json] = {
    Body.JSON: {"application/json": {"schema": {"type": "object"}}},
    Body.OPTIONAL_JSON: {"application/json": {"schema": {"type": "object"}}},
    Body.RAW: {"text/plain": {"schema": TEXT}},
    Body.OPTIONAL_RAW: {"text/plain": {"schema": TEXT}},
}
_OPTIONAL = (Body.OPTIONAL_JSON, Body.OPTIONAL_RAW)
# dapr-http-api 2.2: the bodies of these are taken byte by byte
_VERBATIM = frozenset(("start", "raiseEvent"))
_TEMPLATED = re.compile(r"\{(\w+)\}")
_ERRORS: dict[str, Json] = {
    "rill": {
        "type": "object",
        "properties": {
            "error_code": {"type": "integer"}, "error": TEXT, "pass_through": {"type": "boolean"},
            "problems": {"type": "array", "items": {"type": "object"}},
        },
    },
    "dapr": {"type": "object", "properties": {"errorCode": TEXT, "message": TEXT}},
    "api": {"type": "object", "properties": {"code": TEXT, "message": TEXT}},
}  # fmt: skip


def openapi_document(routes: Iterable[tuple[str, str, Route]], *, version: str, server_url: str) -> Json:
    """Return the document. ``routes``: (family: rill, dapr or api; whole path; route)."""
    spec = APISpec(
        title="tornflow",
        version=version or "0",
        openapi_version="3.0.3",
        info={"description": "Durable workflows through the Rill Flow and the Dapr Workflow REST families."},
        servers=[{"url": urlsplit(server_url).path.rstrip("/") or "/"}, *([{"url": server_url}] if server_url else [])],
    )
    for family, schema in _ERRORS.items():
        spec.components.schema(f"{family}Error", schema)
    for family, path, route in routes:
        operations = {method.lower(): _operation(family, path, method, route) for method in route.methods}
        spec.path(path=path, operations=operations)
    document: Json = spec.to_dict()
    return document


def _operation(family: str, path: str, method: str, route: Route) -> Json:
    operation: Json = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*map(_path_param, _TEMPLATED.findall(path)), *map(_query_param, route.params)],
        "responses": {str(route.status): _success(route), **_closed(family, route), "default": _failure(family)},
    }
    body = _BODIES.get(route.body)
    if route.name in _VERBATIM:
        operation["requestBody"] = {"content": {"application/json": {"schema": {}}}}
    elif body is not None and method != "GET":
        operation["requestBody"] = {"required": route.body not in _OPTIONAL, "content": body}
    return operation


def _path_param(name: str) -> Json:
    return {"in": "path", "name": name, "required": True, "schema": TEXT}


def _query_param(param: Param) -> Json:
    schema: Json = dict(_SCHEMAS[param.kind])
    if param.default is not None:
        schema["default"] = param.default
    described: Json = {"in": "query", "name": param.name, "required": param.required, "schema": schema}
    if param.kind is Kind.LIST:
        described["explode"] = False
    notes = [param.note] if param.note else []
    if param.in_passthrough:
        described["required"] = False  # the body may bring it
        notes.append("may also stand in `passthrough` of the body")
    if param.also:
        notes.append("also spelled " + ", ".join(param.also))
    if notes:
        described["description"] = "; ".join(notes)
    return described


def _success(route: Route) -> Json:
    answer: dict[str, Any] = {"description": "done"}
    if route.returns is not None:
        answer["content"] = {"application/json": {"schema": route.returns}}
    elif route.status != 204:
        answer["content"] = {"text/plain": {"schema": TEXT}}
    return answer


def _closed(family: str, route: Route) -> Json:
    """Return the answer of a server that starts, drains or is overloaded, where a route has it."""
    if route.is_probe:
        return {}
    answer = _failure(family)
    answer["description"] = "the server is starting, draining or overloaded: nothing was done"
    answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return {"503": answer}


def _failure(family: str) -> Json:
    schema = {"$ref": f"#/components/schemas/{family}Error"}
    return {"description": "an error, in the words of this family", "content": {"application/json": {"schema": schema}}}
