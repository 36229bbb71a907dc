"""Fixed pages: packed with gzip where that helps, and sent only to who does not have them yet."""

from __future__ import annotations

import gzip
import hashlib

from tornflow.api.routes import Answer, Call

Page = tuple[str, bytes, str, dict[str, str]]
"""Path, body, content type, headers."""

_WORTH_PACKING = 1024


class FixedPage:
    """Answers GET with one body. What is made of it (a digest, the packed form) is made when first asked for."""

    def __init__(self, page: Page) -> None:
        _, self._body, self._content_type, self._headers = page
        self._digest = ""
        self._packed: bytes | None = None

    async def __call__(self, call: Call) -> Answer:
        headers = call.request.headers
        is_packed = len(self._body) >= _WORTH_PACKING and _takes_gzip(headers.get("Accept-Encoding", ""))
        tag = self._tag(is_packed)
        own = {**self._headers, "ETag": tag, "Vary": "Accept-Encoding"}
        if _is_among(tag, headers.get("If-None-Match", "")):
            return Answer(304, b"", self._content_type, own)
        if is_packed:
            return Answer(200, self._gzipped(), self._content_type, {**own, "Content-Encoding": "gzip"})
        return Answer(200, self._body, self._content_type, own)

    def _tag(self, is_packed: bool) -> str:
        """The two forms differ byte for byte, so their tags must differ too."""
        if not self._digest:
            self._digest = hashlib.sha256(self._body).hexdigest()[:32]
        return f'"{self._digest}-gzip"' if is_packed else f'"{self._digest}"'

    def _gzipped(self) -> bytes:
        if self._packed is None:
            self._packed = gzip.compress(self._body, 6, mtime=0)
        return self._packed


def _takes_gzip(accepted: str) -> bool:
    """Read Accept-Encoding: ``gzip``, else ``*``, unless its quality is 0."""
    wanted: dict[str, bool] = {}
    for part in accepted.lower().split(","):
        coding, _, parameter = part.partition(";")
        quality = parameter.replace(" ", "").removeprefix("q=")
        wanted[coding.strip()] = not quality or quality.strip("0.") != ""
    return wanted.get("gzip", wanted.get("*", False))


def _is_among(tag: str, given: str) -> bool:
    tags = [one.strip().removeprefix("W/") for one in given.split(",")]
    return tag in tags or "*" in tags
