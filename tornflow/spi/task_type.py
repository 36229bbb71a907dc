"""The task type contract: how one attempt of a function task is carried out.

A task type is named after resource protocols (``http`` in ``http://host/path``). A plugin returns instances from the
hook ``tornflow_task_types``; the server calls ``start`` once, ``execute`` for every attempt (many at a time, on the
event loop), ``stop`` once. What it needs from the host arrives through ``start`` and the attempt, not through imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Protocol

from tornflow.model.values import value


@value
class Answered:
    """The attempt was carried out and this came back.

    ``value`` is any JSON value; the engine reads it by the rules of ``rill-dsl`` 12.4 (an object is the output, an
    array becomes ``{"data": [...]}``, a scalar ``{}``). Use ``NO_ANSWER`` for an empty or unreadable answer, which
    fails a ``task_sync`` and is a fine acknowledgement for a ``task_async``.
    """

    value: Any


NO_ANSWER = Answered(None)


@value
class Failed:
    """The attempt could not be carried out, or it failed. Retry rules of the task apply.

    ``code`` is for programs: short, lower case, the same whenever the same is the matter (``timeout``, ``http_503``).
    It becomes the code of the task. docs/task-types.md lists those of the built-in task types.
    """

    message: str
    code: str | None = None


Outcome = Answered | Failed


class Host(Protocol):
    """What the server offers to a task type."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The plain values of the section ``plugins.<first protocol of the task type>`` of the configuration, plus
        ``outbound`` (network policy and timeouts, see conf/tornflow.yaml) and ``server_url``."""

    async def start_child(self, attempt: Attempt, descriptor_id: str, context: Mapping[str, Any]) -> str:
        """Start a sub-flow on behalf of an attempt and return its execution id once it is durably stored.

        Repeating the call for the same attempt (after a crash) returns the same child.

        Raises:
            DescriptorNotFound: no such flow.
            NestingTooDeep: a sixth level of flows.
        """


@value
class Attempt:
    """One try of one task; ``number`` counts from 1.

    ``task_name`` is the instance name (``loop_0-encode``). ``idempotency_key`` is the same whenever this very attempt
    is dispatched again after a crash, and differs between attempts. ``life`` tells the uses of one execution id apart:
    an id that is used again has another life, and idempotency keys contain it. ``input`` is the mapped input with the
    task's ``parameters`` merged in; the task type must not change it. ``deadline_s`` is the task's own timeout, if any.
    A completion callback is an attempt too: ``task_name`` is "" and ``extra_body`` is what the body must contain.
    """

    execution_id: str
    task_name: str
    number: int
    resource: str  # the whole resourceName: http://host/path
    protocol: str
    input: Mapping[str, Any]
    idempotency_key: str
    pattern: str  # a Pattern value; "" for a completion callback
    request_type: str = "POST"
    callback_url: str = ""
    server_url: str = ""
    deadline_s: float | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    resource_object: Mapping[str, Any] = field(default_factory=dict)
    """The resource object of the task (``rill-dsl`` 12.6): name, category and its own fields; empty for most tasks. The
    protocol is then the object's category."""
    life: str = ""

    @property
    def rest(self) -> str:
        """The part of the resource behind ``://``."""
        return self.resource.partition("://")[2]


class TaskType(Protocol):
    protocols: tuple[str, ...]
    """Every protocol it serves; the first one names its settings section."""

    title: str
    """One line for `tornflow plugins` and the UI."""

    async def start(self, host: Host) -> None:
        """Open sessions, read settings. Raise ConfigError for settings that cannot work."""

    async def execute(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt. An exception counts as ``Failed(str(exception))``; cancellation means that the answer
        is no longer wanted."""

    async def stop(self) -> None:
        """Let go of everything; attempts in hand have ended or were cancelled before."""

    # A task type may also have this method. It is asked with ``getattr``, so that it can be left out:
    #
    # def target(self, resource: str) -> str:
    #     """Return what attempts of ``resource`` go to: the part of the world that may be slow or dead on its own, such
    #     as ``scheme://host:port``. Attempts for one target share ``dispatch.per_target`` slots and never take those of
    #     another. Must be quick and always say the same, for the answer is kept. Without it, the target is the
    #     protocol."""
    #
    # And these two, with which the graph editor of the web UI offers it as a template (docs/templates.md):
    #
    # schema: Mapping[str, Any]  # JSON schema (type object) of the task's input, drawn as a form
    # icon: str                  # such as "ant-design:code-outlined"; without it that of function tasks
