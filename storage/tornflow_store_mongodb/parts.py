"""Parts that have left their head document.

Order is the whole trick: parts are copied out before the log forgets them. Every step may be repeated, by anybody,
after a crash at any point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornflow_store_mongodb.documents import parts_range
from tornflow_store_mongodb.driver import Driver

Document = dict[str, Any]

_SLICE = 1_000  # documents per round trip
_SLICE_BYTES = 8 << 20


async def move_out(driver: Driver, id_: str) -> None:
    """Copy the log's values to documents of their own, then drop those log entries. No part changes its value."""
    document = await driver.find_one("scopes", id_, {"g": 1, "l": 1})
    if document is None or not document.get("l"):
        return
    generation, upto = document["g"], document["l"][-1]["r"]
    updates = [
        # A later value that somebody else moved has a higher revision: then this upsert fails, as it should.
        {"q": {"_id": f"{generation}:{name}", "r": {"$lt": r}}, "u": {"$set": {"r": r, "v": body}}, "upsert": True}
        for name, (body, r) in merged(document["l"]).items()
    ]
    await upsert(driver, updates)
    trim = {"$pull": {"l": {"r": {"$lte": upto}}}, "$set": {"sp": True}}
    still = {"_id": id_, "g": generation, "r": {"$gt": 0}}  # a tombstone keeps its generation
    answer = await driver.write({"update": "scopes", "updates": [{"q": still, "u": trim}]})
    if answer["n"] == 0:  # removed or begun afresh meanwhile: what was copied belongs to nobody
        await remove(driver, [generation])


async def upsert(driver: Driver, updates: Sequence[Document]) -> None:
    """Carry out upserts of parts, in as many commands as their size asks for."""
    for slice_ in _slices(updates):
        await driver.write({"update": "parts", "updates": slice_, "ordered": False})


async def remove(driver: Driver, generations: Sequence[int]) -> None:
    """Remove the moved parts of scopes that are gone, or that nobody may read any more."""
    if generations:
        deletes = [{"q": {"_id": parts_range(generation)}, "limit": 0} for generation in generations]
        await driver.write({"delete": "parts", "deletes": deletes, "ordered": False})


def log_size(document: Document) -> tuple[int, int]:
    """Entries and bytes."""
    entries = document.get("l", ())
    return len(entries), sum(len(n) + len(v or b"") + 16 for entry in entries for n, v in entry["p"])


def merged(log: Sequence[Document]) -> dict[str, tuple[bytes | None, int]]:
    """Return the last value of each part in a log, and the revision that wrote it."""
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
