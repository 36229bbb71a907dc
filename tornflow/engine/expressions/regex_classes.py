"""Tests of one character: the classes of a pattern, merged so that a long class costs as little as a short one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Test = Callable[[str], bool]
Span = tuple[int, int]
"""First and last code point."""

_LAST = 0x10FFFF
_LISTED = 512
"""Up to so many characters a class is a set, which is the fastest test."""

SET_WEIGHT = 1
COMPUTED_WEIGHT = 3
PROPERTY_WEIGHT = 12
"""What one test costs beside the others; eight of weight 1 are a step."""


@dataclass(frozen=True, slots=True)
class CharTest:
    test: Test
    weight: int


@dataclass(slots=True)
class ClassBuilder:
    """Collects what stands in ``[...]``: spans of code points, and properties that only a function knows."""

    spans: list[Span] = field(default_factory=list)
    properties: dict[tuple[str, bool], Test] = field(default_factory=dict)

    def add_named(self, name: str, is_negative: bool) -> None:
        """Raises KeyError for an unknown name."""
        if name in ASCII_CLASSES:
            spans = _merged((ord(char), ord(char)) for char in ASCII_CLASSES[name])
            self.spans += _complement(spans) if is_negative else spans
        else:
            test = PROPERTIES[name]
            self.properties[name, is_negative] = negated(test) if is_negative else test

    def build(self, is_negative: bool, ignores_case: bool) -> CharTest:
        spans = _merged(self.spans)
        test, weight = _spans_test(spans)
        if self.properties:
            test, weight = _any_of(test, tuple(self.properties.values())), PROPERTY_WEIGHT
        if ignores_case:
            test, weight = _any_case(test), weight * 4
        if is_negative:
            test, weight = negated(test), weight + 1
        return CharTest(test, weight)


def named(name: str, is_negative: bool) -> CharTest:
    """A class such as ``\\d`` alone. Raises KeyError for an unknown name."""
    test = ASCII_CLASSES[name].__contains__ if name in ASCII_CLASSES else PROPERTIES[name]
    return CharTest(negated(test), COMPUTED_WEIGHT) if is_negative else CharTest(test, SET_WEIGHT)


def negated(test: Test) -> Test:
    return lambda char: not test(char)


def _merged(spans: Iterable[Span]) -> list[Span]:
    result: list[Span] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def _complement(spans: list[Span]) -> list[Span]:
    result, following = [], 0
    for first, last in spans:
        if first > following:
            result.append((following, first - 1))
        following = last + 1
    if following <= _LAST:
        result.append((following, _LAST))
    return result


def _spans_test(spans: list[Span]) -> tuple[Test, int]:
    if sum(last - first + 1 for first, last in spans) <= _LISTED:
        chars = frozenset(chr(code) for first, last in spans for code in range(first, last + 1))
        return chars.__contains__, SET_WEIGHT
    # Inside a span an odd number of bounds lies at or before the character.
    bounds = [bound for first, last in spans for bound in (first, last + 1)]
    return (lambda char: len(char) == 1 and bisect_right(bounds, ord(char)) % 2 == 1), COMPUTED_WEIGHT


def _any_of(first: Test, others: tuple[Test, ...]) -> Test:
    def test(char: str) -> bool:
        if first(char):
            return True
        for other in others:
            if other(char):
                return True
        return False

    return test


def _any_case(test: Test) -> Test:
    return lambda char: test(char) or test(char.lower()) or test(char.upper())


def _ascii(test: Test) -> frozenset[str]:
    return frozenset(char for char in map(chr, range(128)) if test(char))


ASCII_CLASSES: dict[str, frozenset[str]] = {
    "d": frozenset("0123456789"),
    "w": _ascii(lambda char: char.isalnum() or char == "_"),
    "s": frozenset(" \t\n\r\f\x0b"),
    "Alpha": _ascii(str.isalpha),
    "Digit": frozenset("0123456789"),
    "Alnum": _ascii(str.isalnum),
    "Upper": _ascii(str.isupper),
    "Lower": _ascii(str.islower),
    "Space": frozenset(" \t\n\r\f\x0b"),
    "Punct": _ascii(lambda char: char.isprintable() and not char.isalnum() and char != " "),
}
PROPERTIES: dict[str, Test] = {
    "L": str.isalpha,
    "Lu": str.isupper,
    "Ll": str.islower,
    "N": str.isnumeric,
    "Nd": str.isdecimal,
}
