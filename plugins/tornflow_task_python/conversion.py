"""Values that JSON has no form of: made from JSON as a callable's annotations ask, and turned into JSON again.

Only annotations that name such a type change anything. A parameter annotated ``int`` or ``dict[str, Any]`` gets what
the flow has, unchecked and unchanged.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

Convert = Callable[[Any], Any]

_LEAVES = (datetime, date, time, timedelta, Decimal, UUID)
_CONVERTED = (*_LEAVES, Enum, BaseModel)


class DoesNotFit(ValueError):
    """The value cannot become what the annotation asks for; the message says where and why."""


def converter(annotation: Any) -> Convert | None:
    """Return what makes values of this annotation; None where JSON values are passed as they are.

    Raises:
        TypeError: pydantic has no idea how to make such values.
    """
    if not _needs_conversion(annotation):
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except Exception as error:  # pydantic's errors of definition have no common base
        raise TypeError(f"{error}") from error

    def convert(value: Any) -> Any:
        try:
            # From JSON text, and not from the values: a strict model takes a text for a date there, and a number
            # becomes a Decimal by its digits.
            return adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            raise DoesNotFit("; ".join(_problem(one) for one in error.errors())) from error

    return convert


def is_convertible(value: Any) -> bool:
    """Whether ``plain`` knows the value."""
    return isinstance(value, _CONVERTED) or _is_dataclass(value)


def plain(value: Any) -> Any:
    """Return the JSON value, the outermost layer at least: what is inside may have to be made plain in turn.

    Decimals, moments and UUIDs become texts, so that nothing of them is lost; timedeltas ISO 8601 durations.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Enum):
        return value.value
    if _is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return to_jsonable_python(value)


def _needs_conversion(annotation: Any, depth: int = 0) -> bool:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return issubclass(annotation, _CONVERTED) or dataclasses.is_dataclass(annotation)
    origin = typing.get_origin(annotation)
    if dataclasses.is_dataclass(origin) or (isinstance(origin, type) and issubclass(origin, BaseModel)):
        return True
    return depth < 20 and any(_needs_conversion(one, depth + 1) for one in typing.get_args(annotation))


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _problem(error: Mapping[str, Any]) -> str:
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg']}" if place else str(error["msg"])
