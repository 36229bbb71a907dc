"""What a type of Dapr component implements. Its entry point in the group ``tornflow.components`` is named by the type:

    [project.entry-points."tornflow.components"]
    "workflow.acme" = "acme_flows:workflow"          # ComponentSpec -> WorkflowBinding
    "secretstores.acme" = "acme_flows:open_secrets"  # ComponentSpec -> SecretStore

The category before the first dot decides what is expected. A type is called once per component, at start and whenever
a component file changes, never while a request waits for it. It refuses a component with
``ConfigError(reason, field=name)``: the loader adds file, line and the component's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One component as its file says it. ``metadata`` are texts: secrets, environment and templates are filled in."""

    name: str
    type: str
    version: str
    metadata: Mapping[str, str]
    app_id: str


@dataclass(frozen=True, slots=True)
class WorkflowBinding:
    """What a ``workflow.*`` component means for starts under its name."""

    business: str = ""
    """The business in which bare workflow names are looked up; "": the one of ``dapr.business_id``."""

    is_strict: bool = False
    """A component name that no file brings is refused then, whatever component is asked for."""


class SecretStore(Protocol):
    def secret(self, name: str) -> Mapping[str, str] | None:
        """Return the keys of a secret; None: there is no such secret. Raises ConfigError: it cannot be read."""
        ...


WorkflowType = Callable[[ComponentSpec], WorkflowBinding]
SecretStoreType = Callable[[ComponentSpec], SecretStore]
