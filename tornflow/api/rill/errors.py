"""How the Rill family words errors (rill-http-api 2.7): one table, looked up along the MRO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tornflow import errors
from tornflow.api.base import JSON, RETRY, WrongMethod, log
from tornflow.api.outcome import storage_text
from tornflow.api.packed import CODINGS, BodyTooLarge, UnknownCoding
from tornflow.api.reading import BadRequest, UnsupportedMedia
from tornflow.api.routes import Answer
from tornflow.model.jsontext import dumps


class RillError(Exception):
    """An error that an operation words itself: its number decides status and ``pass_through``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Wording:
    status: int
    code: int
    message: str = ""  # "" = the error's own


# A new leaf of the tree is served by its parent's line.
WORDINGS: dict[type[Exception], Wording] = {
    BadRequest: Wording(422, 30109),
    UnsupportedMedia: Wording(422, 30105),
    WrongMethod: Wording(422, 30105),
    BodyTooLarge: Wording(400, 30109),
    UnknownCoding: Wording(415, 30105),
    errors.TornflowError: Wording(500, 30101),
    errors.RequestError: Wording(400, 30109),
    errors.MalformedCallback: Wording(500, 30603),
    errors.LimitExceeded: Wording(500, 30507),
    errors.InvalidDescriptor: Wording(500, 30402),
    errors.NameRule: Wording(400, 30109, "error data format"),
    errors.NameMismatch: Wording(400, 30110),
    errors.NotFound: Wording(400, 30106),
    errors.ExecutionNotFound: Wording(500, 30605),
    errors.TaskNotFound: Wording(500, 30503),
    errors.ExecutionExists: Wording(500, 30604),
    errors.IllegalTransition: Wording(500, 30601),
    errors.NestingTooDeep: Wording(500, 30606),
    errors.AttemptOver: Wording(500, 30601),
    errors.IdempotencyKeyReused: Wording(400, 30109),
    # decisions, "Lives and attempts": nothing was done, and another try soon will do
    errors.AdmissionRefused: Wording(503, 30101),
    errors.ResourceLimited: Wording(400, 30201),
    errors.ServerNotReady: Wording(503, 30101),
    errors.StorageError: Wording(500, 30502),
    errors.StorageUnavailable: Wording(500, 30101),
}
_PASSED_THROUGH = frozenset((30107, 30109, 30110))
_UNEXPECTED = Wording(500, 30101, "internal server error")


# What a status is worth in a header.
_HEADERS = {503: RETRY, 415: {"Accept-Encoding": CODINGS}}


def error_answer(error: Exception, look: str = "") -> Answer:
    """Return the family's answer. What is not expected is logged with its traceback, and not shown.

    ``look`` says how to find out the outcome of this request, should it be unknown.
    """
    if isinstance(error, RillError):
        status = 400 if error.code < 30300 and error.code != 30101 else 500
        return error_body(status, error.code, str(error))
    wording = next((WORDINGS[kind] for kind in type(error).__mro__ if kind in WORDINGS), None)
    if wording is None:
        log.error("unexpected error in a request", exc_info=error)
        wording = _UNEXPECTED
    code = error.problems[0].code if isinstance(error, errors.InvalidDescriptor) else wording.code
    text = storage_text(error, look) if isinstance(error, errors.StorageUnavailable) else str(error)
    return error_body(wording.status, code, wording.message or text, problems_of(error))


def error_body(status: int, code: int, message: str, extra: dict[str, Any] | None = None) -> Answer:
    body: dict[str, Any] = {"error_code": code, "error": message}
    if status == 400 and code in _PASSED_THROUGH:
        body["pass_through"] = True
    if extra:
        body.update(extra)
    return Answer(status, dumps(body), JSON, _HEADERS.get(status, {}))


def problems_of(error: Exception) -> dict[str, Any]:
    """Return everything wrong with a descriptor beside the first problem (decisions, "Rill language" 18)."""
    if not isinstance(error, errors.InvalidDescriptor):
        return {}
    fields = ("path", "line", "column", "code", "message", "suggestion")
    found = [{name: getattr(problem, name) for name in fields} for problem in error.problems]
    return {"problems": [{name: value for name, value in one.items() if value} for one in found]}
