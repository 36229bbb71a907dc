"""One table of routes is the source of routing, of parameter checking and of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tornado.httputil import HTTPServerRequest

from tornflow.api.edge import Edge

Json = dict[str, Any]


class Kind(StrEnum):
    """How the text of a parameter is read (rill-http-api 2.2)."""

    NAME = "name"  # an identifier: surrounding blanks are dropped
    TEXT = "text"
    BOOL = "bool"
    INT = "int"
    LIST = "list"  # comma separated, repeated, or both


class Body(StrEnum):
    NONE = "none"  # ignored
    JSON = "json"  # a JSON object, required
    OPTIONAL_JSON = "optional_json"  # a JSON object, or nothing
    RAW = "raw"  # the bytes as text, required
    OPTIONAL_RAW = "optional_raw"  # the bytes as text, "" for nothing


@dataclass(frozen=True, slots=True)
class Param:
    """A query parameter. ``also`` are other spellings that count; ``in_passthrough``: if absent, the value of that
    name in the body's ``passthrough`` object counts (rill-http-api 5.3)."""

    name: str
    kind: Kind = Kind.NAME
    required: bool = False
    default: Any = None
    also: tuple[str, ...] = ()
    in_passthrough: bool = False
    note: str = ""


@dataclass(slots=True)
class Call:
    """One checked request. ``args`` holds every declared parameter, ``path`` the decoded path parameters by name,
    ``body`` a JSON object, a text (RAW) or None."""

    edge: Edge
    request: HTTPServerRequest
    args: Json
    body: Any = None
    path: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not the route's plain JSON."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Operation = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """``path`` is an OpenAPI template. ``returns`` is the JSON schema of the success body, or None for no JSON.

    ``name`` is the word of the operation for error tables; unused by most. ``HEAD`` works where ``GET`` does, unless
    ``has_head`` is False: a look must not change anything. ``is_probe``: answered also while the server is closed.
    """

    path: str
    methods: tuple[str, ...]
    operation: Operation
    summary: str
    tag: str
    params: tuple[Param, ...] = ()
    body: Body = Body.NONE
    returns: Json | None = None
    status: int = 200
    name: str = ""
    has_head: bool = True
    is_probe: bool = False


# --- JSON schemas, as short as they can be written

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
INTEGER: Json = {"type": "integer", "format": "int64"}
BOOLEAN: Json = {"type": "boolean"}
OBJECT: Json = {"type": "object", "additionalProperties": True}


def shape(**members: Json) -> Json:
    """Return the schema of an object with these members."""
    return {"type": "object", "properties": members}


def list_of(items: Json) -> Json:
    return {"type": "array", "items": items}


def required(*names: str) -> tuple[Param, ...]:
    """Return required identifier parameters."""
    return tuple(Param(name, required=True) for name in names)


def methods_of(routes: Sequence[Route]) -> dict[str, Route]:
    """Return the routes by path. Every path stands once in a table."""
    table = {route.path: route for route in routes}
    assert len(table) == len(routes), "a path is declared twice"
    return table
