"""The application and the base of all handlers.

Routing is one dictionary look-up for paths without parameters; families with parameters in their paths bring a finder.
A handler reads a request by the declaration of its route, awaits the operation and writes one answer. What differs
between the families is how they word errors: ``explain``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.web import Application, RequestHandler

from tornflow.api.edge import Edge
from tornflow.api.edge_server import to_origin_form
from tornflow.api.metrics import RequestMetrics
from tornflow.api.packed import BodyTooLarge, unpack_body
from tornflow.api.reading import read_args, read_body
from tornflow.api.routes import Answer, Call, Route
from tornflow.errors import ServerNotReady
from tornflow.model.jsontext import dumps

log = logging.getLogger("tornflow.api")

JSON = "application/json"
UNKNOWN_URI = "/**"
RETRY = {"Retry-After": "1"}
"""Header of a 503: a start takes seconds, and another node may answer at once."""


class WrongMethod(Exception):
    """The path exists, the method does not."""

    def __init__(self, method: str) -> None:
        super().__init__(f"Request method '{method}' not supported")


class UnknownPath(Exception):
    """No route has this path."""


class EdgeHandler(RequestHandler):
    """Serves one request of one route. ``route`` None: the path is unknown."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")
    FIXED_HEADERS: tuple[tuple[str, str], ...] = ()
    TEXT_ERRORS = "strict"  # what becomes of parameters that are not UTF-8: see ``read_args``

    def initialize(
        self,
        edge: Edge,
        route: Route | None,
        uri: str = UNKNOWN_URI,
        path: Mapping[str, str] | None = None,
        is_refused: bool = False,
    ) -> None:
        self.edge = edge
        self.route = route
        self.uri_label = uri
        self.path_params: Mapping[str, str] = path or {}
        self.is_refused = is_refused

    def explain(self, error: Exception) -> Answer:
        """Return the family's answer to an error; unexpected ones are logged here and never shown."""
        raise NotImplementedError

    async def serve(self) -> None:
        try:
            self._check_open()
            if self.is_refused:
                raise BodyTooLarge(self.edge.limits.body_bytes)
            await unpack_body(self.request, self.edge.limits.body_bytes)
            answer = await self.answer()
        except Exception as error:
            answer = self.explain(error)
        self.send(answer)

    get = head = post = delete = patch = put = options = serve

    async def answer(self) -> Any:
        """Return what the operation returns: an Answer, or any JSON value."""
        route = self.known_route()
        request = self.request
        body = read_body(route.body, request, self.edge.limits)
        args = read_args(route.params, request, body, text_errors=self.TEXT_ERRORS)
        call = Call(self.edge, request, args, body, self.path_params)
        return await route.operation(call)

    def _check_open(self) -> None:
        if self.route is None or not self.route.is_probe:
            reason = self.edge.closed()
            if reason:
                raise ServerNotReady(f"the server is {reason}: nothing was done, try again")

    def known_route(self) -> Route:
        """Return the route if it has the method (HEAD where GET is harmless). Raises UnknownPath, WrongMethod."""
        route = self.route
        if route is None:
            raise UnknownPath
        method = self.request.method or ""
        if method not in route.methods and not (method == "HEAD" and "GET" in route.methods and route.has_head):
            raise WrongMethod(method)
        return route

    def send(self, answer: Any) -> None:
        """Write the whole answer."""
        if isinstance(answer, Answer):
            self.set_status(answer.status)
            for name, value in answer.headers.items():
                self.set_header(name, value)
            if answer.content_type:
                self.set_header("Content-Type", answer.content_type)
            else:
                self.clear_header("Content-Type")
            body = answer.body
        else:
            if self.route is not None and self.route.status != 200:
                self.set_status(self.route.status)
            body = self.encoded(answer)
        if self.get_status() in (204, 304):
            self.finish()
        else:
            self.finish(body)

    def encoded(self, value: Any) -> bytes:
        return dumps(value)

    def set_default_headers(self) -> None:
        self.set_header("Server", "tornflow")
        self.set_header("Content-Type", JSON)
        for name, value in self.FIXED_HEADERS:
            self.set_header(name, value)

    def compute_etag(self) -> None:
        return None  # states change; hashing every answer buys nothing

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """What Tornado itself refuses (an unknown method) in the family's words too."""
        error = WrongMethod(self.request.method or "") if status_code == 405 else None
        cause = kwargs.get("exc_info", (None, None, None))[1]
        self.send(self.explain(error or cause or Exception(f"status {status_code}")))

    def log_exception(self, *args: Any) -> None:
        pass  # ``explain`` has logged what is worth it


Found = tuple[type[EdgeHandler], dict[str, Any]]
Finder = Callable[[HTTPServerRequest], Found | None]


class EdgeApplication(Application):
    """Routes by a dictionary first, then by the finders, then by ordinary Tornado rules, last to ``unknown``."""

    def __init__(
        self,
        edge: Edge,
        exact: Mapping[str, Found],
        finders: Sequence[Finder],
        unknown: type[EdgeHandler],
        metrics: RequestMetrics,
        rules: Sequence[Any] = (),
    ) -> None:
        super().__init__(list(rules))
        self.edge = edge
        self.metrics = metrics
        self._exact = dict(exact)
        self._below = urlsplit(edge.server_url).path.rstrip("/")
        self._finders = tuple(finders)
        self._unknown: Found = (unknown, {"edge": edge, "route": None})

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        if not request.path.startswith("/"):
            to_origin_form(request)
        # A proxy that serves us below a path may pass it on, or take it away.
        if self._below and request.path.startswith(self._below + "/"):
            request.path = request.path[len(self._below) :]
        found = self._exact.get(request.path) or self._search(request)
        if found is None:
            delegate = self.default_router.find_handler(request, **kwargs)
            if delegate is not None:
                return delegate
            found = self._unknown
        headers = request.headers
        media = headers.get("Content-Type")
        if media is not None and media.startswith(("application/x-www-form-urlencoded", "multipart/")):
            # Tornado would parse such a body and refuse what is no form; a route takes the bytes of any type
            headers["Content-Type"] = "raw/" + media
        handler, arguments = found
        delegate = self.get_handler_delegate(request, handler, arguments)
        if self._may_be_too_large(headers):
            refusal = self.get_handler_delegate(request, handler, {**arguments, "is_refused": True})
            return _BoundedBody(delegate, refusal, request, self.edge)
        return delegate

    def log_request(self, handler: RequestHandler) -> None:
        request = handler.request
        seconds = request.request_time()
        uri = handler.uri_label if isinstance(handler, EdgeHandler) else UNKNOWN_URI
        self.metrics.observe(request.method or "", uri, handler.get_status(), seconds)
        if self.edge.access_log is not None:
            self.edge.access_log(request.method or "", request.path, handler.get_status(), seconds)

    def _search(self, request: HTTPServerRequest) -> Found | None:
        for finder in self._finders:
            found = finder(request)
            if found is not None:
                return found
        path = request.path
        return self._exact.get(path.rstrip("/")) if path.endswith("/") else None

    def _may_be_too_large(self, headers: HTTPHeaders) -> bool:
        length = headers.get("Content-Length")
        if length is None:
            return "Transfer-Encoding" in headers
        return not length.isdecimal() or len(length) > 18 or int(length) > self.edge.limits.body_bytes


class _BoundedBody(HTTPMessageDelegate):
    """Drops a body beyond the limit, but reads it to its end, so that the sender sees why it was refused."""

    def __init__(
        self, accepted: HTTPMessageDelegate, refused: HTTPMessageDelegate, request: HTTPServerRequest, edge: Edge
    ) -> None:
        self._accepted = accepted
        self._refused = refused
        self._left = edge.limits.body_bytes
        if isinstance(request.connection, HTTP1Connection):
            request.connection.set_max_body_size(edge.limits.drain_bytes)

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> Any:
        return self._accepted.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        if self._left < 0:
            return None
        self._left -= len(chunk)
        if self._left < 0:
            self._accepted.on_connection_close()  # lets go of what it has collected
            return None
        return self._accepted.data_received(chunk)

    def finish(self) -> None:
        (self._refused if self._left < 0 else self._accepted).finish()

    def on_connection_close(self) -> None:
        self._accepted.on_connection_close()
