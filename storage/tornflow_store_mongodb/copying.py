"""Scopes in the order of their keys, and how they are copied.

``_id`` begins with the length of the execution id (see ``documents.joined``), so ids of one length lie together in the
right order, and those of several lengths are merged here. An index by key would save that, at the price of each create.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tornflow.errors import DuplicateKey, RevisionConflict
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import StoredRecord
from tornflow_store_mongodb import parts, reading, removal
from tornflow_store_mongodb.documents import behind, joined, owners_value, split, summary_document, summary_of
from tornflow_store_mongodb.driver import Driver

Document = dict[str, Any]

_LOG_BYTES = 256 << 10  # more than this begins outside the head document


async def keys(driver: Driver, query: Document, after: ScopeKey | None, limit: int) -> list[ScopeKey]:
    """Return up to ``limit`` keys of scopes that match, in code point order, after ``after``."""
    found: list[ScopeKey] = []
    begin: Document = {"$gt": ""}
    while limit > 0 and (first := await _ids(driver, query, begin, 1)):
        length = first[0].partition(":")[0]
        found += [split(id_) for id_ in await _ids(driver, query, _range(length, after), limit)]
        begin = {"$gte": f"{length};"}  # ";" is the character behind ":"
    return sorted(found)[: max(limit, 0)]


async def scan(driver: Driver, after: ScopeKey | None, limit: int) -> list[StoredRecord]:
    records: list[StoredRecord] = []
    for key in await keys(driver, {"r": {"$gt": 0}}, after, limit):
        found = await reading.load(driver, key)
        if found is not None:
            stored, document = found
            about = summary_of(document) if "s" in document else None
            records.append(StoredRecord(stored, about, document.get("k")))
    return records


async def restore(driver: Driver, records: Sequence[StoredRecord], new_token: Callable[[], int]) -> None:
    """One after the other: it stops at the first that exists."""
    for record in records:
        generation = new_token()
        document = _document(record, generation)
        if document["sp"]:
            await _put_parts(driver, record.scope.parts, generation, record.scope.revision)
        while (refusal := await _insert(driver, document)) is not None:
            if "_id" in refusal and await removal.has_made_way(driver, record.scope.key):
                continue
            await parts.remove(driver, [generation])
            if "_id" in refusal:
                raise RevisionConflict(f"{record.scope.key.execution_id} {record.scope.key.path!r} exists")
            raise DuplicateKey(f"idempotency key {record.idempotency_key!r} is taken")


async def record_kinds(driver: Driver) -> list[str]:
    kinds: list[str] = []
    begin: Document | None = {"$gt": ""}
    while begin and (first := await driver.find("records", {"_id": begin}, {"_id": 1}, sort=[("_id", 1)], limit=1)):
        kind, _ = split(first[0]["_id"])
        kinds.append(kind)
        end = behind(joined(kind, ""))
        begin = {"$gte": end} if end is not None else None
    return kinds


async def _ids(driver: Driver, query: Mapping[str, Any], condition: Document, limit: int) -> list[str]:
    rows = await driver.find("scopes", {**query, "_id": condition}, {"_id": 1}, sort=[("_id", 1)], limit=limit)
    return [row["_id"] for row in rows]


def _range(length: str, after: ScopeKey | None) -> Document:
    """A condition on ``_id``: execution ids of this length, after ``after``."""
    condition = {"$gte": f"{length}:", "$lt": f"{length};"}
    if after is None:
        return condition
    size, other = int(length), len(after.execution_id)
    if size == other:
        condition["$gt"] = joined(*after)
    elif size > other:
        condition["$gte"] = f"{length}:{after.execution_id}"
    else:  # an id that is the beginning of ``after`` comes before it
        condition["$gte"] = behind(f"{length}:{after.execution_id[:size]}") or ""
    return condition


def _document(record: StoredRecord, generation: int) -> Document:
    scope = record.scope
    is_large = sum(len(body) for body in scope.parts.values()) > _LOG_BYTES
    log = [{"r": scope.revision, "p": [[n, v] for n, v in scope.parts.items()]}] if scope.parts else []
    document: Document = {
        "_id": joined(*scope.key), "r": scope.revision, "g": generation, "L": scope.life, "b": scope.head,
        "o": owners_value(scope.owners), "d": scope.due_at, "h": {}, "l": [] if is_large else log, "sp": is_large,
    }  # fmt: skip
    if record.summary is not None:
        document["s"] = summary_document(record.summary)
    if record.idempotency_key is not None:
        document["k"] = record.idempotency_key
    return document


async def _put_parts(driver: Driver, bodies: Mapping[str, bytes], generation: int, revision: int) -> None:
    updates = [
        {"q": {"_id": f"{generation}:{name}"}, "u": {"$set": {"r": revision, "v": body}}, "upsert": True}
        for name, body in bodies.items()
    ]
    await parts.upsert(driver, updates)


async def _insert(driver: Driver, document: Document) -> Document | None:
    """Return the key of the unique index that refused it."""
    answer = await driver.write({"insert": "scopes", "documents": [document]})
    errors = answer.get("writeErrors", ())
    if not errors:
        return None
    found = await driver.find_one("scopes", document["_id"], {"g": 1})
    if found is not None and found["g"] == document["g"]:
        return None  # an interrupted first try had arrived
    return dict(errors[0].get("keyPattern", {"_id": 1}))
