"""Bounds on what one path may ask for; beyond them a path is a syntax error or its evaluation a MatchError."""

from __future__ import annotations

from typing import Any

MAX_PATH_CHARACTERS = 10_000
MAX_STEPS = 200
MAX_NESTING = 30  # parentheses, filters in filters, literals in literals
MAX_TARGET_INDEX = 10_000  # writing [n] fills the places before it with nulls
MAX_PATTERN_CHARACTERS = 1_000
MAX_MATCHED_CHARACTERS = 100_000
MAX_PATTERN_STEPS = 400_000  # of all patterns in one evaluation: about a second
MAX_WORK = 2_000_000  # nodes visited, compared or characters matched by one evaluation: about a second
MAX_NUMBER_CHARACTERS = 400  # a longer text is never read as a number


def copy_json(value: Any) -> Any:
    """Return a copy that shares no container with ``value``. Any depth; no cycles."""
    if type(value) is not dict and type(value) is not list:
        return value
    result = value.copy()
    waiting = [result]
    while waiting:
        node = waiting.pop()
        # Replacing the value of an existing key is safe while iterating.
        for key, child in node.items() if type(node) is dict else enumerate(node):
            if type(child) is dict or type(child) is list:
                node[key] = fresh = child.copy()
                waiting.append(fresh)
    return result
