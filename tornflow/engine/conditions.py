"""Conditions: a path that must match at least one node of a document (rill-dsl 6.2).

Existence counts, not truth: ``$.input.flag`` holds when the key is there, even with the value false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tornflow.engine.expressions.budget import Meter
from tornflow.engine.jsonpath import MatchError, PathSyntaxError, compile_match

Condition = Callable[..., bool]
"""``(document)`` or ``(document, meter)``."""


class ConditionError(Exception):
    """A condition cannot be evaluated: a syntax error, or a filter applied to a scalar. The message names it."""


def compile_condition(text: str) -> Condition:
    """Return the condition; one that does not parse raises ConditionError whenever it is evaluated.

    Callers decide what an error means: switch and choice take it for false, others fail the task.
    """
    try:
        matches = compile_match(text)
    except PathSyntaxError as error:
        return _broken(f"condition {_shown(text)}: {error}")

    def condition(document: Mapping[str, Any], meter: Meter | None = None) -> bool:
        try:
            return matches(document, meter)
        except MatchError as error:
            raise ConditionError(f"condition {_shown(text)}: {error}") from error

    return condition


def all_hold(conditions: Iterable[Condition], document: Mapping[str, Any], meter: Meter | None = None) -> bool:
    """True for no conditions at all. Raises ConditionError."""
    return all(condition(document, meter) for condition in conditions)


def any_holds(conditions: Iterable[Condition], document: Mapping[str, Any], meter: Meter | None = None) -> bool:
    """False for no conditions at all. Raises ConditionError."""
    return any(condition(document, meter) for condition in conditions)


def _broken(message: str) -> Condition:
    def condition(_document: Mapping[str, Any], _meter: Meter | None = None) -> bool:
        raise ConditionError(message)

    return condition


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
