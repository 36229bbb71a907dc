"""The syntax tree of a path: a tuple of steps; filters hold a tree of tests over operands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Name:
    """``.a`` or ``['a']``."""

    name: str


@dataclass(frozen=True, slots=True)
class Names:
    """``['a','b']``: at the end of a path an object with those keys, elsewhere each of them."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """``[0]``; negative counts from the end."""

    index: int


@dataclass(frozen=True, slots=True)
class Indexes:
    """``[0,2]``."""

    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """``[1:3]``; None is an open end."""

    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``.*`` or ``[*]``."""


@dataclass(frozen=True, slots=True)
class Where:
    """``[?(...)]``."""

    test: Test


@dataclass(frozen=True, slots=True)
class Scan:
    """``..``: the step behind it is applied at every depth."""


@dataclass(frozen=True, slots=True)
class Call:
    """``.length()``, only at the end of a path."""

    name: str
    arguments: tuple[Operand, ...]


Step = Name | Names | Index | Indexes | Slice | Wildcard | Where | Scan | Call


@dataclass(frozen=True, slots=True)
class Path:
    """``is_relative``: starts with ``@``, the node that a filter looks at."""

    steps: tuple[Step, ...]
    is_relative: bool = False

    @property
    def call(self) -> Call | None:
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Call) else None

    @property
    def nodes(self) -> tuple[Step, ...]:
        """The steps without a closing function."""
        return self.steps[:-1] if self.call else self.steps


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class Pattern:
    """``/text/flags``."""

    text: str
    flags: str


Operand = Path | Literal | Pattern


@dataclass(frozen=True, slots=True)
class Exists:
    path: Path


@dataclass(frozen=True, slots=True)
class Compare:
    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Not:
    part: Test


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Test, ...]


Test = Exists | Compare | Not | All | Either


def is_definite(step: Step, is_last: bool) -> bool:
    """Say whether a step leads to at most one node (rill-dsl 6.1). ``is_last``: nothing follows, no function either."""
    return isinstance(step, (Name, Index)) or (isinstance(step, Names) and is_last)
