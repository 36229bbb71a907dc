"""How the Dapr family words errors (dapr-http-api 4): tables by operation and by kind of error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from tornflow import errors
from tornflow.api.base import JSON, RETRY, UnknownPath, WrongMethod, log
from tornflow.api.outcome import storage_text
from tornflow.api.packed import CODINGS, BodyTooLarge, UnknownCoding
from tornflow.api.reading import BadRequest
from tornflow.api.routes import Answer
from tornflow.model.jsontext import dumps


class DaprError(Exception):
    """An error that an operation words itself."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MalformedEscape(Exception):
    """A percent escape in the path that cannot be resolved (dapr-http-api 1.2)."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Words of one operation. ``subject`` is put before the cause of a failure, ``{id}`` and ``{name}`` filled in.

    ``missing`` is the cause when there is no such instance; "" means 404 ``ERR_INSTANCE_ID_NOT_FOUND``.
    """

    code: str
    subject: str
    missing: str = ""


WORDINGS = {
    "start": Wording("ERR_START_WORKFLOW", "error starting workflow '{name}'"),
    "get": Wording("ERR_GET_WORKFLOW", "error while getting workflow info on instance '{id}'"),
    "terminate": Wording("ERR_TERMINATE_WORKFLOW", "error terminating workflow '{id}'"),
    "raiseEvent": Wording(
        "ERR_RAISE_EVENT_WORKFLOW",
        "error raising event on workflow '{id}'",
        "failed to raise event {event} on workflow {id}: failed to raise event: no such instance exists",
    ),
    "pause": Wording(
        "ERR_PAUSE_WORKFLOW",
        "error pausing workflow {id}",
        "failed to pause workflow {id}: failed to suspend workflow: no such instance exists",
    ),
    "resume": Wording(
        "ERR_RESUME_WORKFLOW",
        "error resuming workflow {id}",
        "failed to resume workflow {id}: failed to resume workflow: no such instance exists",
    ),
    "purge": Wording("ERR_PURGE_WORKFLOW", "error purging workflow {id}"),
}

# Causes of an operation's failure that clients look for; all others are the error's own words.
CAUSES: dict[type[Exception], str] = {
    errors.ExecutionExists: (
        "unable to start workflow: failed to start workflow: rpc error: code = AlreadyExists"
        " desc = an active workflow with ID '{id}' already exists"
    ),
    errors.ExecutionNotFinished: (
        "failed to Purge workflow {id}: failed to purge workflow state: orchestration has not yet completed"
    ),
}
_CHILDREN = (
    "unable to start workflow: failed to start workflow: rpc error: code = AlreadyExists"
    " desc = cannot recreate workflow with ID '{id}': child workflow{child}: orchestration has not yet completed"
)


def error_answer(error: Exception, operation: str, names: dict[str, str], *, missing_is_404: bool) -> Answer:
    """Return the family's answer. ``names``: id, name, event as far as the path has them."""
    if isinstance(error, DaprError):
        return error_body(error.status, error.code, str(error))
    if isinstance(error, UnknownPath | WrongMethod):
        text = "failed getting app id either from the URL path or the header dapr-app-id"
        return error_body(404, "ERR_DIRECT_INVOKE", text)
    if isinstance(error, MalformedEscape):
        return Answer(400, f"failed to unescape request parameter {error}\n".encode(), "text/plain; charset=utf-8")
    if isinstance(error, errors.ServerNotReady | errors.AdmissionRefused):
        return _try_again(error, operation, names)
    if isinstance(error, UnknownCoding):
        answer = error_body(415, "ERR_MALFORMED_REQUEST", f"failed to read request body: {error}")
        return replace(answer, headers={"Accept-Encoding": CODINGS})
    if isinstance(error, BodyTooLarge):
        return error_body(400, "ERR_BODY_READ", "failed to read request body: stream too large")
    if isinstance(error, BadRequest):
        return error_body(400, "ERR_MALFORMED_REQUEST", f"failed deserializing HTTP body: {error.reason}")
    if isinstance(error, errors.TornflowError) and operation in WORDINGS:
        return _failure(error, WORDINGS[operation], names, missing_is_404)
    log.error("unexpected error in a request", exc_info=error)
    return error_body(500, "ERROR", "internal server error")


def error_body(status: int, code: str, message: str) -> Answer:
    return Answer(status, dumps({"errorCode": code, "message": message}), JSON)


def operation_failed(operation: str, cause: str, names: dict[str, str]) -> DaprError:
    """Return the 500 of an operation."""
    wording = WORDINGS[operation]
    return DaprError(500, wording.code, f"{_filled(wording.subject, names)}: {cause}")


def _failure(error: errors.TornflowError, wording: Wording, names: dict[str, str], missing_is_404: bool) -> Answer:
    subject = _filled(wording.subject, names)
    if isinstance(error, errors.ExecutionNotFound):
        if not wording.missing or missing_is_404:
            text = f"unable to find workflow with the provided instance ID: {names.get('id', '')}"
            return error_body(404, "ERR_INSTANCE_ID_NOT_FOUND", text)
        return error_body(500, wording.code, f"{subject}: {_filled(wording.missing, names)}")
    return error_body(500, wording.code, f"{subject}: {_cause(error, names)}")


def _cause(error: errors.TornflowError, names: dict[str, str]) -> str:
    if isinstance(error, errors.StorageUnavailable):
        return storage_text(error, _look(error, names))
    if isinstance(error, errors.ExecutionExists) and error.details.get("reason") == "children":
        child = error.details.get("child")
        return _filled(_CHILDREN, {**names, "child": f" '{child}'" if child else ""})
    template = next((CAUSES[kind] for kind in type(error).__mro__ if kind in CAUSES), None)
    return _filled(template, names) if template else error.message


def _look(error: errors.StorageUnavailable, names: dict[str, str]) -> str:
    """Return how the caller finds out what became of this request."""
    instance_id = str(error.details.get("execution_id") or names.get("id", ""))
    component = quote(names.get("component", "dapr"), safe="")
    return f"ask GET /v1.0/workflows/{component}/{quote(instance_id, safe=':')}" if instance_id else ""


def _try_again(error: errors.TornflowError, operation: str, names: dict[str, str]) -> Answer:
    """Nothing was done, and another try soon will do (decisions, "Lives and attempts")."""
    wording = WORDINGS.get(operation)
    if wording is None:
        return replace(error_body(503, "ERROR", error.message), headers=RETRY)
    return replace(error_body(503, wording.code, f"{_filled(wording.subject, names)}: {error.message}"), headers=RETRY)


def _filled(template: str, names: dict[str, str]) -> str:
    return template.format_map({"id": "", "name": "", "event": "", **names})
