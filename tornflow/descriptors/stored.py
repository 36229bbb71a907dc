"""The stored form of a descriptor, and its identity."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

import orjson

from tornflow.descriptors.build import build
from tornflow.model.descriptor import Descriptor, Json
from tornflow.model.jsontext import dumps, loads

# Large documents are packed: JSON repeats every key, and a record of a store holds at most 1 MiB.
_PACK_FROM_BYTES = 64 * 1024
_PACKED = b"z"


def dump_stored(descriptor: Descriptor) -> bytes:
    """Return what ``load_stored`` reads. Equal descriptors give equal bytes."""
    body = dumps({"md5": descriptor.md5, "document": descriptor.document})
    return body if len(body) < _PACK_FROM_BYTES else _PACKED + zlib.compress(body, 6)


def load_stored(body: bytes) -> Descriptor:
    """Return the descriptor that was dumped; nothing is validated again.

    Raises:
        ValueError: not a dumped descriptor.
    """
    try:
        plain = zlib.decompress(body[1:]) if body.startswith(_PACKED) else body
        stored = loads(plain)
        return build(stored["document"], stored["md5"])
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"not a stored descriptor: {error!r}") from error


def content_md5(document: Json) -> str:
    """Return the hex MD5 of the canonical JSON of a document. A name, not a protection."""
    return hashlib.md5(_canonical(document), usedforsecurity=False).hexdigest()


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
