"""What a flow is: immutable, versioned, shared by all its executions.

Field names are the Python spelling of the YAML keys; every class keeps the normalised ``document`` (camelCase,
JSON types, ``rill-http-api`` 4.7 and 4.8) where a REST view shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tornflow.model.status import Category, Pattern

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MappingRule:
    """Copies ``source`` (path or constant text) to the path ``target``, through ``transform`` if given.

    ``tolerance`` None means true. References to common mappings are already expanded in a Descriptor.
    """

    source: str | None = None
    target: str | None = None
    transform: str | None = None
    tolerance: bool | None = None
    reference: str | None = None
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    max_retry_times: int = 0
    interval_s: int = 0
    multiplier: float = 1.0
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """All texts: a constant or a path (``rill-dsl`` 11.2, 11.3); None where absent."""

    timeout_s: str | None = None
    skip_on_timeout: str | None = None
    suspense_interval_s: str | None = None
    suspense_timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class Degrade:
    current: bool = False
    followings: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    weight: int = 1
    calculation: str | None = None
    args: tuple[MappingRule, ...] = ()


@dataclass(frozen=True, slots=True)
class CallbackConfig:
    resource_name: str
    full_dag_info: bool = False
    full_context: bool = False
    input_mappings: tuple[MappingRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource object: ``name``, ``category`` and whatever else the plugin of that category reads."""

    name: str
    category: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What every category has (``rill-dsl`` 2.1). ``next`` are names of the same task list, duplicates removed."""

    name: str
    category: Category
    document: Json
    next: tuple[str, ...] = ()
    tolerance: bool = False
    input_mappings: tuple[MappingRule, ...] = ()
    output_mappings: tuple[MappingRule, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = Progress()
    degrade: Degrade = Degrade()
    timeline: Timeline = Timeline()
    key_callback: bool = False
    key_exp: str | None = None
    is_stream_input: bool = False
    is_stream_output: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTask(Task):
    """``protocol`` is decided at parse time: resourceProtocol, else the part of resourceName before ``://``."""

    pattern: Pattern
    resource_name: str
    protocol: str
    resource: Resource | None = None
    request_type: str = "POST"
    success_conditions: tuple[str, ...] = ()
    fail_conditions: tuple[str, ...] = ()
    retry: Retry = Retry()


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTask(Task):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnTask(Task):
    """``conditions`` None = key missing, which fails the task; empty counts as true (``rill-dsl`` 9)."""

    conditions: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SwitchCase:
    condition: str | None
    next: tuple[str, ...]
    is_break: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchTask(Task):
    switches: tuple[SwitchCase, ...]


@dataclass(frozen=True, slots=True)
class ChoiceBranch:
    condition: str | None
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceTask(Task):
    choices: tuple[ChoiceBranch, ...]


@dataclass(frozen=True, slots=True)
class Iteration:
    collection: str
    item: str | None = None
    index: str | None = None
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Synchronization:
    conditions: tuple[str, ...] = ()
    max_concurrency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeachTask(Task):
    iteration: Iteration
    tasks: tuple[Task, ...]
    synchronization: Synchronization = Synchronization()


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspenseTask(Task):
    """``events``: names of external events that wake it (``design/decisions.md``, "Events in YAML flows")."""

    conditions: tuple[str, ...] | None
    interruptions: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A parsed, validated, normalised descriptor.

    ``md5`` is the hash of the canonical JSON of ``document``; equal meaning, equal id. ``tasks`` is empty for
    ``type: resource``. ``document`` keeps unknown keys, so that an editor gets back what it wrote.
    """

    workspace: str
    dag_name: str
    type: str
    md5: str
    document: Json
    tasks: tuple[Task, ...] = ()
    version: str | None = None
    timeline: Timeline = Timeline()
    resources: tuple[Resource, ...] = ()
    callback: CallbackConfig | None = None
    default_context: Mapping[str, str] = field(default_factory=dict)
    input_schema: str | None = None
    end_task_name: str | None = None

    @property
    def service_id(self) -> str:
        return f"{self.workspace}:{self.dag_name}"
