"""What can be wrong with a path."""

from __future__ import annotations


class PathSyntaxError(ValueError):
    """The text is not a path of this dialect. ``column`` counts from 1 in the text as given."""

    def __init__(self, message: str, column: int = 1) -> None:
        super().__init__(f"{message} (column {column})")
        self.reason = message
        self.column = column


class MatchError(Exception):
    """The path is sound but cannot be evaluated on this document, for example beyond the bounds in ``limits``."""


class Mistyped(MatchError):
    """A step does not fit its value: a filter on a scalar (rill-dsl 6.2), the sum of a list without numbers."""
