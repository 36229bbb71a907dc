"""The types of components that are installed, by the entry points of ``tornflow.components``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tornflow.errors import ConfigError

COMPONENT_GROUP = "tornflow.components"
CATEGORIES = ("workflow", "secretstores")
_BUILT_IN = {
    "workflow.rill": "tornflow.components.builtin:workflow",
    "workflow.tornflow": "tornflow.components.builtin:workflow",
    "secretstores.local.env": "tornflow.components.builtin:EnvironmentSecrets",
    "secretstores.local.file": "tornflow.components.builtin:FileSecrets",
}
"""What pyproject.toml declares (a test compares): known here too, so that an older installation need not be renewed."""


@dataclass(frozen=True, slots=True)
class ComponentKind:
    """One installed type; ``source`` is the distribution that brings it."""

    type: str
    source: str
    entry_point: EntryPoint

    def load(self) -> Callable[..., Any]:
        """Raises ConfigError: it cannot be imported, or is nothing to call."""
        try:
            made = self.entry_point.load()
        except (Exception, SystemExit) as error:  # foreign code ran
            raise ConfigError(f"{self.type} ({self.source}) could not be loaded: {error}") from error
        if not callable(made):
            raise ConfigError(f"{self.type} ({self.source}) could not be loaded: it cannot be called")
        return made  # type: ignore[no-any-return]


def installed_kinds(found: Iterable[EntryPoint] | None = None) -> Mapping[str, ComponentKind]:
    """Return the types by name; ``found`` takes the place of what is installed.

    Raises:
        ConfigError: two distributions bring one type, or a type is of no category that can be used.
    """
    kinds = {
        name: ComponentKind(name, "tornflow", EntryPoint(name, target, COMPONENT_GROUP))
        for name, target in _BUILT_IN.items()
    }
    for point in entry_points(group=COMPONENT_GROUP) if found is None else found:
        source = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        known = kinds.get(point.name)
        if known is not None and known.entry_point.value != point.value:
            raise ConfigError(f"component type {point.name} comes from both {known.source} and {source}")
        category, _, rest = point.name.partition(".")
        if category not in CATEGORIES or not rest:
            raise ConfigError(f"component type {point.name} ({source}): must begin with {' or '.join(CATEGORIES)}")
        kinds[point.name] = ComponentKind(point.name, source, point)
    return kinds
