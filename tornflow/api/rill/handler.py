"""The handler of the Rill family."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tornflow.api.base import JSON, EdgeHandler, UnknownPath
from tornflow.api.rill.errors import error_answer
from tornflow.api.routes import Answer
from tornflow.errors import StorageUnavailable
from tornflow.model.jsontext import NullFree, dumps

# rill-http-api 2.5. `Authorization` is what the web UI sends when it is served from another origin;
# `Idempotency-Key` is ours.
CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET,POST,OPTIONS,HEAD,PUT"),
    ("Access-Control-Allow-Headers", "Content-Type,dsf-token,Authorization,Idempotency-Key"),
    ("Access-Control-Max-Age", "3600"),
    ("Access-Control-Allow-Credentials", "false"),
)


class RillHandler(EdgeHandler):
    FIXED_HEADERS = CORS

    async def answer(self) -> Any:
        if self.request.method == "OPTIONS":
            return Answer(200)
        return await super().answer()

    def explain(self, error: Exception) -> Answer:
        if isinstance(error, UnknownPath):
            return unknown_path(self.request.path, self.edge.clock())
        return error_answer(error, self._look(error) if isinstance(error, StorageUnavailable) else "")

    def _look(self, error: StorageUnavailable) -> str:
        """Return how the caller finds out what became of this request."""
        given = self.request.arguments.get("execution_id", [b""])[0].decode(errors="replace")
        execution_id = str(error.details.get("execution_id") or given.strip())
        if execution_id:
            return f"ask GET /flow/get.json?execution_id={quote(execution_id, safe=':')}"
        if self.request.path.endswith("/submit.json"):
            return "submit again with the same Idempotency-Key, or look for it in GET /flow/bg/get_execution_ids.json"
        return ""

    def encoded(self, value: Any) -> bytes:
        return without_nulls(value)


def unknown_path(path: str, now: int) -> Answer:
    """Return the framework's 404 (rill-http-api 2.1); ``now`` in ms."""
    at = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds")
    body = {"timestamp": at, "status": 404, "error": "Not Found", "path": path}
    return Answer(404, dumps(body), JSON)


def without_nulls(value: Any) -> bytes:
    """Return JSON in which no object, at any depth, has a member that is null (rill-http-api 2.4).

    Most answers hold no null at all: looking for the word in the text is far cheaper than walking the value.
    """
    text = dumps(value)
    return text if b"null" not in text else dumps(_pruned(value))


def _pruned(value: Any) -> Any:
    # A call per text or number would double the time that a large context takes.
    if isinstance(value, NullFree):
        return value
    if isinstance(value, dict):
        return {
            name: _pruned(member) if isinstance(member, _CONTAINERS) else member
            for name, member in value.items()
            if member is not None
        }
    if isinstance(value, _CONTAINERS):
        return [_pruned(member) for member in value]
    return value


_CONTAINERS = (dict, list, tuple)
