"""Request bodies that were packed for the way (RFC 9110, 8.4): gzip and deflate, bounded like any other body."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from tornado.httputil import HTTPServerRequest

from tornflow.api.reading import BadRequest
from tornflow.runtime.offload import run_long

CODINGS = "gzip, deflate"
_LAYERS = 2
_MEMBERS = 16  # of one gzip body; each costs a copy of what follows it


class BodyTooLarge(Exception):
    """The body, as sent or unpacked, exceeds ``EdgeLimits.body_bytes``; it was dropped."""

    def __init__(self, allowed: int) -> None:
        super().__init__(f"the request body exceeds the limit of {allowed} bytes")


class UnknownCoding(Exception):
    """The body is packed in a way that cannot be unpacked here."""

    def __init__(self, coding: str) -> None:
        super().__init__(f"Content-Encoding '{coding[:100]}' not supported: {CODINGS} are")


async def unpack_body(request: HTTPServerRequest, limit: int) -> None:
    """Replace the body by what was packed, if it is packed.

    Raises:
        UnknownCoding
        BodyTooLarge: it unpacks to more than ``limit`` bytes; no more than that was unpacked.
        BadRequest: it is not what its header says.
    """
    codings = _codings(request)
    if not codings or not request.body:
        return
    body = request.body
    for coding in reversed(codings):
        unpack = _UNPACK.get(coding)
        if unpack is None or len(codings) > _LAYERS:
            raise UnknownCoding(", ".join(codings))
        try:
            body = await run_long(len(body), lambda unpack=unpack, body=body: unpack(body, limit))  # type: ignore[misc]
        except zlib.error as error:
            raise BadRequest("body", f"the body is not {coding}: {error}") from error
    request.body = body


def _codings(request: HTTPServerRequest) -> list[str]:
    given = request.headers.get("Content-Encoding")
    if given is None:
        return []
    return [name for part in given.split(",") if (name := part.strip().lower()) not in ("", "identity")]


def _gunzip(body: bytes, limit: int) -> bytes:
    unpacked = b""
    for _ in range(_MEMBERS):
        part, body = _inflate(body, 31, limit - len(unpacked), limit)
        unpacked = unpacked + part if unpacked else part
        if not body:
            return unpacked
    raise zlib.error(f"more than {_MEMBERS} members")


def _undeflate(body: bytes, limit: int) -> bytes:
    # The name means zlib's frame, but many senders leave it out.
    is_framed = body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0
    unpacked, rest = _inflate(body, 15 if is_framed else -15, limit, limit)
    if rest:
        raise zlib.error("something follows it")
    return unpacked


def _inflate(body: bytes, frame: int, left: int, limit: int) -> tuple[bytes, bytes]:
    """Return what was packed, up to ``left`` bytes, and what follows it."""
    stream = zlib.decompressobj(frame)
    unpacked = stream.decompress(body, left + 1)
    if len(unpacked) > left:
        raise BodyTooLarge(limit)
    if not stream.eof:
        raise zlib.error("it ends too early")
    return unpacked, stream.unused_data


_UNPACK: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _undeflate}
