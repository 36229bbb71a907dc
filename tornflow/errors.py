"""The error tree. Branches say whose fault it is, leaves what is the matter.

``code`` is public and never changes; the message is for people and may. Only ``tornflow.api`` knows HTTP
statuses and the numbers of the REST families: it looks them up along the MRO, so a new leaf is served at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class TornflowError(Exception):
    """The root of everything that tornflow raises on purpose."""

    code = "tornflow_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class RequestError(TornflowError):
    """The caller can mend it."""

    code = "bad_request"


class MalformedField(RequestError):
    """One field of the request is missing or has the wrong form; ``details["field"]`` names it."""

    code = "malformed_field"


class MalformedCallback(RequestError):
    """The ``callback`` of a submission is neither a URL nor a callback configuration."""

    code = "malformed_callback"


class LimitExceeded(RequestError):
    """A documented size or count limit was exceeded; details: ``limit`` (its name), ``allowed``, ``given``."""

    code = "limit_exceeded"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a descriptor.

    ``code`` is the Rill number (304xx), ``path`` a readable place such as ``tasks[2].next``; ``line`` and
    ``column`` count from 1 and are 0 when unknown.
    """

    code: int
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    suggestion: str = ""


class InvalidDescriptor(RequestError):
    """The descriptor cannot be accepted. ``problems`` is never empty; the first one is the reference's answer."""

    code = "invalid_descriptor"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].message, problems=len(problems))
        self.problems = tuple(problems)


class NameRule(RequestError):
    """A business id, feature name or alias breaks ``^[a-zA-Z0-9]+$``."""

    code = "name_rule"


class NameMismatch(RequestError):
    """The requested names are not those of the descriptor (strict mode only)."""

    code = "name_mismatch"


class DescriptorIdMalformed(RequestError):
    code = "descriptor_id_malformed"


class NotFound(RequestError):
    code = "not_found"


class DescriptorNotFound(NotFound):
    code = "descriptor_not_found"


class ExecutionNotFound(NotFound):
    code = "execution_not_found"


class TaskNotFound(NotFound):
    code = "task_not_found"


class IdempotencyKeyReused(RequestError):
    """The client's idempotency key belongs to a submission of another flow."""

    code = "idempotency_key_reused"


class ExecutionExists(RequestError):
    """An execution with that id is alive."""

    code = "execution_exists"


class IllegalTransition(RequestError):
    """The event does not fit the state; the state stays as it was."""

    code = "illegal_transition"


class AttemptOver(IllegalTransition):
    """A completion that names an attempt, or a life, which is over."""

    code = "attempt_over"


class ExecutionFinished(IllegalTransition):
    code = "execution_finished"


class ExecutionNotFinished(IllegalTransition):
    code = "execution_not_finished"


class TaskNotRunning(IllegalTransition):
    """A completion for a task that is not waiting for one."""

    code = "task_not_running"


class TaskFinished(IllegalTransition):
    """A second completion."""

    code = "task_finished"


class WrongCategory(IllegalTransition):
    """The operation does not exist for tasks of this category."""

    code = "wrong_category"


class NestingTooDeep(RequestError):
    """A chain of sub-flows longer than allowed."""

    code = "nesting_too_deep"


class AdmissionRefused(RequestError):
    """The server does not take this submission now."""

    code = "admission_refused"


class ResourceLimited(RequestError):
    """An executor of this flow asked to be left alone for a while; nothing was stored."""

    code = "resource_limited"


class PluginError(TornflowError):
    """The plugin broke."""

    code = "plugin_error"


class PluginLoadFailed(PluginError):
    code = "plugin_load_failed"


class ServerNotReady(TornflowError):
    """The server takes nothing new: it is starting or draining. Nothing was stored; try again, perhaps elsewhere."""

    code = "server_not_ready"


class UnknownTaskType(PluginError):
    code = "unknown_task_type"


class StorageError(TornflowError):
    """The store could not do it."""

    code = "storage_error"


class RevisionConflict(StorageError):
    """Another writer was first. Nothing was stored."""

    code = "revision_conflict"


class DuplicateKey(StorageError):
    """The idempotency key is taken; ``details["execution_id"]`` is the execution that holds it. Nothing was stored."""

    code = "duplicate_key"


class StorageUnavailable(StorageError):
    """The store cannot be written or read now (disk full, locked, no server); try again.

    ``is_unknown``: the write may have been stored all the same, now or a little later. Without it nothing was stored.
    """

    code = "storage_unavailable"

    def __init__(self, message: str, *, is_unknown: bool = False, **details: Any) -> None:
        super().__init__(message, is_unknown=is_unknown, **details)
        self.is_unknown = is_unknown


class ConfigError(TornflowError):
    """The operator can mend it."""

    code = "config_error"
