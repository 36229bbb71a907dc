"""A place in a text, and the small things read from there: blanks, integers, strings, literals."""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

from tornflow.engine.jsonpath.errors import PathSyntaxError
from tornflow.engine.jsonpath.limits import MAX_NESTING, MAX_NUMBER_CHARACTERS

_BLANKS = re.compile(r"[ \t\r\n]*")
_INTEGER = re.compile(r"-?[0-9]{1,9}(?![0-9])")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_WORDS = {"true": True, "false": False, "null": None}


class Cursor:
    """Reads one text from left to right; every failure is a PathSyntaxError with its column."""

    __slots__ = ("depth", "end", "position", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.end = len(text)
        self.depth = 0

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        raise PathSyntaxError(message, (self.position if position is None else position) + 1)

    def is_at_end(self) -> bool:
        return self.position >= self.end

    def sees(self, token: str) -> bool:
        return self.text.startswith(token, self.position)

    def takes(self, token: str) -> bool:
        """Step over the token if it is next."""
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True

    def expect(self, token: str) -> None:
        if not self.takes(token):
            found = repr(self.text[self.position]) if self.position < self.end else "the end"
            self.fail(f"expected {token!r}, found {found}")

    def blanks(self) -> None:
        match = _BLANKS.match(self.text, self.position)
        assert match is not None
        self.position = match.end()

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Step over what the pattern matches here."""
        match = pattern.match(self.text, self.position)
        if match is None:
            return None
        self.position = match.end()
        return match.group()

    def enter(self) -> None:
        """Go one level down; ``leave`` comes back."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.fail(f"nested more than {MAX_NESTING} levels deep")

    def leave(self) -> None:
        self.depth -= 1

    def integer(self) -> int:
        digits = self.match(_INTEGER)
        if digits is None:
            self.fail("expected an integer of at most 9 digits")
        return int(digits)

    def string(self) -> str:
        """Read a quoted string; the opening quote is next."""
        start, quote = self.position, self.text[self.position]
        self.position += 1
        parts: list[str] = []
        while self.position < self.end:
            char = self.text[self.position]
            self.position += 1
            if char == quote:
                return "".join(parts)
            parts.append(self._escape() if char == "\\" else char)
        self.fail("this string has no end", start)

    def _escape(self) -> str:
        if self.is_at_end():
            self.fail("a backslash at the end")
        char = self.text[self.position]
        self.position += 1
        if char != "u":
            return _ESCAPES.get(char, char)
        digits = self.match(_HEX)
        if digits is None:
            self.fail("expected four hexadecimal digits behind \\u")
        return chr(int(digits, 16))

    def literal(self) -> Any:
        """Read a string, number, true, false, null, array or object."""
        char = self.text[self.position : self.position + 1]
        if char in ("'", '"') and char:
            return self.string()
        if char == "[":
            return self._array()
        if char == "{":
            return self._object()
        start = self.position
        number = self.match(_NUMBER)
        if number is not None:
            return self._number(number, start)
        word = self.match(_WORD)
        if word in _WORDS:
            return _WORDS[word]
        self.fail("expected a value", start)

    def _number(self, text: str, start: int) -> int | float:
        if len(text) > MAX_NUMBER_CHARACTERS:
            self.fail("this number is too long", start)
        if text.lstrip("+-").isdigit():
            return int(text)
        value = float(text)
        if not math.isfinite(value):
            self.fail("this number is too large", start)
        return value

    def _array(self) -> list[Any]:
        self.expect("[")
        self.enter()
        values: list[Any] = []
        self.blanks()
        while not self.takes("]"):
            if values:
                self.expect(",")
                self.blanks()
            values.append(self.literal())
            self.blanks()
        self.leave()
        return values

    def _object(self) -> dict[str, Any]:
        self.expect("{")
        self.enter()
        values: dict[str, Any] = {}
        is_first = True
        self.blanks()
        while not self.takes("}"):
            if not is_first:
                self.expect(",")
                self.blanks()
            is_first = False
            key = self._key()
            self.blanks()
            self.expect(":")
            self.blanks()
            values[key] = self.literal()
            self.blanks()
        self.leave()
        return values

    def _key(self) -> str:
        if self.sees("'") or self.sees('"'):
            return self.string()
        word = self.match(_WORD)
        if word is None:
            self.fail("expected a key")
        return word
