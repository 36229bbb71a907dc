"""Regular expressions of ``=~``: the whole text must match (rill-dsl 6.3).

Java's syntax is close to Python's; what differs and can be told apart is translated, the rest is a syntax error.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

from tornflow.engine.jsonpath.errors import MatchError, PathSyntaxError
from tornflow.engine.jsonpath.limits import MAX_MATCHED_CHARACTERS, MAX_PATTERN_CHARACTERS
from tornflow.engine.jsonpath.look import Look
from tornflow.engine.jsonpath.steps import Pattern

_FLAGS = {"i": re.I, "m": re.M, "s": re.S, "x": re.X, "u": re.U, "d": re.NOFLAG, "U": re.U}
_NAMED_GROUP = re.compile(r"\(\?<(?=[A-Za-z])")
_END_OF_TEXT = re.compile(r"\\z")


def compile_pattern(pattern: Pattern) -> Callable[[Any, Look], bool]:
    """Return ``(value, look) -> bool``; numbers are matched as text, other values never match.

    Raises:
        PathSyntaxError: not a pattern, longer than ``limits.MAX_PATTERN_CHARACTERS``, or an unknown flag.
    """
    fullmatch = _compile(pattern).fullmatch

    def matches(value: Any, look: Look) -> bool:
        if not isinstance(value, str):
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                return False
            value = str(value)
        if len(value) > MAX_MATCHED_CHARACTERS:
            raise MatchError(f"a text of {len(value)} characters is too long for a pattern ({MAX_MATCHED_CHARACTERS})")
        look.charge(len(value))
        return fullmatch(value) is not None

    return matches


def _compile(pattern: Pattern) -> re.Pattern[str]:
    if len(pattern.text) > MAX_PATTERN_CHARACTERS:
        raise PathSyntaxError(f"a pattern is longer than {MAX_PATTERN_CHARACTERS} characters")
    flags = re.NOFLAG
    for letter in pattern.flags:
        if letter not in _FLAGS:
            raise PathSyntaxError(f"a pattern has the unknown flag {letter!r}")
        flags |= _FLAGS[letter]
    text = _END_OF_TEXT.sub(r"\\Z", _NAMED_GROUP.sub("(?P<", pattern.text.replace("\\/", "/")))
    try:
        with warnings.catch_warnings():
            # Python warns of nested sets, which mean something else to Java.
            warnings.simplefilter("error")
            return re.compile(text, flags)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise PathSyntaxError(f"not a pattern: {error}") from error
