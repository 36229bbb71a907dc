"""How a setting is written down: name, default, unit, range and meaning in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class About:
    """What a setting says of itself. ``minimum`` and ``maximum`` are inclusive; ``one_of`` lists the only values."""

    doc: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    one_of: tuple[str, ...] = ()
    environ: tuple[str, ...] = ()  # names of environment variables beside the regular one
    is_secret: bool = False


def setting(default: T, doc: str, **about: Any) -> T:
    """A field of a section. A mapping default is copied for every instance, so that nobody shares it."""
    metadata = {"about": About(doc, **about)}
    made: Any = (
        field(default_factory=default.copy, metadata=metadata)
        if isinstance(default, dict)
        else field(default=default, metadata=metadata)
    )
    return made  # type: ignore[no-any-return]
