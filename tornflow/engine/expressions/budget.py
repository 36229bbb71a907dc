"""Limits of one run, and the meter that holds them.

Work is counted, never timed: the same script over the same values ends the same way on any machine, however busy.
Every loop turn, call and element looked at costs steps, every value built costs bytes. A step is weighed to take at
most about a microsecond of one core, so that ``steps`` bounds the time too (``python -m bench.scripts`` measures it).
Bytes are an estimate: one per character, 8 per list slot, 32 per map entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from tornflow.engine.expressions.errors import BudgetExceeded, ExpressionError

SLOT_BYTES = 8
ENTRY_BYTES = 32
INTEGER_BITS = 4096


@dataclass(frozen=True, slots=True)
class Budget:
    """``steps`` per run; ``value_bytes`` bounds any one built value and the result, ``total_bytes`` all of them
    together; ``source_chars`` and ``nesting`` (levels of the syntax tree) bound the text."""

    steps: int = 100_000
    call_depth: int = 64
    value_bytes: int = 1 << 20
    total_bytes: int = 8 << 20
    source_chars: int = 1 << 16
    nesting: int = 100


@dataclass(frozen=True, slots=True)
class Host:
    """What a script may ask of the world: ``now_ms`` (epoch milliseconds) and ``random`` (float in [0, 1))."""

    now_ms: Callable[[], int] | None = None
    random: Callable[[], float] | None = None


class Meter:
    """What several runs and paths may use together. Each takes what it may use at its start and settles at its end.

    ``name`` says in messages whose budget it is. Not for use by two runs at the same time.
    """

    __slots__ = ("bytes", "bytes_left", "name", "steps", "steps_left")

    def __init__(self, steps: int, total_bytes: int, name: str = "the step") -> None:
        self.name = name
        self.steps = self.steps_left = steps
        self.bytes = self.bytes_left = total_bytes

    def use(self, steps: int, size: int = 0) -> None:
        """Take what was used off the rest, which may become negative: then nothing else can start."""
        self.steps_left -= steps
        self.bytes_left -= size


class Run:
    """The state of one evaluation: what is left of the budget, and the copies of changed input containers.

    ``copies`` maps the id of an input container to the copy that the script writes to and reads from. Hot closures
    take ``steps`` down themselves and call ``exhaust`` when it falls below 0.
    """

    __slots__ = (
        "_granted_bytes",
        "_granted_steps",
        "_meter",
        "budget",
        "bytes_left",
        "copies",
        "depth",
        "host",
        "patterns",
        "result",
        "steps",
    )

    def __init__(self, budget: Budget, host: Host, cost: int, meter: Meter | None = None) -> None:
        """Raises BudgetExceeded: ``cost`` alone is more than what is left."""
        self.budget = budget
        self.host = host
        self._meter = meter
        self._granted_steps = budget.steps
        self._granted_bytes = budget.total_bytes
        if meter is not None:
            self._granted_steps = min(budget.steps, meter.steps_left)
            self._granted_bytes = min(budget.total_bytes, meter.bytes_left)
        self.steps = self._granted_steps - cost
        self.bytes_left = self._granted_bytes
        self.depth = 0
        self.copies: dict[int, Any] = {}
        self.patterns: dict[str, Any] = {}
        self.result: Any = None
        if self.steps < 0:
            self.exhaust()

    def settle(self) -> None:
        """Tell the shared meter what this run has used."""
        if self._meter is not None:
            self._meter.use(self._granted_steps - self.steps, self._granted_bytes - self.bytes_left)

    def charge(self, steps: int) -> None:
        """Pay for work. Raises BudgetExceeded."""
        self.steps -= steps
        if self.steps < 0:
            self.exhaust()

    def exhaust(self) -> NoReturn:
        """Called when ``steps`` fell below 0. Raises BudgetExceeded."""
        if self._meter is not None and self._granted_steps < self.budget.steps:
            raise BudgetExceeded(f"{self._meter.name} needs more than {self._meter.steps} steps")
        raise BudgetExceeded(f"the expression needs more than {self.budget.steps} steps")

    def allocate(self, size: int, grown: int | None = None) -> None:
        """Pay for a value of ``size`` bytes of which ``grown`` are new (default: all). Raises BudgetExceeded."""
        if size > self.budget.value_bytes:
            raise BudgetExceeded(f"a value of more than {self.budget.value_bytes} bytes")
        self.bytes_left -= size if grown is None else grown
        if self.bytes_left < 0:
            most = self.budget.total_bytes if self._meter is None else min(self.budget.total_bytes, self._meter.bytes)
            raise BudgetExceeded(f"the values built need more than {most} bytes")

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
            self.charge(1 + (bits >> 7))
        return value

    def now_ms(self) -> int:
        if self.host.now_ms is None:
            raise ExpressionError("no clock is available here")
        return self.host.now_ms()

    def random(self) -> float:
        if self.host.random is None:
            raise ExpressionError("no random numbers are available here")
        return self.host.random()
