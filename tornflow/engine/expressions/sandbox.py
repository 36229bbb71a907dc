"""The way in: text -> Expression -> JSON value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tornflow.engine.expressions.budget import Budget, Host, Meter, Run
from tornflow.engine.expressions.compiler import compile_tree
from tornflow.engine.expressions.errors import BudgetExceeded, ExpressionError
from tornflow.engine.expressions.flow import Signal
from tornflow.engine.expressions.grammar import parse
from tornflow.engine.expressions.library_core import CORE, MATH
from tornflow.engine.expressions.library_more import MORE
from tornflow.engine.expressions.library_seq import SEQ
from tornflow.engine.expressions.library_text import TEXT
from tornflow.engine.expressions.nodes import Env, Node
from tornflow.engine.expressions.values import Function, export

FUNCTIONS: Mapping[str, Function] = {**CORE, **MATH, **TEXT, **SEQ, **MORE}


class Expression:
    """A compiled script. Immutable and free of state between calls: any number of flows may share one."""

    __slots__ = ("_budget", "_cost", "_host", "_node", "text")

    def __init__(self, text: str, node: Node, cost: int, budget: Budget, host: Host) -> None:
        self.text = text
        self._node = node
        self._cost = cost
        self._budget = budget
        self._host = host

    def __call__(self, variables: Mapping[str, Any], host: Host | None = None, meter: Meter | None = None) -> Any:
        """Run the script over JSON values and give a JSON value; nil is None.

        Neither ``variables`` nor anything in it is ever changed. What the script does not change it may give back as
        the same object. ``host`` replaces the one it was compiled with, for time that comes in an event. ``meter`` is
        shared with whatever else belongs to one piece of work; the budget of the script bounds its part.

        Raises:
            ExpressionError: the script failed, or its result is no JSON value.
            BudgetExceeded: it needs more than the budget.
        """
        run = Run(self._budget, host or self._host, self._cost, meter)
        try:
            value = self._node(Env(run, dict(variables)))
            if value.__class__ is Signal:
                value = run.result
            return export(run, value)
        except RecursionError:
            raise BudgetExceeded("calls and operators nested too deep") from None
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # No script found so far gets here. Whoever calls still relies on one kind of error.
            raise ExpressionError(f"cannot be evaluated: {error}") from error
        finally:
            if meter is not None:
                run.settle()


def compile_expression(text: str, budget: Budget = Budget(), host: Host = Host()) -> Expression:  # noqa: B008
    """Compile a script (rill-dsl 5.7). An unknown function is an error of the run, not of the text.

    Raises:
        ExpressionSyntaxError: with the line and column of the first problem.
    """
    try:
        node, cost = compile_tree(parse(text, budget), budget, FUNCTIONS)
    except RecursionError:
        # Only where ``nesting`` was set higher than the stack of this process allows.
        from tornflow.engine.expressions.errors import ExpressionSyntaxError

        raise ExpressionSyntaxError("nested too deep", 1, 1) from None
    return Expression(text, node, cost, budget, host)


class Sandbox:
    """Compiles scripts that may ask for the time and for random numbers.

    ``now_ms`` gives epoch milliseconds, ``random`` a float in [0, 1). Nothing else differs from one run to the next.
    """

    __slots__ = ("_budget", "_host")

    def __init__(
        self,
        now_ms: Callable[[], int],
        random: Callable[[], float],
        budget: Budget = Budget(),  # noqa: B008
    ) -> None:
        self._host = Host(now_ms, random)
        self._budget = budget

    def compile(self, text: str) -> Expression:
        """``compile_expression`` with this host and budget."""
        return compile_expression(text, self._budget, self._host)
