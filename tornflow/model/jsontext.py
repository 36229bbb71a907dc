"""JSON as text: fast, and exact for integers of any size (decisions, "Rill language" 17).

orjson refuses to write integers beyond 64 bits and reads them as floats; both cases fall back to the standard library.
What needs the fallback is found without a pattern: a pattern takes longer over a text than orjson does.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_ZEROS = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_BEYOND_64_BITS = (b"0" * 20, b"-" + b"0" * 19)
"""A number of 19 digits fits, unless it is negative; both as they look when every digit is a 0."""
_DIGITS = re.compile(rb"0*")
_MINUS = 0x2D
_BEFORE_NUMBER = b"[,: \t\r\n"
_MAX_LOOKS = 16  # beyond it the exact reader costs less than further looks


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
    if not _may_hold_long_integers(text):
        return orjson.loads(text)
    try:
        return _EXACT.decode(text.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def without_null_members(value: Any) -> Any:
    """Return a JSON value without those members of objects that are null, at any depth; elements of arrays stay.

    A value that has none is returned as it is, so that a look at a clean one copies nothing. Never changes ``value``.
    """
    if not _has_null_members(value):
        return value
    result = value.copy()
    waiting = [result]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            for name in [name for name, child in node.items() if child is None]:
                del node[name]
        # Replacing the value of an existing key is safe while iterating.
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(child, (dict, list)):
                node[key] = fresh = child.copy()
                waiting.append(fresh)
    return result


def _has_null_members(value: Any) -> bool:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if None in node.values():
                return True
            waiting.extend(child for child in node.values() if isinstance(child, (dict, list)))
        elif isinstance(node, list):
            waiting.extend(child for child in node if isinstance(child, (dict, list)))
    return False


def _may_hold_long_integers(text: bytes) -> bool:
    """Return False when no integer outside of strings exceeds 64 bits; True may be wrong, and only costs time."""
    flat = text.translate(_ZEROS)
    return any(needle in flat and _stands_alone(flat, needle) for needle in _BEYOND_64_BITS)


def _stands_alone(flat: bytes, needle: bytes) -> bool:
    at = flat.find(needle)
    for _ in range(_MAX_LOOKS):
        if at < 0:
            return False
        start = at - 1 if at and flat[at - 1] == _MINUS else at
        # Digits after a quote or a letter belong to a string, those after a point or an "e" to a float.
        if start == 0 or flat[start - 1] in _BEFORE_NUMBER:
            return True
        rest = _DIGITS.match(flat, at + len(needle))
        assert rest is not None  # it matches nothing, too
        at = flat.find(needle, rest.end())
    return at >= 0


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text[:40]} is out of range")
    return number


_EXACT = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)  # json.loads would make one per call
