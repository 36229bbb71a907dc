"""Java-like patterns -> programs for ``regex_machine``.

Known: literals, ``.``, classes, ``\\d \\w \\s \\b`` and their opposites (ASCII, as Java's default),
``\\p{Alpha}`` and a few more, ``\\Q..\\E``, anchors, groups (capturing, ``(?:``, named), ``|``, greedy and lazy
quantifiers, ``\\1``, lookahead, leading ``(?ims)``. Refused with a reason: possessive quantifiers, lookbehind, class
intersection.
"""

from __future__ import annotations

from collections.abc import Callable

from tornflow.engine.expressions.errors import ExpressionError
from tornflow.engine.expressions.regex_classes import (
    ASCII_CLASSES,
    PROPERTIES,
    SET_WEIGHT,
    CharTest,
    ClassBuilder,
    named,
)
from tornflow.engine.expressions.regex_program import UNBOUNDED, Node, Op, Program, Writer

_MAX_CHARS = 1000
_MAX_DEPTH = 20
_SPECIAL = frozenset("\\.[]{}()*+?^$|")
_LINE_ENDS = frozenset("\n\r\x85\u2028\u2029")
_ANYTHING = CharTest(lambda char: True, SET_WEIGHT)
_NO_LINE_END = CharTest(lambda char: char not in _LINE_ENDS, SET_WEIGHT)
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}


def compile_pattern(source: str, charge: Callable[[int], None] | None = None) -> Program:
    """``charge`` is told what the program costs to write, also when that fails.

    Raises:
        ExpressionError: malformed, not supported or too large, with the position (from 0).
    """
    if len(source) > _MAX_CHARS:
        raise ExpressionError(f"a pattern of more than {_MAX_CHARS} characters")
    literal = source if _SPECIAL.isdisjoint(source) else None
    reader = _Reader(source)
    tree = reader.pattern()
    writer = Writer(reader.groups)
    try:
        writer.write(("group", 0, tree))
        writer.emit(Op.MATCH)
    finally:
        if charge is not None:
            charge(writer.visits)
    return Program(tuple(writer.code), reader.groups, writer.slots, source, literal)


def _one(known: CharTest) -> Node:
    return ("one", known.test, known.weight)


class _Reader:
    """Recursive descent: alternatives of sequences of quantified atoms."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.groups = 1
        self.depth = 0
        self.flags: set[str] = set()

    def pattern(self) -> Node:
        if self.source.startswith("(?") and self.source[2:3] in tuple("ims"):
            end = self.source.find(")")
            self.flags = set(self.source[2:end])
            if end < 0 or not self.flags <= set("ims"):
                raise self.error("unknown flags")
            self.at = end + 1
        tree = self._alternatives()
        if self.at < len(self.source):
            raise self.error("unexpected )")
        return tree

    def error(self, message: str) -> ExpressionError:
        return ExpressionError(f"pattern /{self.source}/: {message} at {self.at}")

    def _peek(self) -> str:
        return self.source[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self.error("unexpected end")
        self.at += 1
        return char

    def _accept(self, text: str) -> bool:
        if not self.source.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def _alternatives(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error("groups nested too deep")
        branches = [self._sequence()]
        while self._accept("|"):
            branches.append(self._sequence())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else ("either", branches)

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            items.append(self._quantified(self._atom()))
        return ("sequence", items)

    def _quantified(self, atom: Node) -> Node:
        least, most = self._quantifier()
        if least < 0:
            return atom
        lazy = self._accept("?")
        if not lazy and self._accept("+"):
            raise self.error("possessive quantifiers are not supported")
        if self._quantifier()[0] >= 0:
            raise self.error("a quantifier without anything to repeat")
        return ("repeat", atom, least, most, not lazy)

    def _quantifier(self) -> tuple[int, int]:
        for text, span in (("*", (0, UNBOUNDED)), ("+", (1, UNBOUNDED)), ("?", (0, 1))):
            if self._accept(text):
                return span
        if not self._accept("{"):
            return (-1, -1)
        least = self._number()
        most = least
        if self._accept(","):
            most = UNBOUNDED if self._peek() == "}" else self._number()
        if not self._accept("}") or most < least:
            raise self.error("a malformed {n,m}")
        return (least, most)

    def _number(self) -> int:
        start = self.at
        while self._peek() and self._peek() in "0123456789":
            self.at += 1
        digits = self.source[start : self.at]
        if not 0 < len(digits) <= 4:
            raise self.error("a number of 1 to 4 digits is needed")
        return int(digits)

    def _atom(self) -> Node:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return _one(self._class())
        if char == ".":
            return _one(_ANYTHING if "s" in self.flags else _NO_LINE_END)
        if char in "^$":
            return ("assert", Op.START if char == "^" else Op.END, "m" in self.flags)
        if char == "\\":
            return self._escape()
        if char in "*+?{":
            raise self.error("a quantifier without anything to repeat")
        return _one(self._literal(char))

    def _group(self) -> Node:
        kind = next((k for k in ("?:", "?=", "?!") if self._accept(k)), "")
        if kind:
            node: Node = self._alternatives()
            node = node if kind == "?:" else ("look", node, kind == "?!")
        else:
            self._skip_name()
            number = self.groups
            self.groups += 1
            node = ("group", number, self._alternatives())
        if not self._accept(")"):
            raise self.error("a missing )")
        return node

    def _skip_name(self) -> None:
        if not self._accept("?"):
            return
        if not self._accept("<") or not self._peek().isalpha():
            raise self.error("an unsupported kind of group")
        while self._take() != ">":
            pass

    def _escape(self) -> Node:
        char = self._take()
        if char in "123456789":
            if int(char) >= self.groups:
                raise self.error(f"no group {char} before it")
            return ("back", int(char))
        if char in "bB":
            return ("assert", Op.WORD if char == "b" else Op.NOT_WORD, False)
        if char in "AzZ":
            return ("assert", Op.START if char == "A" else Op.END, False)
        if char == "Q":
            end = self.source.find("\\E", self.at)
            text = self.source[self.at : end if end >= 0 else None]
            self.at = end + 2 if end >= 0 else len(self.source)
            return ("sequence", [_one(self._literal(c)) for c in text])
        self.at -= 1
        return _one(self._escaped_test())

    def _escaped_test(self) -> CharTest:
        """The class or literal after a backslash."""
        found = self._named_class()
        return named(*found) if found is not None else self._literal(self._escaped_char())

    def _named_class(self) -> tuple[str, bool] | None:
        """The name of a class and whether its opposite is meant."""
        char = self._peek()
        if char in ("p", "P"):
            self.at += 1
            name = self._property_name()
            if len(name) < 2 and name not in PROPERTIES or name not in PROPERTIES and name not in ASCII_CLASSES:
                raise self.error(f"unknown class {name}")
            return name, char == "P"
        if char and char in "dDwWsS":
            self.at += 1
            return char.lower(), char.isupper()
        return None

    def _property_name(self) -> str:
        if not self._accept("{"):
            return self._take()
        end = self.source.find("}", self.at)
        if end < 0:
            raise self.error("a missing }")
        name = self.source[self.at : end]
        self.at = end + 1
        return name

    def _escaped_char(self) -> str:
        char = self._take()
        if char in "xu":
            digits = self.source[self.at : self.at + (2 if char == "x" else 4)]
            self.at += len(digits)
            try:
                return chr(int(digits, 16))
            except ValueError:
                raise self.error("hexadecimal digits are needed") from None
        if char.isalnum() and char not in _CONTROLS:
            raise self.error(f"unknown escape \\{char}")
        return _CONTROLS.get(char, char)

    def _literal(self, char: str) -> CharTest:
        if "i" in self.flags and char.lower() != char.upper():
            return CharTest(frozenset((char.lower(), char.upper())).__contains__, SET_WEIGHT)
        return CharTest(frozenset(char).__contains__, SET_WEIGHT)

    def _class(self) -> CharTest:
        negative = self._accept("^")
        builder = ClassBuilder()
        first = True
        while first or self._peek() != "]":
            first = False
            self._class_item(builder)
        self.at += 1
        return builder.build(negative, "i" in self.flags)

    def _class_item(self, builder: ClassBuilder) -> None:
        if self._peek() == "[" or self.source.startswith("&&", self.at):
            raise self.error("a class inside a class is not supported")
        if self._accept("\\"):
            found = self._named_class()
            if found is not None:
                builder.add_named(*found)
                return
            low = self._escaped_char()
        else:
            low = self._take()
        if self._peek() != "-" or self.source[self.at + 1 : self.at + 2] in ("]", ""):
            builder.spans.append((ord(low), ord(low)))
            return
        self.at += 1
        high = self._escaped_char() if self._accept("\\") else self._take()
        if high < low:
            raise self.error("a range from high to low")
        builder.spans.append((ord(low), ord(high)))
