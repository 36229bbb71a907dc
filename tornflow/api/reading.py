"""Reading a request: parameters and bodies by the declarations of its route. Bad input raises ``BadRequest``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from tornado.httputil import HTTPServerRequest

from tornflow.api.edge import EdgeLimits
from tornflow.api.routes import Body, Json, Kind, Param
from tornflow.model.jsontext import dumps, loads

FORM_FIELDS_LIMIT = 1_000
_TRUE = frozenset(("true", "on", "yes", "1"))
_FALSE = frozenset(("false", "off", "no", "0"))
_INT_CHARS = 20  # the sign and the digits of a 64-bit integer
# Python knows codecs that are no charsets of texts, some of them quadratic
_CHARSETS = re.compile(
    r"utf-?(8|16|32)([-_]?[lb]e)?|(us-)?ascii|iso-8859-\d{1,2}|latin-?1|windows-125\d|gbk|gb2312|gb18030|big5|shift_jis|euc-(jp|kr)"
)


class BadRequest(Exception):
    """The request breaks the declaration of its route; ``field`` names the parameter, or is "body"."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


class UnsupportedMedia(BadRequest):
    """The body is neither of the declared type nor readable as such."""


class Unstorable(BadRequest):
    """JSON, but nested too deeply or with half a surrogate pair: it could not be written again."""


def read_args(params: tuple[Param, ...], request: HTTPServerRequest, body: Any, *, text_errors: str = "strict") -> Json:
    """Return a value for each parameter. ``text_errors``: "replace" reads bytes that are not UTF-8 as U+FFFD.

    Raises:
        BadRequest: a required one is absent, or one cannot be converted.
    """
    given: Mapping[str, list[bytes]] = request.arguments
    if request.headers.get("Content-Type", "").startswith("raw/application/x-www-form-urlencoded"):
        given = {**_form_fields(request.body), **given}
    return {param.name: _read(param, given, body, text_errors) for param in params}


def read_body(kind: Body, request: HTTPServerRequest, limits: EdgeLimits) -> Any:
    """Return the JSON object, the text, or None.

    Raises:
        BadRequest: absent though required, not readable, or not an object.
    """
    if kind is Body.NONE:
        return None
    raw = request.body
    if not raw:
        if kind is Body.OPTIONAL_JSON:
            return None
        if kind is Body.OPTIONAL_RAW:
            return ""
        raise BadRequest("body", "Required request body is missing")
    if kind in (Body.RAW, Body.OPTIONAL_RAW):
        return _decoded(raw, request)
    try:
        return _json_object(_as_utf8(raw, request), limits)
    except BadRequest as error:
        if _says_json(request):
            raise
        media = _content_type(request)
        raise UnsupportedMedia("body", f"Content type '{media}' not supported: {error.reason}") from error


def read_json(raw: bytes, limits: EdgeLimits) -> Any:
    """Return the value of a JSON text; integers are exact at any size a document may sanely have.

    Raises:
        BadRequest: not JSON.
        Unstorable: nested too deeply, or text that is not Unicode.
    """
    try:
        value = loads(raw)
    except ValueError as error:
        raise BadRequest("body", f"JSON parse error: {error}") from error
    if raw.count(b"{") + raw.count(b"[") > limits.json_depth and _depth_exceeds(value, limits.json_depth):
        raise Unstorable("body", f"JSON parse error: nested deeper than {limits.json_depth} levels")
    if _has_surrogates(raw):
        _refuse_lone_surrogates(value)
    return value


def refuse_unstorable(raw: bytes, limits: EdgeLimits) -> None:
    """Raise Unstorable for a body that is taken verbatim, but will be read as JSON further down; text is fine."""
    if raw.count(b"{") + raw.count(b"[") <= limits.json_depth and not _has_surrogates(raw):
        return
    try:
        read_json(raw, limits)
    except Unstorable:
        raise
    except BadRequest:
        return


def is_within(value: Any, raw_length: int, limit: int) -> bool:
    """Return whether a JSON value has at most ``limit`` characters.

    The shorter of the text as sent (``raw_length`` bytes) and its compact form counts, so the usual case costs nothing.
    """
    return raw_length <= limit or len(dumps(value).decode()) <= limit


def _read(param: Param, given: Mapping[str, list[bytes]], body: Any, errors: str) -> Any:
    values = given.get(param.name)
    if values is None:
        values = next((given[other] for other in param.also if other in given), None)
    if values is None and param.in_passthrough:
        values = _from_passthrough(param.name, body)
    if values is None:
        if param.required:
            raise BadRequest(param.name, f"Required request parameter '{param.name}' is not present")
        return param.default
    kind = param.kind
    if kind is Kind.LIST:
        return [part for value in values for part in _text(param.name, value, errors).split(",")]
    text = _text(param.name, values[0], errors)
    if kind is Kind.NAME:
        return text.strip()
    if kind is Kind.TEXT:
        return text
    if not param.required and not text.strip():
        return param.default  # `?time=` is what forms send for "not filled in"
    return _bool(param.name, text) if kind is Kind.BOOL else _int(param.name, text)


def _text(name: str, value: bytes, errors: str) -> str:
    try:
        return value.decode(errors=errors)
    except UnicodeDecodeError as error:
        raise BadRequest(name, f"Parameter '{name}' is not UTF-8") from error


def _bool(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadRequest(name, f"Parameter '{name}' must be true, on, yes, 1, false, off, no or 0: {text[:100]!r}")


def _int(name: str, text: str) -> int:
    digits = text.strip()
    body = digits[1:] if digits[:1] in ("-", "+") else digits
    if len(digits) > _INT_CHARS or not (body.isascii() and body.isdigit()):
        raise BadRequest(name, f"Parameter '{name}' must be a decimal integer: {text[:100]!r}")
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise BadRequest(name, f"Parameter '{name}' must fit into 64 bits: {text[:100]!r}")
    return number


def _from_passthrough(name: str, body: Any) -> list[bytes] | None:
    passthrough = body.get("passthrough") if isinstance(body, dict) else None
    value = passthrough.get(name) if isinstance(passthrough, dict) else None
    return [value.encode(errors="replace")] if isinstance(value, str) else None


def _form_fields(body: bytes) -> dict[str, list[bytes]]:
    """Return the fields of a form, nothing at all if it is none: any client may send JSON under a form's type."""
    try:
        text = body.decode("latin-1")
        pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=FORM_FIELDS_LIMIT)
    except ValueError:
        return {}
    fields: dict[str, list[bytes]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value.encode("latin-1"))
    return fields


def _content_type(request: HTTPServerRequest) -> str:
    return request.headers.get("Content-Type", "").removeprefix("raw/")


def _says_json(request: HTTPServerRequest) -> bool:
    media = _content_type(request).partition(";")[0].strip().lower()
    return media == "application/json" or (media.startswith("application/") and media.endswith("+json"))


def _charset(request: HTTPServerRequest) -> str:
    for part in _content_type(request).split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


def _decoded(raw: bytes, request: HTTPServerRequest) -> str:
    charset = _charset(request)
    if _CHARSETS.fullmatch(charset) is None:
        raise UnsupportedMedia("body", f"Content type '{_content_type(request)}' not supported: unknown charset")
    try:
        return raw.decode(charset)
    except (LookupError, ValueError) as error:
        raise BadRequest("body", f"The body is not {charset} text: {error}") from error


def _as_utf8(raw: bytes, request: HTTPServerRequest) -> bytes:
    if ";" not in request.headers.get("Content-Type", "") or _charset(request) in ("utf-8", "utf8"):
        return raw
    return _decoded(raw, request).encode(errors="surrogatepass")


def _json_object(raw: bytes, limits: EdgeLimits) -> Json:
    value = read_json(raw, limits)
    if not isinstance(value, dict):
        raise BadRequest("body", "JSON parse error: the body must be a JSON object")
    return value


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _has_surrogates(raw: bytes) -> bool:
    return b"\\ud" in raw or b"\\uD" in raw


def _refuse_lone_surrogates(value: Any) -> None:
    # orjson refuses them itself; the standard library, used for long integers, lets them through
    try:
        dumps(value)
    except ValueError as error:
        raise Unstorable("body", "JSON parse error: a surrogate without its pair") from error
