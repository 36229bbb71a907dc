"""Limits of one run, and the meter that holds them.

Every loop turn, call and element looked at costs steps; every value built costs bytes. Bytes are an estimate: one per
character, 8 per list slot, 32 per map entry. With the default budget the slowest script found needs about a quarter
of a second on one core without any clock (see tests/unit/test_expressions_bombs.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tornflow.engine.expressions.errors import BudgetExceeded, ExpressionError

SLOT_BYTES = 8
ENTRY_BYTES = 32
INTEGER_BITS = 4096
_STEPS_PER_CHECK = 256


@dataclass(frozen=True, slots=True)
class Budget:
    """``steps`` per run; ``wall_ms`` per run, looked at every 256 steps and only if ``clock`` (seconds, like
    ``perf_counter``) is given; ``value_bytes`` bounds any one built value and the result, ``total_bytes`` all of them
    together; ``source_chars`` and ``nesting`` (levels of the syntax tree) bound the text."""

    steps: int = 100_000
    wall_ms: int = 100
    call_depth: int = 64
    value_bytes: int = 1 << 20
    total_bytes: int = 8 << 20
    source_chars: int = 1 << 16
    nesting: int = 100
    clock: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """What a script may ask of the world: ``now_ms`` (epoch milliseconds) and ``random`` (float in [0, 1))."""

    now_ms: Callable[[], int] | None = None
    random: Callable[[], float] | None = None


class Run:
    """The state of one evaluation: what is left of the budget, and the copies of changed input containers.

    ``copies`` maps the id of an input container to the copy that the script writes to and reads from.
    """

    __slots__ = (
        "budget",
        "bytes_left",
        "check_at",
        "copies",
        "deadline",
        "depth",
        "host",
        "patterns",
        "result",
        "steps",
    )

    def __init__(self, budget: Budget, host: Host, cost: int) -> None:
        self.budget = budget
        self.host = host
        self.steps = budget.steps - cost
        self.check_at = self.steps - _STEPS_PER_CHECK if self.steps > _STEPS_PER_CHECK else 0
        self.bytes_left = budget.total_bytes
        self.depth = 0
        self.deadline: float | None = None
        self.copies: dict[int, Any] = {}
        self.patterns: dict[str, Any] = {}
        self.result: Any = None

    def charge(self, steps: int) -> None:
        """Pay for work. Raises BudgetExceeded."""
        self.steps -= steps
        if self.steps < self.check_at:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Called when ``steps`` fell below ``check_at``."""
        if self.steps < 0:
            raise BudgetExceeded(f"the expression needs more than {self.budget.steps} steps")
        self.check_at = max(self.steps - _STEPS_PER_CHECK, 0)
        if self.budget.clock is None:
            return
        now = self.budget.clock()
        # The clock starts at the first look: a short expression never asks for the time.
        if self.deadline is None:
            self.deadline = now + self.budget.wall_ms / 1000
        elif now > self.deadline:
            raise BudgetExceeded(f"the expression needs more than {self.budget.wall_ms} ms")

    def allocate(self, size: int, grown: int | None = None) -> None:
        """Pay for a value of ``size`` bytes of which ``grown`` are new (default: all). Raises BudgetExceeded."""
        if size > self.budget.value_bytes:
            raise BudgetExceeded(f"a value of more than {self.budget.value_bytes} bytes")
        self.bytes_left -= size if grown is None else grown
        if self.bytes_left < 0:
            raise BudgetExceeded(f"the values built need more than {self.budget.total_bytes} bytes")

    def enter(self) -> None:
        """One call deeper. Raises BudgetExceeded."""
        if self.depth >= self.budget.call_depth:
            raise BudgetExceeded(f"calls nested deeper than {self.budget.call_depth}")
        self.depth += 1

    def integer(self, value: int) -> int:
        """Check the size of a computed integer. Raises BudgetExceeded."""
        bits = value.bit_length()
        if bits > INTEGER_BITS:
            raise BudgetExceeded(f"an integer of more than {INTEGER_BITS} bits")
        if bits > 64:
            # Large integers are slow and mostly come in growing loops.
            self.charge(bits >> 7)
        return value

    def now_ms(self) -> int:
        if self.host.now_ms is None:
            raise ExpressionError("no clock is available here")
        return self.host.now_ms()

    def random(self) -> float:
        if self.host.random is None:
            raise ExpressionError("no random numbers are available here")
        return self.host.random()
