"""Value classes that are made for every step of every flow.

``dataclass(frozen=True)`` sets each field through ``object.__setattr__``, which takes three times as long as an
ordinary assignment: with it, making events, commands, attempts and writes was a sixth of the runtime's part of a flow.
So these classes are frozen for the type checkers, which read all of our code, and plain at run time.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def value(cls: type[T]) -> type[T]:
    """Make a dataclass with slots, equality and hash whose objects nobody changes."""
    return dataclasses.dataclass(slots=True, unsafe_hash=True)(cls)
