"""The two executors of the published example, so that it runs as printed (decisions, "Rill HTTP")."""

from __future__ import annotations

from typing import Any

from tornflow.api.rill.errors import RillError
from tornflow.api.routes import Call, Json

_DIGITS_LIMIT = 1_000


async def start_node(call: Call) -> Json:
    return {"result_number": _number(call.body, "left") + _number(call.body, "right")}


async def end_node(call: Call) -> Json:
    result, expected = _number(call.body, "result_number"), _number(call.body, "expect_number")
    return {"result": result == expected, "result_number": result, "expect_number": expected}


def _number(body: Json, name: str) -> int | float:
    """Return a number, also from a numeric string. Raises RillError naming the field."""
    value: Any = body.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= _DIGITS_LIMIT:
        for read in (int, float):
            try:
                number: int | float = read(value)
            except ValueError:
                continue
            if number - number == 0:  # neither infinite nor NaN
                return number
    raise RillError(30109, f"'{name}' must be a number or a numeric string")
