"""Expressions: the Aviator subset of ``transform``, gray rules and ``progress.calculation`` (rill-dsl 5.7).

A pure, sandboxed interpreter: no host language, no clock, a budget for steps, size and depth, and the variables handed
in are never changed. ``compile_expression(text)(variables)``, or ``Sandbox(now_ms, random).compile(text)`` for
scripts that use ``now()`` and ``rand()``.
"""

from tornflow.engine.expressions.budget import Budget, Host, Meter
from tornflow.engine.expressions.errors import BudgetExceeded, ExpressionError, ExpressionSyntaxError
from tornflow.engine.expressions.length import (
    LONG_PATH_CHARS,
    LONG_SCRIPT_CHARS,
    are_long,
    is_long,
    is_long_path,
    script_chars,
    warm_up,
)
from tornflow.engine.expressions.sandbox import FUNCTIONS, Expression, Sandbox, compile_expression

__all__ = [
    "FUNCTIONS",
    "LONG_PATH_CHARS",
    "LONG_SCRIPT_CHARS",
    "Budget",
    "BudgetExceeded",
    "Expression",
    "ExpressionError",
    "ExpressionSyntaxError",
    "Host",
    "Meter",
    "Sandbox",
    "are_long",
    "compile_expression",
    "is_long",
    "is_long_path",
    "script_chars",
    "warm_up",
]
