"""JSON in and out, with integers exact at any size (decision 17).

orjson is several times faster than the standard library, but refuses integers beyond 64 bit when it writes and turns
them into floats when it reads. Both cases go to the standard library; neither is common enough to cost anything.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

# 19 digits is the shortest text that may not fit into 64 bit.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")


class NotJson(ValueError):
    """The text is not JSON, or the value cannot be written as JSON; the message says why."""


def decode(body: bytes) -> Any:
    """Return the JSON value of ``body``.

    Raises:
        NotJson: blank, not UTF-8, not JSON, or nested too deeply.
    """
    try:
        if _LONG_NUMBER.search(body) is None:
            return orjson.loads(body)
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def encode(value: Any) -> bytes:
    """Return ``value`` as compact JSON.

    Raises:
        NotJson: it holds something that JSON cannot say.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return _encode_slowly(value)


def text_of(value: Any) -> str:
    """Return a value as it stands in a query or header: strings raw, null as ``null``, the rest as JSON text."""
    return value if isinstance(value, str) else encode(value).decode()


def _encode_slowly(value: Any) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
