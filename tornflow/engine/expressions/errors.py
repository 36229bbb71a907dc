"""What can go wrong with an expression. ``line`` and ``column`` count from 1; 0 = unknown."""

from __future__ import annotations

from typing import Any, Self

from tornflow.errors import RequestError


class _Placed(RequestError):
    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message, line=line, column=column)
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"{self.message} (line {self.line}, column {self.column})" if self.line else self.message

    def place(self, line: int, column: int) -> Self:
        """Say where it happened. The first call wins, so that the innermost place is reported."""
        if not self.line:
            self.line, self.column = line, column
            self.details.update(line=line, column=column)
        return self


class ExpressionSyntaxError(_Placed):
    """The text is not an expression; nothing was run."""

    code = "expression_syntax"


class ExpressionError(_Placed):
    """The expression failed while it ran. The variables are unchanged."""

    code = "expression_failed"


class BudgetExceeded(ExpressionError):
    """A limit of the Budget was reached. A script cannot catch it."""

    code = "expression_budget"


class Thrown(ExpressionError):
    """``throw`` of the script itself; ``value`` is what it threw."""

    def __init__(self, message: str, value: Any) -> None:
        super().__init__(message)
        self.value = value
