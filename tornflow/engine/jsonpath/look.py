"""One evaluation of a path: the document's root, and how much work is left."""

from __future__ import annotations

from typing import Any, NoReturn

from tornflow.engine.expressions.budget import Budget, Host, Meter, Run
from tornflow.engine.expressions.errors import BudgetExceeded
from tornflow.engine.expressions.regex_machine import full_match
from tornflow.engine.expressions.regex_program import Program
from tornflow.engine.jsonpath.errors import MatchError
from tornflow.engine.jsonpath.limits import MAX_WORK, WORK_PER_STEP

_BUDGET = Budget()
_HOST = Host()


class Look:
    """``meter`` is shared with whatever else belongs to one piece of work; ``MAX_WORK`` bounds this path's part."""

    __slots__ = ("_granted", "_meter", "_run", "left", "root")

    def __init__(self, root: Any, meter: Meter | None = None) -> None:
        self.root = root
        self._granted = MAX_WORK if meter is None else min(MAX_WORK, meter.steps_left * WORK_PER_STEP)
        self._meter = meter
        self.left = self._granted
        self._run: Run | None = None  # for patterns, made when the first one runs

    def charge(self, work: int) -> None:
        """Raise MatchError when one evaluation does more than its share: filters in filters multiply."""
        self.left -= work
        if self.left < 0:
            self._fail()

    def matches(self, program: Program, text: str) -> bool:
        """Say whether the whole text fits, on what is left for this evaluation. Raises MatchError."""
        run = self._run
        if run is None:
            run = self._run = Run(_BUDGET, _HOST, 0)
        granted = run.steps = self.left // WORK_PER_STEP
        try:
            return full_match(run, program, text) is not None
        except BudgetExceeded:
            self._fail(f" with the pattern /{program.source}/")
        finally:
            self.left -= (granted - run.steps) * WORK_PER_STEP

    def settle(self) -> None:
        """Tell the shared meter what this evaluation has used."""
        if self._meter is not None:
            self._meter.use((self._granted - self.left) // WORK_PER_STEP)

    def _fail(self, where: str = "") -> NoReturn:
        if self._meter is not None and self._granted < MAX_WORK:
            raise MatchError(f"{self._meter.name} needs more than {self._meter.steps} steps")
        bound = MAX_WORK // WORK_PER_STEP
        raise MatchError(f"the path visits too much of this document (bound: {bound} steps){where}")


class Missing:
    """The value of what is not there; unlike None it is no JSON value."""

    __slots__ = ()


MISSING = Missing()
