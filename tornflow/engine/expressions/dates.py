"""Dates by Java patterns: ``y M d H h m s S a E Z X`` and quoted text, in UTC, English names."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from tornflow.engine.expressions.errors import ExpressionError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = "January February March April May June July August September October November December".split()
_MAX_PATTERN = 200
_TOKENS = re.compile(r"'(?:[^']|'')*'|([A-Za-z])\1*|.", re.DOTALL)
_OFFSET = re.compile(r"Z|([+-])(\d\d):?(\d\d)")


def format_date(ms: int, pattern: str) -> str:
    """Epoch milliseconds as text. Raises ExpressionError: unknown letter, or a date outside the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        raise ExpressionError("the date is outside the years 1 to 9999") from None
    return "".join(_format(token, moment) for token in _tokens(pattern))


def parse_date(text: str, pattern: str) -> int:
    """Text as epoch milliseconds; parts that the pattern does not name are those of 1970-01-01T00:00Z.

    Text behind what the pattern needs is ignored. Raises ExpressionError.
    """
    fields: dict[str, int] = {}
    at = 0
    for token, following in _pairs(_tokens(pattern)):
        at = _parse(token, text, at, fields, following)
    return _assemble(fields, text)


def _tokens(pattern: str) -> list[str]:
    if len(pattern) > _MAX_PATTERN:
        raise ExpressionError(f"a date format of more than {_MAX_PATTERN} characters")
    return [found.group() for found in _TOKENS.finditer(pattern)]


def _pairs(tokens: list[str]) -> list[tuple[str, str]]:
    return list(zip(tokens, [*tokens[1:], ""], strict=True))


def _is_field(token: str) -> bool:
    return bool(token) and token[0].isascii() and token[0].isalpha()


def _literal(token: str) -> str:
    if token == "''":
        return "'"
    return token[1:-1].replace("''", "'") if len(token) > 1 and token[0] == "'" else token


def _format(token: str, at: datetime) -> str:
    if not _is_field(token):
        return _literal(token)
    letter, width = token[0], len(token)
    names = {"M": _MONTHS[at.month - 1], "E": _DAYS[at.weekday()]}
    if letter == "E" or (letter == "M" and width >= 3):
        return names[letter] if width >= 4 else names[letter][:3]
    if letter == "y":
        return f"{at.year % 100:02}" if width == 2 else f"{at.year:0{width}}"
    if letter in _NUMBERS:
        return f"{_NUMBERS[letter](at):0{width}}"
    fixed = {"a": "AM" if at.hour < 12 else "PM", "Z": "+0000", "X": "Z", "z": "UTC"}
    if letter not in fixed:
        raise ExpressionError(f"unknown letter {letter!r} in the date format")
    return fixed[letter]


_NUMBERS: dict[str, Callable[[datetime], int]] = {
    "M": lambda at: at.month,
    "d": lambda at: at.day,
    "D": lambda at: at.timetuple().tm_yday,
    "H": lambda at: at.hour,
    "h": lambda at: at.hour % 12 or 12,
    "m": lambda at: at.minute,
    "s": lambda at: at.second,
    "S": lambda at: at.microsecond // 1000,
}


def _parse(token: str, text: str, at: int, fields: dict[str, int], following: str) -> int:
    if not _is_field(token):
        literal = _literal(token)
        if not text.startswith(literal, at):
            raise _unreadable(text)
        return at + len(literal)
    letter, width = token[0], len(token)
    if letter in "EMa" and (letter != "M" or width >= 3):
        return _parse_name(letter, text, at, fields)
    if letter in "ZX":
        return _parse_offset(text, at, fields)
    if letter != "y" and letter not in _NUMBERS or letter == "D":
        raise ExpressionError(f"unknown letter {letter!r} in the date format")
    # Fields that touch take their own width only: yyyyMMdd.
    most = width if _is_field(following) else 9
    end = at
    while end < len(text) and end - at < most and text[end] in "0123456789":
        end += 1
    if end == at:
        raise _unreadable(text)
    value = int(text[at:end])
    if letter == "y" and width <= 2 and end - at == 2:
        # The window of 80 years back and 20 ahead needs a clock; a fixed one keeps the same input the same output.
        value += 2000 if value < 70 else 1900
    fields[letter] = value
    return end


def _parse_name(letter: str, text: str, at: int, fields: dict[str, int]) -> int:
    names = {"M": _MONTHS, "E": _DAYS, "a": ("AM", "PM")}[letter]
    for number, name in enumerate(names):
        for form in (name, name[:3]):
            if text[at : at + len(form)].lower() == form.lower():
                fields[letter] = number + (letter == "M")
                return at + len(form)
    raise _unreadable(text)


def _parse_offset(text: str, at: int, fields: dict[str, int]) -> int:
    found = _OFFSET.match(text, at)
    if found is None:
        raise _unreadable(text)
    if found.group(1):
        minutes = int(found.group(2)) * 60 + int(found.group(3))
        fields["Z"] = -minutes if found.group(1) == "-" else minutes
    return found.end()


def _assemble(fields: dict[str, int], text: str) -> int:
    hour = fields.get("H", fields.get("h", 0) % 12 + 12 * fields.get("a", 0))
    try:
        zone = timezone(timedelta(minutes=fields.get("Z", 0)))
        first = datetime(fields.get("y", 1970), 1, 1, tzinfo=zone)
        month = fields.get("M", 1) - 1
        start = first.replace(year=first.year + month // 12, month=month % 12 + 1)
        # Lenient as in Java: day 32 is the first of the next month.
        moment = start + timedelta(
            days=fields.get("d", 1) - 1,
            hours=hour,
            minutes=fields.get("m", 0),
            seconds=fields.get("s", 0),
            milliseconds=fields.get("S", 0),
        )
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise _unreadable(text) from None


def _unreadable(text: str) -> ExpressionError:
    return ExpressionError(f"{text[:40]!r} does not fit the date format")
