"""The components in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from tornflow.spi.component import WorkflowBinding


@dataclass(frozen=True, slots=True)
class Component:
    """A loaded component. ``place`` is ``file:line``; secret stores have the binding of nothing."""

    name: str
    type: str
    version: str = "v1"
    binding: WorkflowBinding = field(default_factory=WorkflowBinding)
    place: str = ""

    @property
    def is_workflow(self) -> bool:
        return self.type.startswith("workflow.")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one look at the files gave: components in the order of their initialisation, and what to tell people."""

    components: tuple[Component, ...] = ()
    warnings: tuple[str, ...] = ()


class Components:
    """What requests ask. A change of the files exchanges the whole; ``problem`` says why the newest were not taken."""

    def __init__(self, loaded: tuple[Component, ...] = ()) -> None:
        self.problem = ""
        self.replace(loaded)

    def replace(self, loaded: tuple[Component, ...]) -> None:
        self.loaded = loaded
        self._workflows = {one.name: one for one in loaded if one.is_workflow}
        self.is_strict = any(one.binding.is_strict for one in self._workflows.values())

    def find(self, name: str) -> Component | None:
        """Return the workflow component of that name."""
        return self._workflows.get(name)
