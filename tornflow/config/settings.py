"""The whole configuration as values. It is read once, in ``cli`` and ``server``; rooms below get plain values."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tornflow.config.part_sections import PluginSettings, StorageSettings
from tornflow.config.sections import (
    RESOURCES_PATH,
    DaprSettings,
    DescriptorSettings,
    DispatchSettings,
    EngineSettings,
    ExpressionSettings,
    FlowsSettings,
    LogSettings,
    MetricsSettings,
    OutboundSettings,
    RillSettings,
    ServerSettings,
)


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings = field(default_factory=ServerSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    descriptors: DescriptorSettings = field(default_factory=DescriptorSettings)
    expressions: ExpressionSettings = field(default_factory=ExpressionSettings)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    rill: RillSettings = field(default_factory=RillSettings)
    dapr: DaprSettings = field(default_factory=DaprSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    plugins: PluginSettings = field(default_factory=PluginSettings)
    flows: FlowsSettings = field(default_factory=FlowsSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    other_plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """``plugins.<name>`` of task types that are not built in: only their own code knows what is right there."""
    warnings: tuple[str, ...] = ()
    """What was given and has no effect, one line each with its place; to be logged once logging is set up."""

    @property
    def is_loopback_only(self) -> bool:
        """Whether the bound address can be reached from this machine only."""
        return is_loopback(self.server.host)

    @property
    def allows_loopback(self) -> bool:
        """``outbound.allow_loopback`` with its null resolved (design, "Safe by default")."""
        chosen = self.outbound.allow_loopback
        return self.is_loopback_only if chosen is None else chosen

    def server_url(self, port: int | None = None) -> str:
        """Return the base of callback URLs, without a slash at the end; ``port`` is the one really bound."""
        if self.server.public_url:
            return self.server.public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.server.host, self.server.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port or self.server.port}"

    def plugin(self, name: str) -> dict[str, Any]:
        """Return ``plugins.<name>`` as plain values; {} for a plugin without any."""
        if name == "python":
            return asdict(self.plugins.python)
        if name in ("http", "https"):
            return asdict(self.plugins.http)
        return dict(self.other_plugins.get(name, {}))

    def outbound_values(self) -> dict[str, Any]:
        """Return ``outbound`` as task types get it: plain values, ``allow_loopback`` decided, ``strict`` added."""
        values = asdict(self.outbound) | {"allow_loopback": self.allows_loopback, "strict": self.rill.strict}
        return values | {"allow": list(self.outbound.allow), "deny": list(self.outbound.deny)}

    def descriptor_values(self) -> dict[str, int]:
        """Return the limits on descriptors as plain values, by the names of ``DescriptorLimits``."""
        own = self.descriptors
        return {
            "size_bytes": self.rill.descriptor_limit_bytes,
            "depth": own.depth,
            "nodes": own.nodes,
            "mappings": own.mappings,
            "problems": own.problems,
            "tasks": self.engine.max_tasks_per_flow,
        }

    def component_values(self) -> dict[str, Any]:
        """Return where Dapr component files are, by the names of ``ComponentSource``; the default may be missing."""
        own = self.dapr
        is_default = own.resources_path == RESOURCES_PATH
        return {"folder": own.resources_path, "may_be_missing": is_default, "app_id": own.app_id}

    def storage_values(self) -> dict[str, Any]:
        """Return the settings of the store that ``storage.url`` names, for ``open_storage(url, settings)``.

        A store of another distribution has none here: its URL carries them.
        """
        scheme = self.storage.url.partition("://")[0]
        if scheme == "sqlite":
            return asdict(self.storage.sqlite)
        if scheme in ("mongodb", "mongodb+srv"):
            return asdict(self.storage.mongodb)
        return {}


def is_loopback(host: str) -> bool:
    """Return whether a host text is surely this machine only; a name other than localhost is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
