"""Everything that removes documents. Every step may be repeated, by anybody, after a crash at any point.

An execution is removed in three steps. Its root becomes a *tombstone*: one conditional update, after which it is gone
for every reader. Then its groups and parts are removed, then the tombstone. While a tombstone stands nobody can create
the root: who wants to, finishes the removal first. So what is listed under an execution before its tombstone was seen
once more belongs to no living root, and is removed by its own generation, which no other document will ever have.

A fresh start works alike: the root gets a new generation and the mark ``z`` in one update; the groups and parts of the
earlier one go before the mark does, and nobody gets hold of the new root (``reading.load``) before that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import Target
from tornflow_store_mongodb import parts
from tornflow_store_mongodb.documents import TOMBSTONE, behind, joined, life_is, life_of, split, tombstone_of
from tornflow_store_mongodb.driver import Driver

Document = dict[str, Any]

_SLICE = 1_000  # documents per round trip
_AT_ONCE = 100  # executions removed together
_ROOT = {"r": 1, "g": 1, "L": 1, "og": 1, "sp": 1, "t": 1, "z": 1}


async def delete(driver: Driver, targets: Sequence[Target], new_token: Callable[[], int]) -> list[bool]:
    answers: list[bool] = []
    for start in range(0, len(targets), _AT_ONCE):
        tokens = {new_token(): target for target in targets[start : start + _AT_ONCE]}
        buried = await _bury(driver, tokens)
        await finish(driver, [tokens[token].execution_id for token in buried])
        answers += [token in buried for token in tokens]
    return answers


async def finish(driver: Driver, execution_ids: Sequence[str]) -> None:
    """Finish the removal of those of these executions that are tombstones."""
    standing = await _tombstones(driver, execution_ids)
    while standing:
        rows = await _groups(driver, [split(id_).execution_id for id_ in standing])
        if not rows:
            break
        again = await _tombstones(driver, [split(id_).execution_id for id_ in standing])
        standing = {id_: root for id_, root in again.items() if root["t"] == standing[id_]["t"]}
        await _remove(driver, [row for row in rows if joined(split(row["_id"]).execution_id, "") in standing])
    roots = list(standing.values())
    moved = [root["g"] for root in roots if root.get("sp")]
    await parts.remove(driver, moved + [root["og"] for root in roots if root.get("og") is not None])
    if roots:
        deletes = [{"q": {"_id": root["_id"], "r": TOMBSTONE, "t": root["t"]}, "limit": 1} for root in roots]
        await driver.write({"delete": "scopes", "deletes": deletes, "ordered": False})


async def purge(driver: Driver, execution_id: str) -> None:
    """Remove what an earlier generation left, then take the mark off the root."""
    id_ = joined(execution_id, "")
    while True:
        rows = await _groups(driver, [execution_id])
        root = await driver.find_one("scopes", id_, _ROOT)
        if root is None or not root.get("z") or root["r"] == TOMBSTONE:
            return
        if rows:
            await _remove(driver, rows)
            continue
        await parts.remove(driver, [root["og"]] if root.get("og") is not None else [])
        done = {"q": {"_id": id_, "g": root["g"], "r": {"$gt": 0}}, "u": {"$unset": {"z": "", "og": ""}}}
        await driver.write({"update": "scopes", "updates": [done]})
        return


async def replaced_generation(driver: Driver, execution_id: str) -> int | None:
    """Return the generation of a root that is about to be begun afresh; nothing hangs on it but its own."""
    id_ = joined(execution_id, "")
    while True:
        root = await driver.find_one("scopes", id_, _ROOT)
        if root is None:
            return None
        if not root.get("z"):
            return int(root["g"])
        if root["r"] == TOMBSTONE:
            await finish(driver, [execution_id])
        else:
            await purge(driver, execution_id)


async def has_made_way(driver: Driver, key: ScopeKey) -> bool:
    """Finish the removal of a scope whose place was found taken; return whether it is free now: whoever removes it may
    have been faster."""
    found = await driver.find_one("scopes", joined(*key), _ROOT)
    if found is None:
        return True
    if found["r"] != TOMBSTONE:
        return False
    if key.path:
        await _remove(driver, [found])
    else:
        await finish(driver, [key.execution_id])
    return True


async def delete_strays(driver: Driver, execution_id: str, life: str) -> int:
    root = await driver.find_one("scopes", joined(execution_id, ""), {"r": 1, "L": 1})
    if root is not None and root["r"] != TOMBSTONE and life_of(root) == life:
        return 0  # else it never will be: a life is not used twice
    count = 0
    while rows := await _groups(driver, [execution_id], {"L": life_is(life)}):
        count += await _remove(driver, rows)
    return count


async def sweep(driver: Driver) -> None:
    """Finish what crashed processes left behind; a bounded amount per call."""
    for row in await driver.find("scopes", {"z": True}, {"r": 1}, limit=_SLICE):
        key = split(row["_id"])
        if row["r"] == TOMBSTONE:
            await has_made_way(driver, key)
        else:
            await purge(driver, key.execution_id)


async def _bury(driver: Driver, targets: dict[int, Target]) -> set[int]:
    """Make tombstones; return the tokens of those that we made."""
    updates = [tombstone_of(target, token) for token, target in targets.items()]
    answer = await driver.write({"update": "scopes", "updates": updates, "ordered": False})
    tokens = list(targets)
    refused = {tokens[error["index"]] for error in answer.get("writeErrors", ())}
    if refused:  # an interrupted first try may have made them all the same
        made = await _tombstones(driver, [targets[token].execution_id for token in refused])
        refused -= {root["t"] for root in made.values()}
    return set(tokens) - refused


async def _tombstones(driver: Driver, execution_ids: Sequence[str]) -> dict[str, Document]:
    ids = [joined(execution_id, "") for execution_id in execution_ids]
    rows = await driver.find("scopes", {"_id": {"$in": ids}, "r": TOMBSTONE}, _ROOT) if ids else []
    return {row["_id"]: row for row in rows}


async def _groups(driver: Driver, execution_ids: Sequence[str], query: Document | None = None) -> list[Document]:
    ranges = []
    for execution_id in execution_ids:
        root = joined(execution_id, "")
        end = behind(root)
        ranges.append({"_id": {"$gt": root, "$lt": end} if end is not None else {"$gt": root}})
    found = {**(query or {}), **(ranges[0] if len(ranges) == 1 else {"$or": ranges})}
    return await driver.find("scopes", found, {"g": 1, "sp": 1, "L": 1}, limit=_SLICE)


async def _remove(driver: Driver, rows: Sequence[Document]) -> int:
    """Remove scopes as they were listed, with their parts; return how many.

    A scope that got another life or moved its parts out meanwhile stays; if it still has to go, it is listed again.
    """
    dead = await _bury_scopes(driver, [row for row in rows if row.get("sp")])
    await parts.remove(driver, [row["g"] for row in dead])
    deletes = [{"q": {"_id": row["_id"], "g": row["g"], "r": TOMBSTONE}, "limit": 1} for row in dead]
    deletes += [{"q": {**_listed(row), "sp": {"$ne": True}}, "limit": 1} for row in rows if not row.get("sp")]
    if not deletes:
        return 0
    return int((await driver.write({"delete": "scopes", "deletes": deletes, "ordered": False}))["n"])


async def _bury_scopes(driver: Driver, rows: Sequence[Document]) -> list[Document]:
    """Make tombstones of scopes with moved parts, so that no reader sees them without; return them."""
    if not rows:
        return []
    change = {"$set": {"r": TOMBSTONE, "z": True, "o": None, "d": None}, "$unset": {"b": "", "l": "", "h": ""}}
    updates = [{"q": _listed(row), "u": change} for row in rows]
    await driver.write({"update": "scopes", "updates": updates, "ordered": False})
    ids = [row["_id"] for row in rows]
    return await driver.find("scopes", {"_id": {"$in": ids}, "r": TOMBSTONE}, {"g": 1})


def _listed(row: Document) -> Document:
    """A group that is replaced keeps its generation, and a new one gets its own: both tell."""
    return {"_id": row["_id"], "g": row["g"], "L": life_is(life_of(row))}
