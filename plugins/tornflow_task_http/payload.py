"""JSON in and out, with integers exact at any size (decision 17).

orjson is several times faster than the standard library, but refuses integers beyond 64 bit when it writes and turns
them into floats when it reads. Both cases go to the standard library; neither is common enough to cost anything.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from typing import Any

import orjson

# 19 digits is the shortest text that may not fit into 64 bit. Every digit is made a "0" and then a run of them looked
# for: six times faster than a regular expression, which would cost more than orjson itself.
_DIGITS_TO_ZERO = bytes(ord("0") if chr(code).isascii() and chr(code).isdigit() else 0 for code in range(256))
_LONG_NUMBER = b"0" * 19


# Python knows codecs that are no charsets of texts, some of them quadratic.
_CHARSETS = re.compile(
    r"utf-?(8|16|32)([-_]?[lb]e)?|(us-)?ascii|iso-8859-\d{1,2}|latin-?1|windows-125\d|gbk|gb2312|gb18030|big5|shift_jis|"
    r"euc-(jp|kr)|koi8-[ru]"
)


class NotJson(ValueError):
    """The text is not JSON, or the value cannot be written as JSON; the message says why."""


def decode(body: bytes, charset: str = "") -> Any:
    """Return the JSON value of ``body``, which is UTF-8 unless ``charset`` names another. A byte order mark is skipped.

    Raises:
        NotJson: blank, not in its charset, not JSON, nested too deeply, or with an integer of more than 4,300 digits.
    """
    if charset:
        body = _as_utf8(body, charset)
    if body.startswith(BOM_UTF8):
        body = body[len(BOM_UTF8) :]
    try:
        if _LONG_NUMBER not in body.translate(_DIGITS_TO_ZERO):
            return orjson.loads(body)
        value = json.loads(body.decode())
        # The standard library reads more than JSON: NaN, infinity, half characters. Writing it again finds them.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def _as_utf8(body: bytes, charset: str) -> bytes:
    if not _CHARSETS.fullmatch(charset):
        raise NotJson(f"its charset {charset[:40]!r} is unknown")
    try:
        return body.decode(charset).encode()
    except (ValueError, LookupError) as error:
        raise NotJson(f"it is no text in its charset {charset}: {error}") from error


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
