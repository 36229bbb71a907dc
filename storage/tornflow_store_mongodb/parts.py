"""Parts that have left their head document, and everything that removes documents.

Order is the whole trick: parts are copied out before the log forgets them, and removed only after no head names their
generation any more. Every step may be repeated, by anybody, after a crash at any point.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import StoredScope
from tornflow_store_mongodb.documents import behind, joined, parts_range
from tornflow_store_mongodb.driver import Driver

Document = dict[str, Any]

_HEAD = {"r": 1, "g": 1, "b": 1, "o": 1, "d": 1, "l": 1, "sp": 1, "z": 1}
_READ_TRIES = 50
_SLICE = 1_000  # documents per round trip
_SLICE_BYTES = 8 << 20
_GRAVE_AGE_MS = 600_000  # older than any removal that is still at work


async def load(driver: Driver, key: ScopeKey) -> tuple[StoredScope, Document] | None:
    """Return one scope and its head document, consistent while others write, move parts out and remove."""
    id_ = joined(*key)
    for _ in range(_READ_TRIES):
        document = await driver.find_one("scopes", id_, _HEAD)
        if document is None:
            return None
        if document.get("z"):
            await purge(driver, key.execution_id)
            continue
        parts = await _moved_parts(driver, document) if document.get("sp") else {}
        if parts is None:
            continue
        for name, (body, _) in _merged(document.get("l", ())).items():
            parts[name] = body
        present = {name: body for name, body in parts.items() if body is not None}
        return StoredScope(key, document["r"], document["b"], present, document["o"], document["d"]), document
    raise StorageUnavailable(f"MongoDB: {key.execution_id} changes faster than it can be read")


async def move_out(driver: Driver, id_: str) -> None:
    """Copy the log's values to documents of their own, then drop those log entries. No part changes its value."""
    document = await driver.find_one("scopes", id_, {"g": 1, "l": 1})
    if document is None or not document.get("l"):
        return
    generation, upto = document["g"], document["l"][-1]["r"]
    updates = [
        # A later value that somebody else moved has a higher revision: then this upsert fails, as it should.
        {"q": {"_id": f"{generation}:{name}", "r": {"$lt": r}}, "u": {"$set": {"r": r, "v": body}}, "upsert": True}
        for name, (body, r) in _merged(document["l"]).items()
    ]
    for slice_ in _slices(updates):
        await driver.write({"update": "parts", "updates": slice_, "ordered": False})
    trim = {"$pull": {"l": {"r": {"$lte": upto}}}, "$set": {"sp": True}}
    answer = await driver.write({"update": "scopes", "updates": [{"q": {"_id": id_, "g": generation}, "u": trim}]})
    if answer["n"] == 0:  # removed or begun afresh meanwhile: what was copied belongs to nobody
        await _remove_parts(driver, generation)


async def delete(driver: Driver, execution_id: str) -> bool:
    """Remove an execution, children first and the root last, so that a broken removal is found and repeated."""
    id_ = joined(execution_id, "")
    root = await driver.find_one("scopes", id_, {"g": 1, "sp": 1})
    generation = None if root is None else root["g"]
    has_found = False
    while rows := await _children(driver, execution_id):
        now = await driver.find_one("scopes", id_, {"g": 1})
        if (None if now is None else now["g"]) != generation:
            return has_found  # begun afresh meanwhile: these may be the new one's
        has_found = await _remove(driver, rows) or has_found
    return (root is not None and await _remove(driver, [root])) or has_found


async def purge(driver: Driver, execution_id: str) -> None:
    """Remove the children of an earlier incarnation, then take the mark off the root.

    New children cannot exist while the mark stands: nobody gets hold of the new root before this has ended. So what is
    listed before the mark is seen once more is old, and is removed by its own generation.
    """
    id_ = joined(execution_id, "")
    while True:
        rows = await _children(driver, execution_id)
        root = await driver.find_one("scopes", id_, {"g": 1, "z": 1})
        if root is None or not root.get("z"):
            return
        if not rows:
            done = {"q": {"_id": id_, "g": root["g"]}, "u": {"$unset": {"z": ""}}}
            await driver.write({"update": "scopes", "updates": [done]})
            return
        await _remove(driver, rows)


async def bury(driver: Driver, rows: Sequence[Document]) -> None:
    """Note whose parts are about to lose their head."""
    if rows:
        at = int(time.time() * 1000)
        graves = [
            {"q": {"_id": _grave(row)}, "u": {"scope": row["_id"], "g": row["g"], "at": at}, "upsert": True}
            for row in rows
        ]
        await driver.write({"update": "graves", "updates": graves, "ordered": False})


async def clear_graves(driver: Driver, rows: Sequence[Document]) -> None:
    """Remove the parts of heads that are gone, then the notes."""
    for row in rows:
        await _remove_parts(driver, row["g"])
    await fill_graves(driver, rows)


async def fill_graves(driver: Driver, rows: Sequence[Document]) -> None:
    """Take the notes back."""
    if rows:
        graves = [{"q": {"_id": _grave(row)}, "limit": 1} for row in rows]
        await driver.write({"delete": "graves", "deletes": graves, "ordered": False})


async def sweep(driver: Driver) -> None:
    """Finish what crashed processes left behind; a bounded amount per call."""
    for root in await driver.find("scopes", {"z": True}, {"s.e": 1}, limit=_SLICE):
        await purge(driver, root["s"]["e"])
    limit = int(time.time() * 1000) - _GRAVE_AGE_MS
    for grave in await driver.find("graves", {"at": {"$lt": limit}}, limit=_SLICE):
        head = await driver.find_one("scopes", grave["scope"], {"g": 1})
        if head is None or head["g"] != grave["g"]:
            await _remove_parts(driver, grave["g"])
        await driver.write({"delete": "graves", "deletes": [{"q": {"_id": grave["_id"]}, "limit": 1}]})


def log_size(document: Document) -> tuple[int, int]:
    """Entries and bytes."""
    entries = document.get("l", ())
    return len(entries), sum(len(n) + len(v or b"") + 16 for entry in entries for n, v in entry["p"])


async def _moved_parts(driver: Driver, head: Document) -> dict[str, bytes | None] | None:
    """Return the moved parts as of this head, or None when the head is outdated and must be read again."""
    rows = await driver.find("parts", {"_id": parts_range(head["g"])})
    if any(row["r"] > head["r"] for row in rows):
        return None
    again = await driver.find_one("scopes", head["_id"], {"g": 1})
    if again is None or again["g"] != head["g"]:
        return None
    return {row["_id"].partition(":")[2]: row["v"] for row in rows}


def _merged(log: Sequence[Document]) -> dict[str, tuple[bytes | None, int]]:
    return {name: (body, entry["r"]) for entry in log for name, body in entry["p"]}


def _slices(updates: Sequence[Document]) -> list[list[Document]]:
    slices: list[list[Document]] = []
    size = 0
    for update in updates:
        length = len(update["u"]["$set"]["v"] or b"")
        if not slices or len(slices[-1]) >= _SLICE or size + length > _SLICE_BYTES:
            slices.append([])
            size = 0
        slices[-1].append(update)
        size += length
    return slices


async def _children(driver: Driver, execution_id: str) -> list[Document]:
    root = joined(execution_id, "")
    condition: Document = {"$gt": root}
    if (end := behind(root)) is not None:
        condition["$lt"] = end
    return await driver.find("scopes", {"_id": condition}, {"g": 1, "sp": 1}, limit=_SLICE)


async def _remove(driver: Driver, rows: Sequence[Document]) -> bool:
    spilled = [row for row in rows if row.get("sp")]
    await bury(driver, spilled)
    deletes = [{"q": {"_id": row["_id"], "g": row["g"]}, "limit": 1} for row in rows]
    answer = await driver.write({"delete": "scopes", "deletes": deletes, "ordered": False})
    await clear_graves(driver, spilled)
    return bool(answer["n"])


def _grave(row: Document) -> str:
    return f"{row['_id']}#{row['g']}"


async def _remove_parts(driver: Driver, generation: int) -> None:
    await driver.write({"delete": "parts", "deletes": [{"q": {"_id": parts_range(generation)}, "limit": 0}]})
