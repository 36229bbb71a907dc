"""What the operators do (rill-dsl 5.7). All take the run and checked or unchecked values, and raise ExpressionError.

Integers are exact at any size up to the budget, not wrapped at 64 bits (design decision 17); bit operators work on
64-bit words as in Java. int < decimal < float: a mixture becomes the later one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, DivisionByZero, InvalidOperation, Overflow
from typing import Any

from tornflow.engine.expressions.budget import INTEGER_BITS, Run
from tornflow.engine.expressions.errors import BudgetExceeded, ExpressionError
from tornflow.engine.expressions.values import Function, Moment, kind, render, require_boolean

DECIMALS = Context(prec=34, Emax=6144, Emin=-6143, traps=[InvalidOperation, Overflow, DivisionByZero])
_NUMBERS = (int, float, Decimal)
_WORD = 1 << 64
_LARGEST_DECIMAL_POWER = 9999
_POWER_STEPS = 32
_CONVERSION_STEPS = 8


def is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def as_float(value: Any) -> float:
    """A number as a float; beyond its range infinity, as in Java."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def add(run: Run, a: Any, b: Any) -> Any:
    if isinstance(a, str) or isinstance(b, str):
        left, right = render(run, a), render(run, b)
        run.allocate(len(left) + len(right))
        return left + right
    return _calculate(run, "+", a, b, operator.add, DECIMALS.add)


def subtract(run: Run, a: Any, b: Any) -> Any:
    return _calculate(run, "-", a, b, operator.sub, DECIMALS.subtract)


def multiply(run: Run, a: Any, b: Any) -> Any:
    return _calculate(run, "*", a, b, operator.mul, DECIMALS.multiply)


def divide(run: Run, a: Any, b: Any) -> Any:
    return _calculate(run, "/", a, b, _divide, DECIMALS.divide)


def remainder(run: Run, a: Any, b: Any) -> Any:
    return _calculate(run, "%", a, b, _remainder, DECIMALS.remainder)


def power(run: Run, a: Any, b: Any) -> Any:
    return _calculate(run, "**", a, b, _power, _decimal_power)


def negate(run: Run, a: Any) -> Any:
    if not is_number(a):
        raise ExpressionError(f"cannot negate {kind(a)}")
    return DECIMALS.minus(a) if isinstance(a, Decimal) else -a


def invert(run: Run, a: Any) -> bool:
    return not require_boolean(a)


def equal(run: Run, a: Any, b: Any) -> bool:
    """Numbers by value, other scalars by type and value, containers by identity."""
    if isinstance(a, str) and isinstance(b, str):
        run.charge(1 + (min(len(a), len(b)) >> 10))
        return a == b
    if is_number(a) and is_number(b):
        run.steps -= 1
        if isinstance(a, Decimal) or isinstance(b, Decimal):
            _pay_conversion(run, a, b)
        return bool(a == b)
    if isinstance(a, bool | Moment):
        return a.__class__ is b.__class__ and a == b
    return a is b


def _pay_conversion(run: Run, a: Any, b: Any) -> None:
    """A decimal is compared exactly: a float becomes up to 750 digits, an integer up to 1,200."""
    for value in (a, b):
        if isinstance(value, int):
            run.charge(1 + (value.bit_length() >> 6))
        elif isinstance(value, float):
            run.charge(_CONVERSION_STEPS)


def not_equal(run: Run, a: Any, b: Any) -> bool:
    return not equal(run, a, b)


def compare(run: Run, a: Any, b: Any) -> int:
    """-1, 0 or 1; nil is smaller than everything, NaN greater than every number."""
    if a is None or b is None:
        return (a is not None) - (b is not None)
    if isinstance(a, str) and isinstance(b, str):
        run.charge(1 + (min(len(a), len(b)) >> 10))
        return (a > b) - (a < b)
    if is_number(a) and is_number(b):
        if isinstance(a, Decimal) or isinstance(b, Decimal):
            _pay_conversion(run, a, b)
        return _compare_numbers(a, b)
    if isinstance(a, bool) and isinstance(b, bool):
        return a - b
    if isinstance(a, Moment) and isinstance(b, Moment):
        return _compare_numbers(a.ms, b.ms)
    raise ExpressionError(f"cannot compare {kind(a)} with {kind(b)}")


def less(run: Run, a: Any, b: Any) -> bool:
    return compare(run, a, b) < 0


def less_or_equal(run: Run, a: Any, b: Any) -> bool:
    return compare(run, a, b) <= 0


def greater(run: Run, a: Any, b: Any) -> bool:
    return compare(run, a, b) > 0


def greater_or_equal(run: Run, a: Any, b: Any) -> bool:
    return compare(run, a, b) >= 0


def both(run: Run, a: Any, b: Any) -> bool:
    return require_boolean(a) and require_boolean(b)


def either(run: Run, a: Any, b: Any) -> bool:
    return require_boolean(a) or require_boolean(b)


def bit_and(run: Run, a: Any, b: Any) -> int:
    return word("&", a) & word("&", b)


def bit_or(run: Run, a: Any, b: Any) -> int:
    return word("|", a) | word("|", b)


def bit_xor(run: Run, a: Any, b: Any) -> int:
    return word("^", a) ^ word("^", b)


def bit_not(run: Run, a: Any) -> int:
    return ~word("~", a)


def shift_left(run: Run, a: Any, b: Any) -> int:
    return _signed(word("<<", a) << (word("<<", b) & 63))


def shift_right(run: Run, a: Any, b: Any) -> int:
    return word(">>", a) >> (word(">>", b) & 63)


def shift_zero(run: Run, a: Any, b: Any) -> int:
    return _signed(word(">>>", a) % _WORD >> (word(">>>", b) & 63))


def word(symbol: str, value: Any) -> int:
    """A 64-bit integer operand. Raises ExpressionError."""
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
        return value
    raise ExpressionError(f"{symbol} takes 64-bit integers, not {kind(value)}")


BINARY: dict[str, Callable[[Run, Any, Any], Any]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    "**": power,
    "==": equal,
    "!=": not_equal,
    "<": less,
    "<=": less_or_equal,
    ">": greater,
    ">=": greater_or_equal,
    "&&": both,
    "||": either,
    "&": bit_and,
    "|": bit_or,
    "^": bit_xor,
    "<<": shift_left,
    ">>": shift_right,
    ">>>": shift_zero,
}
UNARY: dict[str, Callable[[Run, Any], Any]] = {"-": negate, "!": invert, "~": bit_not}


def operator_function(symbol: str) -> Function:
    """The operator as a value, for ``reduce(l, +, 0)``; ``-`` takes one or two arguments."""
    if symbol in BINARY and symbol in UNARY:
        return Function(symbol, 1, 2, lambda run, a, *b: BINARY[symbol](run, a, b[0]) if b else UNARY[symbol](run, a))
    if symbol in UNARY:
        return Function(symbol, 1, 1, UNARY[symbol])
    return Function(symbol, 2, 2, BINARY[symbol])


def _calculate(run: Run, symbol: str, a: Any, b: Any, plain: Callable[..., Any], decimal: Callable[..., Any]) -> Any:
    if not (is_number(a) and is_number(b)):
        raise ExpressionError(f"cannot apply {symbol} to {kind(a)} and {kind(b)}")
    if isinstance(a, int) and isinstance(b, int):
        if symbol != "**":
            run.integer(a if a.bit_length() > b.bit_length() else b)
        result = plain(a, b)
        return run.integer(result) if isinstance(result, int) else result
    if isinstance(a, float) or isinstance(b, float):
        run.steps -= 1
        return plain(as_float(a), as_float(b))
    run.charge(_POWER_STEPS if symbol == "**" else 2)
    try:
        return decimal(_decimal(run, a), _decimal(run, b))
    except DecimalException as error:
        raise ExpressionError(f"cannot calculate {symbol} of these decimals: {_name(error)}") from None


def _decimal(run: Run, value: int | Decimal) -> Decimal:
    if isinstance(value, int):
        run.charge(value.bit_length() >> 6)
    return Decimal(value)


def _name(error: DecimalException) -> str:
    return "too large" if isinstance(error, Overflow) else "undefined"


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, int):
        if b == 0:
            raise ExpressionError("division by zero")
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _remainder(a: Any, b: Any) -> Any:
    if isinstance(a, int):
        if b == 0:
            raise ExpressionError("division by zero")
        rest = abs(a) % abs(b)
        return -rest if a < 0 else rest
    return math.nan if b == 0 or math.isinf(a) else math.fmod(a, b)


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and b >= 0:
        if abs(a) > 1 and (a.bit_length() - 1) * b > INTEGER_BITS:
            raise BudgetExceeded(f"an integer of more than {INTEGER_BITS} bits")
        return int(a**b)
    base, exponent = as_float(a), as_float(b)
    try:
        return math.pow(base, exponent)
    except ValueError:
        return math.inf if base == 0 else math.nan
    except OverflowError:
        return -math.inf if base < 0 and exponent % 2 == 1 else math.inf


def _decimal_power(a: Decimal, b: Decimal) -> Decimal:
    if b != b.to_integral_value() or abs(b) > _LARGEST_DECIMAL_POWER:
        raise ExpressionError(f"** of decimals takes an integer exponent up to {_LARGEST_DECIMAL_POWER}")
    return DECIMALS.power(a, b)


def _compare_numbers(a: Any, b: Any) -> int:
    if a != a or b != b:
        return int(a != a) - int(b != b)
    return int(a > b) - int(a < b)


def _signed(value: int) -> int:
    value %= _WORD
    return value - _WORD if value >> 63 else value
