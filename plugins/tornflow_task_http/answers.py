"""Reads the bodies of answers: a good one whole and within a limit, a bad one as far as people need it."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

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


@dataclass(frozen=True, slots=True)
class Whole:
    """A 2xx answer: its status line, its body, and the charset that its head names in lower case; "" is UTF-8."""

    status: str
    body: bytes
    charset: str = ""

    def unreadable(self, reason: str) -> str:
        """Return why a body without the JSON that was asked for is none, with what people need of it."""
        if not self.body.strip():
            return f"{self.status}: the answer is empty, not JSON"
        return f"{self.status}: the answer is not JSON, {reason}: {_excerpt(self.body, self.charset)}"


async def read_whole(message: RawResponseMessage, content: StreamReader, limit: int) -> Whole | Broken:
    """Return the body, unpacked, if it has at most ``limit`` bytes."""
    coding = _coding(message)
    status, charset = status_line(message), charset_of(message.headers.get("Content-Type", ""))
    length = message.headers.get("Content-Length")
    if length is not None and int(length) <= limit and coding == "identity":
        return Whole(status, await content.read(), charset)
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
    return Whole(status, bytes(found), charset)


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
    return _excerpt(bytes(found), charset_of(message.headers.get("Content-Type", "")))


def _excerpt(raw: bytes, charset: str) -> str:
    text = _decoded(raw[:_EXCERPT_BYTES], charset)[:EXCERPT_CHARS]
    return f'"{_CONTROL.sub("?", _LINE_END.sub("<EOL>", text))}"'


def status_line(message: RawResponseMessage) -> str:
    return f"{message.code} {message.reason or ''}"


_CODINGS = ("identity", "gzip", "x-gzip", "deflate")


def _coding(message: RawResponseMessage) -> str:
    return message.headers.get("Content-Encoding", "identity").strip().lower()


def _decoded(raw: bytes, charset: str) -> str:
    try:
        return raw.decode(charset or "utf-8-sig", errors="replace")
    except LookupError:
        return raw.decode("utf-8", errors="replace")


@lru_cache(maxsize=256)
def charset_of(content_type: str) -> str:
    """Return the charset that a Content-Type names, in lower case; "" for none and for UTF-8."""
    named = _CHARSET.search(content_type)
    charset = named[1].lower() if named else ""
    return "" if charset in ("utf-8", "utf8") else charset
