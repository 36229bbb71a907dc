"""Bounds on what one path may ask for; beyond them a path is a syntax error or its evaluation a MatchError."""

from __future__ import annotations

from typing import Any

MAX_PATH_CHARACTERS = 10_000
MAX_STEPS = 200
MAX_NESTING = 30  # parentheses, filters in filters, literals in literals
MAX_TARGET_INDEX = 10_000  # writing [n] fills the places before it with nulls
MAX_PATTERN_CHARACTERS = 1_000
MAX_MATCHED_CHARACTERS = 100_000
MAX_WORK = 1_200_000  # units of work of one evaluation, patterns included: about 0.1 s
WORK_PER_STEP = 8  # a unit is an eighth of a step of scripts (expressions/budget.py): about 0.1 microseconds
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
