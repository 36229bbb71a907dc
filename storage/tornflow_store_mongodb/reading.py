"""Reading one scope with its parts, consistent while others write, move parts out and remove."""

from __future__ import annotations

from typing import Any

from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import StoredScope
from tornflow_store_mongodb import removal
from tornflow_store_mongodb.documents import TOMBSTONE, joined, life_of, owners_of, parts_range
from tornflow_store_mongodb.driver import Driver
from tornflow_store_mongodb.parts import merged

Document = dict[str, Any]

_HEAD = {"r": 1, "g": 1, "L": 1, "b": 1, "o": 1, "d": 1, "l": 1, "sp": 1, "z": 1, "s": 1, "k": 1}
_READ_TRIES = 50


async def load(driver: Driver, key: ScopeKey) -> tuple[StoredScope, Document] | None:
    """Return one scope and its head document."""
    id_ = joined(*key)
    for _ in range(_READ_TRIES):
        document = await driver.find_one("scopes", id_, _HEAD)
        if document is None or document["r"] == TOMBSTONE:
            return None
        if document.get("z"):
            await removal.purge(driver, key.execution_id)
            continue
        parts = await _moved_parts(driver, document) if document.get("sp") else {}
        if parts is None:
            continue
        for name, (body, _) in merged(document.get("l", ())).items():
            parts[name] = body
        present = {name: body for name, body in parts.items() if body is not None}
        owners, life = owners_of(document), life_of(document)
        return StoredScope(key, document["r"], document["b"], present, life, owners, document["d"]), document
    raise StorageUnavailable(f"MongoDB: {key.execution_id} changes faster than it can be read")


async def _moved_parts(driver: Driver, head: Document) -> dict[str, bytes | None] | None:
    """Return the moved parts as of this head, or None when the head is outdated and must be read again."""
    rows = await driver.find("parts", {"_id": parts_range(head["g"])})
    if any(row["r"] > head["r"] for row in rows):
        return None
    again = await driver.find_one("scopes", head["_id"], {"g": 1, "r": 1})
    if again is None or again["g"] != head["g"] or again["r"] == TOMBSTONE:
        return None
    return {row["_id"].partition(":")[2]: row["v"] for row in rows}
