"""The exported form of a store: JSON lines, so that it can be read, filtered and compared with ordinary tools.

    {"tornflow": "export", "version": 1, "id": "...", "made_at": ms, "made_by": "0.1.0"}
    {"record": "alias", "key": "demo:ticket:release", "body": {}}
    {"scope": ["<execution id>", "<path>"], "life": "...", "revision": 7, "owners": [], "due_at": null,
     "head": {...}, "parts": {"c:total": 12}, "summary": {...}, "idempotency_key": null}
    {"end": {"records": 1, "scopes": 1}}

What the store keeps as JSON text stands here as JSON; any other bytes stand under ``body_base64``, ``head_base64`` and
``parts_base64``. Either way the imported bytes are the exported ones. A file without its last line is incomplete.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tornflow.model.execution import ScopeKey
from tornflow.model.jsontext import dumps, loads
from tornflow.spi.storage import Record, StoredRecord, StoredScope, Summary

VERSION = 1


@dataclass(frozen=True, slots=True)
class Header:
    id: str
    made_at: int
    made_by: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class KindRecord:
    kind: str
    record: Record


@dataclass(frozen=True, slots=True)
class End:
    """How many lines of each sort came before."""

    records: int
    scopes: int


Line = Header | KindRecord | StoredRecord | End


class UnreadableLine(ValueError):
    """What is wrong with a line, for people."""


def to_text(line: Line) -> bytes:
    """Return one line without its line feed."""
    return dumps(_document(line))


def from_text(text: bytes) -> Line:
    """Return what ``to_text`` was given.

    Raises:
        UnreadableLine
    """
    try:
        document = loads(text)
    except ValueError as error:
        raise UnreadableLine(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableLine("not an object")
    try:
        return _line(document)
    except UnreadableLine:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableLine(f"not a line of an export: {error!r}") from error


def _document(line: Line) -> dict[str, Any]:
    match line:
        case Header():
            return {"tornflow": "export", **asdict(line)}
        case KindRecord():
            return {"record": line.kind, "key": line.record.key} | _readable("body", line.record.body)
        case StoredRecord():
            return _scope_document(line)
        case End():
            return {"end": asdict(line)}


def _scope_document(line: StoredRecord) -> dict[str, Any]:
    scope = line.scope
    document: dict[str, Any] = {
        "scope": list(scope.key),
        "life": scope.life,
        "revision": scope.revision,
        "owners": scope.owners,
        "due_at": scope.due_at,
        **_readable("head", scope.head),
    }
    for name in sorted(scope.parts):
        for field, value in _readable("parts", scope.parts[name]).items():
            document.setdefault(field, {})[name] = value
    if line.summary is not None:
        document["summary"] = asdict(line.summary)
    if line.idempotency_key is not None:
        document["idempotency_key"] = line.idempotency_key
    return document


def _readable(field: str, body: bytes) -> dict[str, Any]:
    """Return the body as JSON where writing that again gives the same bytes, else in base64."""
    try:
        value = loads(body)
        if dumps(value) == body:
            return {field: value}
    except (ValueError, TypeError, RecursionError):
        pass
    return {f"{field}_base64": base64.b64encode(body).decode()}


def _line(document: Mapping[str, Any]) -> Line:
    if document.get("tornflow") == "export":
        return _header(document)
    if "record" in document:
        return KindRecord(document["record"], Record(document["key"], _body("body", document)))
    if "scope" in document:
        return _scope(document)
    return End(**document["end"])


def _header(document: Mapping[str, Any]) -> Header:
    version = document["version"]
    if version != VERSION:
        raise UnreadableLine(f"an export of version {version}; this tornflow reads version {VERSION}")
    return Header(document["id"], document["made_at"], document["made_by"], version)


def _scope(document: Mapping[str, Any]) -> StoredRecord:
    execution_id, path = document["scope"]
    parts = {name: dumps(value) for name, value in document.get("parts", {}).items()}
    parts |= {name: base64.b64decode(text, validate=True) for name, text in document.get("parts_base64", {}).items()}
    scope = StoredScope(
        ScopeKey(execution_id, path),
        document["revision"],
        _body("head", document),
        parts,
        document["life"],
        tuple(document["owners"]),
        document["due_at"],
    )
    summary = document.get("summary")
    return StoredRecord(scope, Summary(**summary) if summary else None, document.get("idempotency_key"))


def _body(field: str, document: Mapping[str, Any]) -> bytes:
    if field in document:
        return dumps(document[field])
    return base64.b64decode(document[f"{field}_base64"], validate=True)
