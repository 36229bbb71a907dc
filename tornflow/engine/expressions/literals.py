"""The values of literal tokens. Everything here raises ExpressionSyntaxError without a place; the compiler adds it."""

from __future__ import annotations

import math
from decimal import Decimal, DecimalException

from tornflow.engine.expressions.budget import INTEGER_BITS
from tornflow.engine.expressions.errors import ExpressionError, ExpressionSyntaxError
from tornflow.engine.expressions.operators import DECIMALS
from tornflow.engine.expressions.regex_program import Program
from tornflow.engine.expressions.regex_syntax import compile_pattern

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\", "#": "#", "/": "/"}
_MAX_DIGITS = 1200


def number(text: str) -> int | float | Decimal:
    """``7`` ``0x1F`` ``10N`` int, ``1.5`` ``1e3`` float, ``3M`` decimal."""
    if len(text) > _MAX_DIGITS:
        raise ExpressionSyntaxError(f"a number of more than {_MAX_DIGITS} characters")
    if text[:2] in ("0x", "0X"):
        return _sized(int(text, 16))
    if text[-1] == "M":
        return _decimal(text[:-1])
    if text.isdigit():
        return _sized(int(text))
    if text[-1] == "N":
        if not text[:-1].isdigit():
            raise ExpressionSyntaxError(f"{text} is not a big integer")
        return _sized(int(text[:-1]))
    value = float(text)
    if math.isinf(value):
        raise ExpressionSyntaxError(f"{text} is too large for a float")
    return value


def string_pieces(literal: str) -> list[tuple[str, bool]]:
    """The parts of a quoted string: ``(text, False)``, and ``(source, True)`` for every ``#{source}`` in it."""
    inner = literal[1:-1]
    pieces: list[tuple[str, bool]] = []
    text: list[str] = []
    at = 0
    while at < len(inner):
        if inner.startswith("#{", at):
            end = _closing_brace(inner, at + 2)
            pieces += [("".join(text), False), (inner[at + 2 : end], True)]
            text, at = [], end + 1
        elif inner[at] == "\\":
            char, at = _escape(inner, at + 1)
            if "\ud800" <= char <= "\udbff" and inner.startswith("\\u", at):  # Java writes one character as two
                low, at = _escape(inner, at + 1)
                char += low
            text.append(_whole(char))
        else:
            text.append(inner[at])
            at += 1
    pieces.append(("".join(text), False))
    return pieces


def pattern(literal: str) -> Program:
    """``/.../``; a slash inside is written ``\\/``."""
    try:
        return compile_pattern(literal[1:-1].replace("\\/", "/"))
    except ExpressionError as error:
        raise ExpressionSyntaxError(error.message) from None


def _sized(value: int) -> int:
    if value.bit_length() > INTEGER_BITS:
        raise ExpressionSyntaxError(f"an integer of more than {INTEGER_BITS} bits")
    return value


def _decimal(text: str) -> Decimal:
    try:
        return DECIMALS.create_decimal(text)
    except DecimalException:
        raise ExpressionSyntaxError(f"{text[:40]}M is too large for a decimal") from None


def _escape(inner: str, at: int) -> tuple[str, int]:
    char = inner[at]
    if char == "u":
        try:
            code = int(inner[at + 1 : at + 5], 16) if len(inner) >= at + 5 else -1
            return chr(code), at + 5
        except ValueError:
            raise ExpressionSyntaxError("\\u takes four hexadecimal digits") from None
    if char not in _ESCAPES:
        raise ExpressionSyntaxError(f"unknown escape \\{char} in a string; write \\\\{char} for the two characters")
    return _ESCAPES[char], at + 1


def _whole(char: str) -> str:
    """Join the halves of a surrogate pair; one half alone is nothing that could be written as UTF-8."""
    if len(char) == 1 and not "\ud800" <= char <= "\udfff":
        return char
    try:
        return char.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise ExpressionSyntaxError("half a character in a string: a surrogate needs its other half") from None


def _closing_brace(inner: str, at: int) -> int:
    end = inner.find("}", at)
    if end < 0:
        raise ExpressionSyntaxError("#{ without }; write \\#{ for the characters themselves")
    return end
