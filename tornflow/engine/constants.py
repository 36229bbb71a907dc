"""Constant texts to values (rill-dsl 5.3; integers are exact, decisions 17)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from tornflow.model.jsontext import without_null_members

MAX_NUMBER_CHARACTERS = 400
"""A longer number stays text; so does one that is too large for a float."""

# The same blanks as Java's trim: everything up to U+0020.
_BLANKS = "".join(map(chr, range(0x21)))
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BARE_KEY = re.compile(r'("(?:[^"\\]|\\.)*")|([A-Za-z_$][A-Za-z0-9_$-]*)(?=\s*:)', re.DOTALL)


def constant(text: str) -> Any:
    """Return the JSON object or array that the text starts with, a boolean, a number, or else the text itself.

    Numbers with a ``.`` are floats, others integers (``1e3`` is 1000, ``15e-1`` is 1). Never raises; never None.
    """
    trimmed = text.strip(_BLANKS)
    if trimmed[:1] in ("{", "["):
        value = _container(trimmed)
        return text if value is None else value
    lowered = trimmed.lower() if len(trimmed) <= 5 else ""
    if lowered in ("true", "false"):
        return lowered == "true"
    if len(trimmed) > MAX_NUMBER_CHARACTERS or _NUMBER.fullmatch(trimmed) is None:
        return text
    number = _number(trimmed)
    return text if number is None else number


def default_context(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the initial context; top-level keys only, as written. Contexts hold no null members (rill-dsl 5.8)."""
    return {key: without_null_members(constant(text)) for key, text in values.items()}


def _number(text: str) -> int | float | None:
    mantissa, _, exponent = text.lower().partition("e")
    if "." not in text and not exponent:
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        return None
    if "." in text:
        return value
    # No float on the way: 1234567890123456789e1 is exact too. The exponent is small, or the float were infinite or 0.
    power = int(exponent)
    if power >= 0:
        return int(mantissa) * int(10**power) if value else 0
    digits: int = abs(int(mantissa)) // 10 ** min(-power, MAX_NUMBER_CHARACTERS)
    return -digits if mantissa.startswith("-") else digits


def _container(text: str) -> Any:
    """Return the leading object or array, or None. Keys may stand without quotes; what follows is ignored."""
    value = _leading(text)
    if value is None:
        value = _leading(_BARE_KEY.sub(lambda match: match.group(1) or f'"{match.group(2)}"', text))
    return value


def _leading(text: str) -> Any:
    try:
        value = _DECODER.raw_decode(text)[0]
        if "\\" in text:
            # An escaped half of a surrogate pair is JSON to the decoder, but nobody can write it as UTF-8.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("too large for a float")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_float=_float, parse_constant=_refuse)
