"""JSON in and out, with integers exact at any size (decision 17).

orjson is several times faster than the standard library, but refuses integers beyond 64 bit when it writes and turns
them into floats when it reads. Both cases go to the standard library; neither is common enough to cost anything.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

# 19 digits is the shortest text that may not fit into 64 bit. Every digit is made a "0" and then a run of them looked
# for: six times faster than a regular expression, which would cost more than orjson itself.
_DIGITS_TO_ZERO = bytes(ord("0") if chr(code).isascii() and chr(code).isdigit() else 0 for code in range(256))
_LONG_NUMBER = b"0" * 19


class NotJson(ValueError):
    """The text is not JSON, or the value cannot be written as JSON; the message says why."""


def decode(body: bytes) -> Any:
    """Return the JSON value of ``body``.

    Raises:
        NotJson: blank, not UTF-8, not JSON, nested too deeply, or with an integer of more than 4,300 digits.
    """
    try:
        if _LONG_NUMBER not in body.translate(_DIGITS_TO_ZERO):
            return orjson.loads(body)
        value = json.loads(body.decode())
        # The standard library reads more than JSON: NaN, infinity, half characters. Writing it again finds them.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return value
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
