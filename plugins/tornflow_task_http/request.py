"""From an attempt to the HTTP request: pure, no I/O (rill-dsl 12.2).

The entries of the input are distributed in their order over query, headers and body; a later entry of the same name
wins. What the server adds itself comes first and may be overridden, except for the query ``name``, which is always
the task instance, and the ``extra_body`` of a completion callback.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from tornflow.spi.task_type import Attempt
from tornflow_task_http.payload import NotJson, encode, text_of
from tornflow_task_http.samples import SAMPLES, sample_here
from tornflow_task_http.signing import signed

FORM = "application/x-www-form-urlencoded"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ASYNC_PATTERNS = frozenset({"task_async", "task_scheduler"})
_PLAIN_KEY = re.compile(r"[A-Za-z0-9:/_.~-]+")
_PLAIN_ID = re.compile(r"[A-Za-z0-9:_.~-]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
# They describe the message on the wire. A wrong one would let an input smuggle a second request past the policy.
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"})


class Unsendable(Exception):
    """The input cannot be made into a request; the message names the entry and the reason."""


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """``url`` is complete and percent-encoded; ``body`` is None for GET alone (decisions, 11)."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None


def shape(attempt: Attempt, server_url: str, secret: str = "", *, strict: bool = False) -> OutboundRequest:
    """Return the request of one attempt.

    Args:
        server_url: the value of ``X-Flow-Server`` when the attempt names none.
        secret: signs the callback URL when the input asks for it with ``generate_auth``; "" never signs.
        strict: every method but GET is POST, as in the reference.

    Raises:
        Unsendable: resource, header or value cannot be sent. Nothing was sent.
    """
    resource = attempt.resource
    if resource in SAMPLES:
        resource = sample_here(resource, attempt.server_url or server_url)
    base, joint = _base_url(resource)
    entries, wants_signature = _without_auth(attempt.input)
    query, own_headers, body = _distribute(attempt, entries)
    callback_url = attempt.callback_url
    if wants_signature and secret and callback_url:
        callback_url = signed(callback_url, secret)
    method = _method(attempt.request_type, strict)
    headers = _server_headers(attempt, attempt.server_url or server_url, callback_url)
    if method != "GET":
        headers["Content-Type"] = "application/json"
    if own_headers:
        _overlay(headers, own_headers)
    try:
        url = base + joint + "&".join([_pair(name, text_of(value)) for name, value in query.items()])
        return OutboundRequest(method, url, headers, None if method == "GET" else _body(headers, body))
    except NotJson as error:
        raise Unsendable(f"the input cannot be written as JSON: {error}") from error


def preview(attempt: Attempt, server_url: str, *, strict: bool = False) -> dict[str, Any]:
    """Return the URL and the body as an object, also where the body would go out as a form or not at all (GET).

    Raises:
        Unsendable: as ``shape``.
    """
    made = shape(attempt, server_url, strict=strict)
    _, _, body = _distribute(attempt, _without_auth(attempt.input)[0])
    return {"url": made.url, "body": body}


def _distribute(attempt: Attempt, entries: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    query: dict[str, Any] = {"execution_id": attempt.execution_id}
    headers: dict[str, Any] = {}
    body: dict[str, Any] = {"execution_id": attempt.execution_id}
    for key, value in entries.items():
        if not isinstance(value, Mapping):
            body[key] = value
        elif key == "body" or key.startswith("request_config_"):
            body.update(value)
        elif key == "query" or key.startswith("query_params_"):
            query.update(value)
        elif key == "header" or key.startswith("request_header_"):
            headers.update(value)
        elif not key.startswith("request_callback_"):
            body[key] = value
    if attempt.task_name:
        query["name"] = attempt.task_name
    body.update(attempt.extra_body)
    return query, headers, body


def _without_auth(entries: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Take ``generate_auth`` out when it says yes (``1`` or ``true``, any case); any other value is plain data."""
    if "generate_auth" not in entries or str(entries["generate_auth"]).lower() not in ("1", "true"):
        return entries, False
    return {key: value for key, value in entries.items() if key != "generate_auth"}, True


def _server_headers(attempt: Attempt, server_url: str, callback_url: str) -> dict[str, str]:
    headers = {"X-Flow-Server": server_url}
    if callback_url:
        headers["X-Callback-Url"] = callback_url
    if attempt.pattern in _ASYNC_PATTERNS:
        headers["X-Mode"] = "async"
    if attempt.idempotency_key:
        # Execution ids and task names are checked where they enter; a Dapr instance id may still hold any character.
        key = attempt.idempotency_key
        is_plain = _PLAIN_KEY.fullmatch(key) is not None
        headers["X-Idempotency-Key"] = key if is_plain else quote(key, safe=":/-_.~", errors="replace")
    return headers


def _overlay(headers: dict[str, str], given: Mapping[str, Any]) -> None:
    """Set the headers of the input; a name replaces the same name in any case."""
    known = {name.lower(): name for name in headers}
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise Unsendable(f"header {name!r}: not a header name")
        if (lower := name.lower()) in _OWN_HEADERS:
            raise Unsendable(f"header {name!r}: set by the server only")
        if value is None:
            continue  # decisions, 20
        text = text_of(value)
        if not _HEADER_VALUE.fullmatch(text):
            raise Unsendable(f"header {name!r}: the value contains a line break or control character")
        headers.pop(known.get(lower, name), None)
        headers[name] = text
        known[lower] = name


def _method(word: str, strict: bool) -> str:
    """Any other word is POST, as in the reference; ``tornflow lint`` warns of it."""
    method = word.strip().upper()
    if strict and method != "GET":
        return "POST"
    return method if method in _METHODS else "POST"


def _body(headers: dict[str, str], body: dict[str, Any]) -> bytes:
    """Encode the body; the header of a form is completed with its charset, as the reference sends it."""
    name = next((name for name, value in headers.items() if value == FORM and name.lower() == "content-type"), None)
    if name is not None:
        headers[name] = f"{FORM};charset=UTF-8"
        fields = [_pair(key, text_of(value)) for key, value in body.items() if value is not None]  # decisions, 20
        return "&".join(fields).encode()
    return encode(body)


def _pair(name: str, text: str) -> str:
    try:
        return f"{_quoted(name)}={_quoted(text)}"
    except UnicodeEncodeError as error:
        raise Unsendable(f"entry {name!r}: half a character (lone surrogate) cannot be sent") from error


def _quoted(text: str) -> str:
    """Names, and ids that every task of an execution sends, are short and come again."""
    return _kept(text) if len(text) <= 256 else quote_plus(text)


@lru_cache(maxsize=4096)
def _kept(text: str) -> str:
    """An execution id is new with every flow; nearly all have nothing to encode but colons."""
    return text.replace(":", "%3A") if _PLAIN_ID.fullmatch(text) else quote_plus(text)


def origin_of(resource: str) -> str | None:
    """Return ``scheme://host:port`` of a resource; None for what is no http or https URL."""
    try:
        parts = urlsplit(_base_url(resource)[0])
        return f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    except Unsendable:
        return None


@lru_cache(maxsize=2048)
def _base_url(resource: str) -> tuple[str, str]:
    """Return the resource, encoded where it must be, and what joins the query to it.

    Only what would break the request line is encoded (blanks, control characters, non-ASCII): the rest stands verbatim.
    """
    try:
        parts = urlsplit(resource.strip())
        host, _ = parts.hostname, parts.port
        netloc = _ascii_netloc(parts.netloc)
        url = quote(parts._replace(netloc=netloc, fragment="").geturl(), safe=_VERBATIM)
    except ValueError as error:
        raise Unsendable(f"resourceName {resource!r}: {error}") from error
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise Unsendable(f"resourceName {resource!r}: not an http or https URL")
    if not parts.query:
        return url.removesuffix("?"), "?"
    return url, "" if url.endswith("&") else "&"


_VERBATIM = "%/:=&?~+!$,;'@()*[]"


def _ascii_netloc(netloc: str) -> str:
    """Return the place with its host as DNS has it (punycode).

    Raises:
        ValueError: the host cannot be written so.
    """
    if netloc.isascii():
        return netloc
    user, at, place = netloc.rpartition("@")
    host, colon, port = place.partition(":")
    return f"{user}{at}{host.encode('idna').decode()}{colon}{port}"
