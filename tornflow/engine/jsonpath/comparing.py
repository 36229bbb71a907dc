"""Equality and order of filters (rill-dsl 6.3). Python's own ``==`` must not decide: True is not 1, "3" is 3."""

from __future__ import annotations

import math
import re
from typing import Any

from tornflow.engine.jsonpath.limits import MAX_NUMBER_CHARACTERS
from tornflow.engine.jsonpath.look import Look

_READING_WORK = 12
_MEMBER_WORK = 3
_TEXT_PER_WORK = 1024
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def equals(left: Any, right: Any, look: Look) -> bool:
    """Compare with conversion between numbers and numeric strings; containers deeply and without conversion."""
    if isinstance(left, str):
        if isinstance(right, str):
            _pay_texts(left, right, look)
            return left == right
        return _is_number(right) and left != "" and _read(left, look) == right
    if isinstance(right, str):
        return _is_number(left) and _read(right, look) == left
    return _same(left, right, look)


def equals_strictly(left: Any, right: Any, look: Look) -> bool:
    """``===``: equal and of the same JSON type."""
    return isinstance(left, str) == isinstance(right, str) and equals(left, right, look)


def _read(text: str, look: Look) -> int | float | None:
    look.charge(_READING_WORK + min(len(text), MAX_NUMBER_CHARACTERS) // 8)
    return as_number(text)


def _pay_texts(left: str, right: str, look: Look) -> None:
    shorter = min(len(left), len(right))
    if shorter >= _TEXT_PER_WORK:
        look.charge(shorter // _TEXT_PER_WORK)


def is_less(left: Any, right: Any, look: Look) -> bool:
    """Numbers with numbers, strings with strings; everything else is not comparable: False."""
    if isinstance(left, str) and isinstance(right, str):
        _pay_texts(left, right, look)
        return left < right
    return _is_number(left) and _is_number(right) and bool(left < right)


def is_at_most(left: Any, right: Any, look: Look) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        _pay_texts(left, right, look)
        return left <= right
    return _is_number(left) and _is_number(right) and bool(left <= right)


def as_number(text: str) -> int | float | None:
    """Read a decimal number; None for anything else, blanks around it included."""
    if len(text) > MAX_NUMBER_CHARACTERS or _NUMBER.fullmatch(text) is None:
        return None
    if text.lstrip("+-").isdigit():
        return int(text)
    value = float(text)
    return value if math.isfinite(value) else None


def is_in(value: Any, values: Any, look: Look) -> bool:
    if not isinstance(values, list):
        return False
    look.charge(_MEMBER_WORK * len(values))
    return any(equals(value, one, look) for one in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(left: Any, right: Any, look: Look) -> bool:
    if isinstance(left, dict):
        return isinstance(right, dict) and _same_objects(left, right, look)
    if isinstance(left, list):
        if not isinstance(right, list) or len(left) != len(right):
            return False
        look.charge(_MEMBER_WORK * len(left) + 4)
        return all(_same(one, other, look) for one, other in zip(left, right, strict=True))
    if _is_number(left):
        return _is_number(right) and bool(left == right)
    # What is left: true, false, null, and strings inside containers.
    if isinstance(left, str) and isinstance(right, str):
        _pay_texts(left, right, look)
    return type(left) is type(right) and bool(left == right)


def _same_objects(left: dict[str, Any], right: dict[str, Any], look: Look) -> bool:
    if len(left) != len(right):
        return False
    look.charge(_MEMBER_WORK * len(left) + 4)
    return all(key in right and _same(value, right[key], look) for key, value in left.items())
