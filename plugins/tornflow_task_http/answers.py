"""Reads the bodies of answers: a good one whole and within a limit, a bad one as far as people need it."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from enum import Enum, auto

import aiohttp
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

EXCERPT_CHARS = 2048  # decisions, 22
_EXCERPT_BYTES = 4 * EXCERPT_CHARS  # no character takes more in UTF-8
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Again(Enum):
    """When a second try is right: nothing was processed; only in strict mode; it would end the same."""

    YES = auto()
    IF_STRICT = auto()
    NO = auto()


@dataclass(frozen=True, slots=True)
class Broken:
    """The try failed; ``reason`` is for people, ``code`` for programs (docs/task-types.md lists them)."""

    reason: str
    code: str
    again: Again = Again.IF_STRICT


async def read_whole(message: RawResponseMessage, content: StreamReader, limit: int) -> bytes | Broken:
    """Return the body, unpacked, if it has at most ``limit`` bytes."""
    coding = _coding(message)
    length = message.headers.get("Content-Length")
    if length is not None and int(length) <= limit and coding == "identity":
        return await content.read()
    if coding not in _CODINGS:
        return Broken(f"the answer has the unknown Content-Encoding {coding[:40]!r}", "encoding", Again.NO)
    unpack = None if coding == "identity" else zlib.decompressobj(wbits=47)
    found = bytearray()
    async for chunk in content.iter_any():
        try:
            found += chunk if unpack is None else unpack.decompress(chunk, limit + 1)
        except zlib.error as error:
            return Broken(f"the compressed answer is damaged: {error}", "encoding")
        if len(found) > limit:
            return Broken(f"the answer is larger than outbound.answer_limit_bytes = {limit}", "too_large", Again.NO)
    return bytes(found)


async def read_excerpt(message: RawResponseMessage, content: StreamReader) -> str:
    """Return the beginning of a body in quotes, as the reference shows it in failures (rill-http-api 6.1).

    Line ends are ``<EOL>``, other control characters ``?``; no body at all is ``[no body]``.
    """
    coding = _coding(message)
    unpack = zlib.decompressobj(wbits=47) if coding in _CODINGS[1:] else None
    found = bytearray()
    try:
        async for chunk in content.iter_any():
            found += chunk if unpack is None else unpack.decompress(chunk, _EXCERPT_BYTES)
            if len(found) >= _EXCERPT_BYTES:
                break
    except (zlib.error, aiohttp.ClientError, OSError):
        pass  # the status is what matters; what was read so far will do
    if not found:
        return "[no body]"
    text = _decoded(bytes(found[:_EXCERPT_BYTES]), message.headers.get("Content-Type", ""))[:EXCERPT_CHARS]
    return f'"{_CONTROL.sub("?", _LINE_END.sub("<EOL>", text))}"'


_CODINGS = ("identity", "gzip", "x-gzip", "deflate")


def _coding(message: RawResponseMessage) -> str:
    return message.headers.get("Content-Encoding", "identity").strip().lower()


def _decoded(raw: bytes, content_type: str) -> str:
    named = _CHARSET.search(content_type)
    try:
        return raw.decode(named[1] if named else "utf-8", errors="replace")
    except LookupError:
        return raw.decode("utf-8", errors="replace")
