"""Regular expressions of ``=~``: Java's syntax, the whole text must match (rill-dsl 6.3).

They run on the metered machine of transform scripts, because Python's own ``re`` cannot be stopped: ``(a|a)*b`` over
forty characters would stall the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tornflow.engine.expressions.errors import ExpressionError
from tornflow.engine.expressions.regex_syntax import compile_pattern as compile_program
from tornflow.engine.jsonpath.errors import MatchError, PathSyntaxError
from tornflow.engine.jsonpath.limits import MAX_MATCHED_CHARACTERS, MAX_PATTERN_CHARACTERS
from tornflow.engine.jsonpath.look import Look
from tornflow.engine.jsonpath.steps import Pattern

_NUMBER_WORK = 8
_FLAGS = "imsxudU"
_IN_PROGRAM = "ims"  # x is applied to the text; u, d and U change nothing for the texts we know
# An open class takes the rest, else each [ of many would be looked for an end.
_SPACED = re.compile(r"(\\.|\[(?:\\.|[^\]\\])*\]?)|\s+|#[^\n]*", re.DOTALL)


def compile_pattern(pattern: Pattern) -> Callable[[Any, Look], bool]:
    """Return ``(value, look) -> bool``; numbers are matched as text, other values never match.

    The test raises MatchError for texts beyond ``limits.MAX_MATCHED_CHARACTERS`` and beyond ``limits.MAX_WORK``.

    Raises:
        PathSyntaxError: not a pattern, longer than ``limits.MAX_PATTERN_CHARACTERS``, or an unknown flag.
    """
    text = _text(pattern)
    try:
        program = compile_program(text)
    except ExpressionError as error:
        raise PathSyntaxError(str(error)) from error

    def matches(value: Any, look: Look) -> bool:
        if not isinstance(value, str):
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                return False
            look.charge(_NUMBER_WORK)
            value = str(value)
        if program.literal is not None:
            return bool(value == program.literal)
        if len(value) > MAX_MATCHED_CHARACTERS:
            raise MatchError(f"a text of {len(value)} characters is too long for a pattern ({MAX_MATCHED_CHARACTERS})")
        return look.matches(program, value)

    return matches


def _text(pattern: Pattern) -> str:
    if len(pattern.text) > MAX_PATTERN_CHARACTERS:
        raise PathSyntaxError(f"a pattern is longer than {MAX_PATTERN_CHARACTERS} characters")
    for letter in pattern.flags:
        if letter not in _FLAGS:
            raise PathSyntaxError(f"a pattern has the unknown flag {letter!r}, known are {_FLAGS}")
    text = pattern.text.replace("\\/", "/")
    if "x" in pattern.flags:
        text = _SPACED.sub(lambda match: match.group(1) or "", text)
    flags = "".join(letter for letter in _IN_PROGRAM if letter in pattern.flags)
    return f"(?{flags}){text}" if flags else text
