"""Routing and the handler of the Dapr family: its paths carry parameters and follow rules of their own."""

from __future__ import annotations

import hmac
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from tornado.httputil import HTTPServerRequest

from tornflow.api.base import EdgeHandler, Found, WrongMethod
from tornflow.api.dapr.errors import MalformedEscape, error_answer
from tornflow.api.dapr.routes import PREFIXES, ROUTES
from tornflow.api.edge import Edge
from tornflow.api.routes import Answer, Route

_SLASHES = re.compile(r"//+")
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_OPEN_TO_ALL = frozenset(("/v1.0/healthz", "/v1.0/healthz/outbound"))
_UNAUTHORISED = Answer(
    401, b"invalid api token\n", "text/plain; charset=utf-8", {"X-Content-Type-Options": "nosniff"}
)


class DaprHandler(EdgeHandler):
    async def answer(self) -> Any:
        if self.edge.dapr_api_token and not self._is_authorised():
            return _UNAUTHORISED
        malformed = self.path_params.get("%")
        if malformed is not None:
            raise MalformedEscape(malformed)
        route = self.known_route()
        if self.request.method not in route.methods:
            raise WrongMethod(self.request.method or "")  # HEAD too: dapr-http-api 1.3
        return await super().answer()

    def explain(self, error: Exception) -> Answer:
        operation = "" if self.route is None else self.route.name
        names = {"id": self.get_query_argument("instanceID", "", strip=False), **self.path_params}
        return error_answer(error, operation, names, missing_is_404=self.edge.missing_instance_is_404)

    def _is_authorised(self) -> bool:
        request = self.request
        if request.method == "GET" and tidy_path(request.path) in _OPEN_TO_ALL:
            return True
        token = request.headers.get("dapr-api-token", "")
        return hmac.compare_digest(token.encode(), self.edge.dapr_api_token.encode())


class DaprFinder:
    """Finds the route of a path. ``is_alone``: this port speaks nothing else, so every path is the family's."""

    def __init__(self, edge: Edge, *, is_alone: bool) -> None:
        self._edge = edge
        self._is_alone = is_alone
        # (prefix, number of segments, word at the place of the operation) -> (route, segments of the template)
        self._routes: dict[tuple[str, int, str], tuple[Route, list[str], str]] = {}
        for prefix, route in ROUTES:
            segments = route.path[1:].split("/")
            self._routes[prefix, len(segments), _word(segments)] = (route, segments, f"/{prefix}{route.path}")

    def __call__(self, request: HTTPServerRequest) -> Found | None:
        prefix, *segments = tidy_path(request.path)[1:].split("/")
        if not self._is_alone and prefix not in PREFIXES:
            return None
        found = self._routes.get((prefix, len(segments), _word(segments)))
        if found is None:
            return DaprHandler, {"edge": self._edge, "route": None}
        route, template, uri = found
        return DaprHandler, {"edge": self._edge, "route": route, "uri": uri, "path": _params(template, segments)}


def tidy_path(path: str) -> str:
    """Return the path with repeated slashes collapsed and without a trailing one (dapr-http-api 1.2)."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    return path.rstrip("/") or "/"


def _word(segments: list[str]) -> str:
    """Return the segment that tells routes of one length apart."""
    if segments[:1] != ["workflows"]:
        return "/".join(segments)
    return segments[3] if len(segments) > 3 else ""


def _params(template: list[str], segments: list[str]) -> dict[str, str]:
    """Return the decoded path parameters; under "%" the segment that cannot be decoded, if any."""
    params: dict[str, str] = {}
    for name, segment in zip(template, segments, strict=True):
        if not name.startswith("{"):
            continue
        try:
            params[name[1:-1]] = _unescaped(segment)
        except ValueError:
            return {"%": segment}
    return params


def _unescaped(segment: str) -> str:
    """Decode once, with the rules of queries: "+" is a blank. Raises ValueError."""
    if "%" not in segment and "+" not in segment and segment.isascii():
        return segment
    if _MALFORMED.search(segment):
        raise ValueError
    return unquote_to_bytes(segment.replace("+", " ").encode("latin-1")).decode()


