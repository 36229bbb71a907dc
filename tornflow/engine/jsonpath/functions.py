"""Functions at the end of a path (rill-dsl 6.1). They get a value and arguments and never change either."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tornflow.engine.jsonpath.errors import Mistyped

Function = Callable[[Any, Sequence[Any]], Any]


def _length(value: Any, arguments: Sequence[Any]) -> int | None:
    if arguments:
        value = arguments[0]
    return len(value) if isinstance(value, (list, dict)) else None


def _keys(value: Any, _arguments: Sequence[Any]) -> list[str] | None:
    return list(value) if isinstance(value, dict) else None


def _numbers(value: Any, arguments: Sequence[Any]) -> list[float]:
    """Collect the numbers of the array and of the arguments (arrays among them count by element)."""
    found: list[float] = []
    for source in (value if isinstance(value, list) else (), *arguments):
        for one in source if isinstance(source, (list, tuple)) else (source,):
            if isinstance(one, (int, float)) and not isinstance(one, bool):
                found.append(_float(one))
    if not found:
        raise Mistyped("there are no numbers to calculate with")
    return found


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Mistyped("a number is too large to calculate with") from None


def _sum(value: Any, arguments: Sequence[Any]) -> float:
    return _finite(sum(_numbers(value, arguments)))


def _average(value: Any, arguments: Sequence[Any]) -> float:
    numbers = _numbers(value, arguments)
    return _finite(sum(numbers) / len(numbers))


def _deviation(value: Any, arguments: Sequence[Any]) -> float:
    """Return the standard deviation of the whole population."""
    numbers = _numbers(value, arguments)
    mean = sum(numbers) / len(numbers)
    try:
        return _finite(math.sqrt(sum((one - mean) ** 2 for one in numbers) / len(numbers)))
    except OverflowError:
        raise Mistyped("a result is too large") from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Mistyped("a result is too large")
    return value


def _at(value: Any, index: int) -> Any:
    if not isinstance(value, list):
        raise Mistyped("the value is not an array")
    try:
        return value[index]
    except IndexError:
        raise Mistyped(f"the array has no element {index}") from None


def _first(value: Any, arguments: Sequence[Any]) -> Any:
    return _at(arguments[0] if arguments else value, 0)


def _last(value: Any, arguments: Sequence[Any]) -> Any:
    return _at(arguments[0] if arguments else value, -1)


def _index(value: Any, arguments: Sequence[Any]) -> Any:
    if len(arguments) != 1 or not isinstance(arguments[0], int) or isinstance(arguments[0], bool):
        raise Mistyped("index() needs one integer")
    return _at(value, arguments[0])


def _concat(_value: Any, arguments: Sequence[Any]) -> str:
    """Join the strings among the arguments, and in lists among them; not what the path before it leads to."""
    parts: list[str] = []
    for source in arguments:
        parts += [one for one in (source if isinstance(source, list) else [source]) if isinstance(one, str)]
    return "".join(parts)


def _append(value: Any, arguments: Sequence[Any]) -> Any:
    """Return a longer copy; the array in the document stays as it is."""
    return [*value, *arguments] if isinstance(value, list) else value


FUNCTIONS: Mapping[str, Function] = {
    "append": _append,
    "avg": _average,
    "concat": _concat,
    "first": _first,
    "index": _index,
    "keys": _keys,
    "last": _last,
    "length": _length,
    "max": lambda value, arguments: max(_numbers(value, arguments)),
    "min": lambda value, arguments: min(_numbers(value, arguments)),
    "size": _length,
    "stddev": _deviation,
    "sum": _sum,
}

SCALAR_FUNCTIONS = frozenset({"avg", "concat", "length", "max", "min", "size", "stddev", "sum"})
"""Their results hold nothing of the document."""
