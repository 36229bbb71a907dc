"""Values between flows and functions: copied on the way in, checked and copied on the way out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tornflow_task_python.conversion import is_convertible, plain

DEPTH_LIMIT = 200


class NotJson(ValueError):
    """The value cannot be JSON; the message names the place and the type."""


def as_json(value: Any, place: str = "result", depth: int = 0) -> Any:
    """Return a copy of ``value`` that shares nothing with it and holds plain JSON types only.

    Tuples become lists; dataclasses, pydantic models, enums, moments, Decimals and UUIDs what ``conversion`` makes of
    them. Numbers must be finite, keys texts, nesting at most ``DEPTH_LIMIT``.

    Raises:
        NotJson: something else was found.
    """
    if value is None or type(value) in (str, bool, int):
        return value
    if depth > DEPTH_LIMIT:
        raise NotJson(f"{place[:80]}: nested more than {DEPTH_LIMIT} levels deep")
    if isinstance(value, Mapping):
        return {_key(key, place): as_json(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    if is_convertible(value) and not isinstance(value, str | int):  # an enum of texts or numbers is one of these
        return as_json(plain(value), place, depth + 1)
    return _plain(value, place)


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise NotJson(f"{place} has a key of type {type(key).__name__}; keys must be texts")
    return str(key)


def _plain(value: Any, place: str) -> Any:
    # Subclasses (enums, numpy's float64) are flattened so that no foreign type travels into the saved state.
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(f"{place} is {value}, which is not JSON")
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    raise NotJson(f"{place} is of type {type(value).__name__}, which is not JSON")
