"""What the edges get from the server: plain values and the two rooms below them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from tornflow.components import Components
from tornflow.descriptors import DescriptorLimits
from tornflow.engine.expressions import Expression
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.service import FlowService
from tornflow.runtime.templates import Templates
from tornflow.runtime.triggers import Triggers
from tornflow.spi.task_type import Attempt, TaskType

REFERENCE_CALLBACK_CHARS = 6_144


def _no_transforms(text: str) -> Expression:
    raise ValueError("scripts cannot be run here")


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Sizes of what a request may bring. Beyond them: a clear error, and nothing is done."""

    body_bytes: int = 4 * 1024 * 1024
    """Any request body."""

    drain_bytes: int = 64 * 1024 * 1024
    """How much of a too large body is read and dropped so that its sender gets to see the answer; beyond it the
    answer is a plain 400 and the connection is closed."""

    submit_chars: int = 1_048_576
    """Context of a submission, characters of compact JSON (rill-http-api 5.2)."""

    callback_chars: int = 4 * 1024 * 1024
    """Payload of finish, trigger, wakeup and redo, characters of compact JSON (rill-http-api 5.3)."""

    json_depth: int = 200
    """Levels of arrays and objects in a JSON body."""

    page_size: int = 1_000
    """The largest page of a list."""

    tool_rules: int = 100
    """Mapping rules in one request to a mapping tool (rill-http-api 9.6, 9.7)."""

    tool_steps: int = 1_000_000
    """What the scripts of one request to a mapping tool may use together; compiling them counts too."""

    tool_bytes: int = 64 * 1024 * 1024
    """The same for the values that they build (estimated)."""

    tool_groups: int = 1_000
    """Groups whose results a mapping tool puts together; beyond it the request must bring its own ``output``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Everything the handlers may touch. Built once by the server.

    ``is_ready`` returns "" or the reason why the server cannot work now, trouble with the store included. ``closed``
    returns "" or the reason why nothing but probes is answered: it is starting or draining. ``clock`` returns ms since
    the epoch.
    ``evaluate`` computes a ``progress.calculation`` (expression, variables); without it such a task counts as 0 until
    it is done. ``transforms`` compiles the scripts of mapping rules for the mapping tools. ``preview`` returns the
    ``{"url", "body"}`` that a task type would send for an attempt, None if it shows none; it raises UnknownTaskType or
    PluginError. ``templates`` are the task templates of the graph editor, ``task_types`` those that may ship forms for
    it, by protocol; ``triggers`` start executions without a request. ``components`` are those of Dapr component files,
    exchanged when the files change; ``metadata_entries`` what clients put onto the metadata page (of this process).
    ``access_log`` gets (method, path, status, seconds) of every request; None costs nothing.
    """

    service: FlowService
    catalog: Catalog[Any]
    clock: Callable[[], int]
    is_ready: Callable[[], str] = lambda: ""
    closed: Callable[[], str] = lambda: ""
    limits: EdgeLimits = EdgeLimits()
    descriptor_limits: DescriptorLimits = DescriptorLimits()
    server_url: str = "http://127.0.0.1:8080"
    trigger_uri: str = "/flow/trigger.json"
    strict: bool = False
    trigger_ignores_body_result: bool = False
    trace_query_host: str = ""
    evaluate: Callable[[str, Mapping[str, Any]], Any] | None = None
    transforms: Callable[[str], Expression] = _no_transforms
    preview: Callable[[Attempt], Mapping[str, Any] | None] = lambda attempt: None
    templates: Templates | None = None
    triggers: Triggers | None = None
    task_types: Mapping[str, TaskType] = field(default_factory=dict)
    app_id: str = "tornflow"
    version: str = ""
    dapr_api_token: str = ""
    missing_instance_is_404: bool = False
    components: Components = field(default_factory=Components)
    metadata_entries: dict[str, str] = field(default_factory=dict)
    registry: CollectorRegistry | None = None
    access_log: Callable[[str, str, int, float], None] | None = None
