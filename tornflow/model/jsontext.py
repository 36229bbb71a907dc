"""JSON as text: fast, and exact for integers of any size (decisions, "Rill language" 17).

orjson refuses to write integers beyond 64 bits and reads them as floats; both cases fall back to the standard library.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_LONG_INTEGER = re.compile(rb"\d{19}")


class NullFree(dict[str, Any]):
    """An object known to hold no null at any depth: whoever leaves nulls out need not walk through it."""


def dumps(value: Any) -> bytes:
    """Return compact UTF-8 JSON. Raises TypeError or ValueError for what is not JSON (NaN is written as null)."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def loads(text: bytes) -> Any:
    """Return the value. Raises ValueError for what is not JSON, nested too deeply, or holds NaN or Infinity."""
    if _LONG_INTEGER.search(text) is None:
        return orjson.loads(text)
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text[:40]} is out of range")
    return number
