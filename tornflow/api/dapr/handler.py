"""Routing and the handler of the Dapr family: its paths carry parameters and follow rules of their own."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from tornado.httputil import HTTPServerRequest

from tornflow.api.base import UNKNOWN_URI, EdgeHandler, Found, WrongMethod
from tornflow.api.dapr.errors import MalformedEscape, error_answer
from tornflow.api.dapr.routes import PREFIXES, ROUTES
from tornflow.api.edge import Edge
from tornflow.api.routes import Answer, Route

_SLASHES = re.compile(r"//+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MALFORMED = "%"  # stands among the path parameters for a path that cannot be decoded; no template names one so
_OPEN_TO_ALL = frozenset(("/v1.0/healthz", "/v1.0/healthz/outbound"))
_UNAUTHORISED = Answer(401, b"invalid api token\n", "text/plain; charset=utf-8", {"X-Content-Type-Options": "nosniff"})


class DaprHandler(EdgeHandler):
    TEXT_ERRORS = "replace"

    async def answer(self) -> Any:
        if self.edge.dapr_api_token and not self._is_authorised():
            return _UNAUTHORISED
        if _MALFORMED in self.path_params:
            raise MalformedEscape(self.path_params[_MALFORMED])
        route = self.known_route()
        if self.request.method not in route.methods:
            raise WrongMethod(self.request.method or "")  # HEAD too: dapr-http-api 1.3
        return await super().answer()

    def explain(self, error: Exception) -> Answer:
        operation = "" if self.route is None else self.route.name
        asked = self.request.query_arguments.get("instanceID", [b""])[0]
        names = {"id": asked.decode(errors="replace"), **self.path_params}
        return error_answer(error, operation, names, missing_is_404=self.edge.missing_instance_is_404)

    def _is_authorised(self) -> bool:
        request = self.request
        if request.method == "GET" and tidy_path(request.path) in _OPEN_TO_ALL:
            return True
        token = request.headers.get("dapr-api-token", "")
        return hmac.compare_digest(token.encode("latin-1", "replace"), self.edge.dapr_api_token.encode())


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
        route, template, uri = found or (None, (), UNKNOWN_URI)
        if "%" in request.path and _BAD_ESCAPE.search(request.path):
            path = {_MALFORMED: request.path}
        else:
            path = _params(template, segments)
        return DaprHandler, {"edge": self._edge, "route": route, "uri": uri, "path": path}


def tidy_path(path: str) -> str:
    """Return the path with repeated slashes collapsed and without a trailing one (dapr-http-api 1.2)."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    return path.rstrip("/") or "/"


def _word(segments: list[str]) -> str:
    """Return the segment that tells routes of one length apart."""
    if segments[:1] == ["metadata"]:
        return "metadata"
    if segments[:1] != ["workflows"]:
        return "/".join(segments)
    return segments[3] if len(segments) > 3 else ""


def _params(template: Sequence[str], segments: Sequence[str]) -> dict[str, str]:
    """Return the decoded path parameters."""
    pairs = zip(template, segments, strict=False)  # no template: no parameters
    return {name[1:-1]: _unescaped(segment) for name, segment in pairs if name.startswith("{")}


def _unescaped(segment: str) -> str:
    """Decode once, with the rules of queries: "+" is a blank. Bytes that are not UTF-8 become U+FFFD."""
    if "%" not in segment and "+" not in segment and segment.isascii():
        return segment
    return unquote_to_bytes(segment.replace("+", " ").encode("latin-1", "replace")).decode(errors="replace")
