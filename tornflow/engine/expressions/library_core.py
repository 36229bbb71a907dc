"""Built-in functions without a namespace, and ``math``."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Any

from tornflow.engine.expressions import operators
from tornflow.engine.expressions.budget import Run
from tornflow.engine.expressions.dates import format_date, parse_date
from tornflow.engine.expressions.errors import ExpressionError
from tornflow.engine.expressions.operators import DECIMALS, as_float, compare, is_number
from tornflow.engine.expressions.values import Function, Moment, kind, render, require_boolean

_MAX_NUMBER_TEXT = 1200


def number(value: Any, what: str = "the argument") -> Any:
    """Raises ExpressionError unless ``value`` is a number."""
    if is_number(value):
        return value
    raise ExpressionError(f"{what} must be a number, not {kind(value)}")


def integer(value: Any, what: str) -> int:
    """Raises ExpressionError unless ``value`` is an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ExpressionError(f"{what} must be an integer, not {kind(value)}")


def text(value: Any, what: str = "the argument") -> str:
    """Raises ExpressionError unless ``value`` is a string."""
    if isinstance(value, str):
        return value
    raise ExpressionError(f"{what} must be a string, not {kind(value)}")


def _rand(run: Run, limit: Any = None) -> Any:
    if limit is None:
        return run.random()
    below = integer(limit, "the limit")
    if below <= 0:
        raise ExpressionError("the limit must be at least 1")
    return min(int(run.random() * min(below, 1 << 53)), below - 1)


def _long(run: Run, value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return run.integer(int(_number_text(run, value, "integer")))
    if isinstance(number(value), float) and not math.isfinite(value):
        raise ExpressionError(f"{render(run, value)} is not an integer")
    if isinstance(value, Decimal) and value.adjusted() > _MAX_NUMBER_TEXT:
        raise ExpressionError("the decimal is too large for an integer")
    return run.integer(int(value))


def _double(run: Run, value: Any) -> float:
    if isinstance(value, bool):
        return float(value)
    return float(_number_text(run, value, "number")) if isinstance(value, str) else as_float(number(value))


def _bigint(run: Run, value: Any) -> int:
    """The integer part; integers are of any size here anyway."""
    return run.integer(_long(run, _decimal(run, value) if isinstance(value, str) else number(value)))


def _decimal(run: Run, value: Any) -> Decimal:
    """Exact for texts and integers of up to 34 digits; a float counts as it is written."""
    run.charge(4 + (value.bit_length() >> 6 if isinstance(value, int) else 0))
    written = _number_text(run, value, "number") if isinstance(value, str) else number(value)
    try:
        found = DECIMALS.create_decimal(repr(written) if isinstance(written, float) else written)
    except DecimalException:
        raise ExpressionError("too large for a decimal") from None
    if not found.is_finite():
        raise ExpressionError(f"{found} is not a decimal")
    return found


def _number_text(run: Run, value: str, what: str) -> str:
    run.charge(1 + (min(len(value), _MAX_NUMBER_TEXT) >> 4))
    digits = value[: _MAX_NUMBER_TEXT + 2].removeprefix("-").removeprefix("+")
    fits = digits.isascii() and len(digits) <= _MAX_NUMBER_TEXT
    if what == "number" and fits and "_" not in value:
        try:
            float(value)
        except ValueError:
            fits = False
    elif not digits.isdigit() or len(value) - len(digits) > 1:
        fits = False
    if not fits:
        raise ExpressionError(f"{value[:40]!r} is not {'an' if what == 'integer' else 'a'} {what}")
    return value


def _least(run: Run, first: Any, *rest: Any) -> Any:
    run.charge(len(rest))
    for value in rest:
        first = value if compare(run, value, first) < 0 else first
    return first


def _greatest(run: Run, first: Any, *rest: Any) -> Any:
    run.charge(len(rest))
    for value in rest:
        first = value if compare(run, value, first) > 0 else first
    return first


def _assert(run: Run, value: Any, message: Any = "assertion failed") -> None:
    if not require_boolean(value):
        raise ExpressionError(render(run, message))


def _text(run: Run, value: Any) -> str:
    result = render(run, value)
    run.allocate(len(result))
    return result


def _moment_ms(value: Any) -> int:
    return value.ms if isinstance(value, Moment) else integer(value, "the date")


def _date_to_string(run: Run, date: Any, pattern: Any) -> str:
    run.charge(4 + 2 * len(text(pattern, "the format")))
    return format_date(_moment_ms(date), pattern)


def _string_to_date(run: Run, source: Any, pattern: Any) -> Moment:
    # The name of a month is compared with all of them.
    run.charge(8 + 3 * len(text(pattern, "the format")))
    return Moment(parse_date(text(source, "the date"), pattern))


def _round(run: Run, value: Any) -> int:
    if isinstance(number(value), int):
        return int(value)
    plain = as_float(value)
    if not math.isfinite(plain):
        raise ExpressionError(f"cannot round {render(run, value)}")
    return math.floor(plain + 0.5)


def _abs(run: Run, value: Any) -> Any:
    return DECIMALS.abs(value) if isinstance(number(value), Decimal) else abs(value)


def _whole(step: Callable[[float], int]) -> Callable[[Run, Any], float]:
    def apply(run: Run, value: Any) -> float:
        plain = as_float(number(value))
        return float(step(plain)) if math.isfinite(plain) else plain

    return apply


def _real(compute: Callable[[float], float], at_zero: float = math.nan) -> Callable[[Run, Any], float]:
    """A function of floats; NaN outside its domain as in Java (``at_zero``: the value at 0 if Python refuses it)."""

    def apply(run: Run, value: Any) -> float:
        plain = as_float(number(value))
        try:
            return compute(plain)
        except ValueError:
            return at_zero if plain == 0 else math.nan

    return apply


def _functions(*entries: tuple[str, int, int | None, Callable[..., Any]]) -> dict[str, Function]:
    return {name: Function(name, least, most, apply) for name, least, most, apply in entries}


CORE = _functions(
    ("rand", 0, 1, _rand),
    ("now", 0, 0, lambda run: run.now_ms()),
    ("sysdate", 0, 0, lambda run: Moment(run.now_ms())),
    ("date_to_string", 2, 2, _date_to_string),
    ("string_to_date", 2, 2, _string_to_date),
    ("str", 1, 1, _text),
    ("long", 1, 1, _long),
    ("double", 1, 1, _double),
    ("bigint", 1, 1, _bigint),
    ("decimal", 1, 1, _decimal),
    ("cmp", 2, 2, compare),
    ("boolean", 1, 1, lambda run, x: x if isinstance(x, bool) else x is not None),
    ("type", 1, 1, lambda run, x: kind(x)),
    ("is_def", 1, 1, lambda run, x: x is not None),
    # A server has nowhere to print to; the samples call it, so it must not fail.
    ("print", 0, None, lambda run, *x: None),
    ("println", 0, None, lambda run, *x: None),
    ("min", 1, None, _least),
    ("max", 1, None, _greatest),
    ("identity", 1, 1, lambda run, x: x),
    ("assert", 1, 2, _assert),
)

MATH = _functions(
    ("math.abs", 1, 1, _abs),
    ("math.round", 1, 1, _round),
    ("math.floor", 1, 1, _whole(math.floor)),
    ("math.ceil", 1, 1, _whole(math.ceil)),
    ("math.sqrt", 1, 1, _real(math.sqrt)),
    ("math.pow", 2, 2, lambda run, a, b: operators.power(run, as_float(number(a)), as_float(number(b)))),
    ("math.log", 1, 1, _real(math.log, -math.inf)),
    ("math.log10", 1, 1, _real(math.log10, -math.inf)),
    ("math.sin", 1, 1, _real(math.sin)),
    ("math.cos", 1, 1, _real(math.cos)),
    ("math.tan", 1, 1, _real(math.tan)),
)
