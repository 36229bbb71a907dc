"""One evaluation of a path: the document's root, and how much work is left."""

from __future__ import annotations

from typing import Any

from tornflow.engine.expressions.budget import Run
from tornflow.engine.jsonpath.errors import MatchError
from tornflow.engine.jsonpath.limits import MAX_WORK


class Look:
    __slots__ = ("left", "patterns", "root")

    def __init__(self, root: Any) -> None:
        self.root = root
        self.left = MAX_WORK
        self.patterns: Run | None = None  # the meter of ``=~``, made when the first pattern runs

    def charge(self, work: int) -> None:
        """Raise MatchError when one evaluation does more than its share: filters in filters multiply."""
        self.left -= work
        if self.left < 0:
            raise MatchError(f"the path visits too much of this document (bound: {MAX_WORK} nodes and comparisons)")


class Missing:
    """The value of what is not there; unlike None it is no JSON value."""

    __slots__ = ()


MISSING = Missing()
