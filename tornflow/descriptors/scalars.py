"""What a raw scalar means: free-form values (``rill-dsl`` 1.1 item 5) and typed fields (item 6)."""

from __future__ import annotations

import math
import re

from tornflow.descriptors.nodes import Scalar

_NULLS = frozenset(["", "~", "null", "Null", "NULL"])
_TRUE = frozenset(form for word in ("true", "yes", "on") for form in (word, word.title(), word.upper()))
_FALSE = frozenset(form for word in ("false", "no", "off") for form in (word, word.title(), word.upper()))
_INTEGER = re.compile(
    r"(?P<sign>[-+]?)(?:0b(?P<bin>[01_]+)|0x(?P<hex>[0-9a-fA-F_]+)|0(?P<oct>[0-7_]+)|(?P<dec>0|[1-9][0-9_]*))"
)
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"
# Python refuses to convert longer digit strings by default; nobody writes them on purpose.
_MAX_DIGITS = 4000
_BASES = {"bin": 2, "hex": 16, "oct": 8, "dec": 10}
INT_RANGE = (-(2**31), 2**31 - 1)


def is_null(scalar: Scalar) -> bool:
    if scalar.tag == _TAG + "null":
        return True
    return scalar.is_plain and scalar.tag is None and scalar.text in _NULLS


def free_value(scalar: Scalar) -> bool | int | float | str | None:
    """Return the JSON value of a scalar in a free-form field.

    Raises:
        ValueError: it has no JSON value (``.nan``, a number beyond the range of a double, absurdly many digits).
    """
    if is_null(scalar):
        return None
    text = scalar.text
    if not _is_resolved(scalar):
        return text
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _NOT_JSON.fullmatch(text):
        raise ValueError(f"{text} is not a JSON number")
    if (match := _INTEGER.fullmatch(text)) is not None and (whole := _integer(match)) is not None:
        return whole
    return _finite(text.replace("_", "")) if _FLOAT.fullmatch(text) else text


def boolean(scalar: Scalar) -> bool:
    """Raises ValueError for anything but the accepted words."""
    if scalar.text in _TRUE and (scalar.is_plain or scalar.text.lower() == "true"):
        return True
    if scalar.text in _FALSE and (scalar.is_plain or scalar.text.lower() == "false"):
        return False
    raise ValueError(f"true or false is required, not {_shown(scalar)}")


def integer(scalar: Scalar) -> int:
    """Return a 32-bit integer; fractions are cut off. Raises ValueError."""
    value = _number(scalar)
    whole = value if isinstance(value, int) else math.trunc(value)
    if not INT_RANGE[0] <= whole <= INT_RANGE[1]:
        raise ValueError(f"an integer between {INT_RANGE[0]} and {INT_RANGE[1]} is required, not {_shown(scalar)}")
    return whole


def decimal(scalar: Scalar) -> float:
    """Return a finite float. Raises ValueError."""
    try:
        return float(_number(scalar))
    except OverflowError:
        raise ValueError(f"{_shown(scalar)} is too large") from None


def _is_resolved(scalar: Scalar) -> bool:
    """Say whether the text means more than itself: plain and untagged, or tagged as a number or boolean."""
    if scalar.tag is None:
        return scalar.is_plain
    return scalar.tag in (_TAG + "int", _TAG + "float", _TAG + "bool")


def _number(scalar: Scalar) -> int | float:
    value = free_value(scalar)
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        text = value.strip()
        value = _finite(text) if not text.lstrip("+-").isdigit() else _digits(text, 10)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number is required, not {_shown(scalar)}")
    return value


def _integer(match: re.Match[str]) -> int | None:
    for group, base in _BASES.items():
        if (found := match[group]) is not None:
            digits = found.replace("_", "")
            return _digits(match["sign"] + digits, base) if digits else None
    return None


def _digits(text: str, base: int) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is too long")
    return int(text, base)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _shown(scalar: Scalar) -> str:
    text = scalar.text if len(scalar.text) <= 40 else scalar.text[:40] + "..."
    return f'"{text}"'
