"""The storage contract over MongoDB."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Coroutine, Mapping, Sequence, Set
from typing import Any, TypeVar

from tornflow.errors import StorageError, StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import (
    DueScope,
    ExecutionQuery,
    NodeBeat,
    Record,
    ScopeWrite,
    StoredRecord,
    StoredScope,
    Summary,
    Target,
    Version,
)
from tornflow_store_mongodb import copying, parts, reading, removal
from tornflow_store_mongodb.documents import (
    TOMBSTONE,
    below,
    filter_of,
    joined,
    life_of,
    prefix_range,
    split,
    summary_of,
    update_of,
)
from tornflow_store_mongodb.driver import Driver
from tornflow_store_mongodb.schema import prepare
from tornflow_store_mongodb.settings import MongoSettings
from tornflow_store_mongodb.writer import Writer

_log = logging.getLogger("tornflow.mongodb")
_MAX_WRITE_BYTES = 12 << 20  # a document takes 16 MB; the rest is for the log
_MOVES_AT_ONCE = 4
_SWEEP_S = 60.0  # between looks for removals that other processes left half done

T = TypeVar("T")


class MongoStorage:
    """Any number of processes may use one database. See ``docs/storage.md`` for what is stored how."""

    is_shared = True

    def __init__(self, uri: str, settings: MongoSettings | None = None) -> None:
        self._uri = uri
        self._settings = settings or MongoSettings()
        self._tokens = itertools.count(secrets.randbits(62))  # unique among all processes, as far as chance goes
        self._connected: Driver | None = None
        self._writer: Writer | None = None
        self._logs: dict[str, tuple[int, int]] = {}  # entries and bytes, least recently written first
        self._moves: dict[str, asyncio.Task[None]] = {}
        self._writes: set[asyncio.Task[Any]] = set()
        self._next_sweep = 0.0
        self._move_slots = asyncio.Semaphore(_MOVES_AT_ONCE)

    async def open(self) -> None:
        if self._connected is not None:
            return
        driver = Driver(self._uri, self._settings)
        try:
            await prepare(driver)
            await removal.sweep(driver)
            if await driver.is_standalone():
                _log.warning("MongoDB runs as a standalone server: nothing is replicated, and a lost disk loses all")
        except BaseException:
            await driver.close()
            raise
        self._connected = driver
        self._writer = Writer(driver, self._settings, self._move_out)

    async def close(self) -> None:
        driver, writer = self._connected, self._writer
        self._writer = None
        if writer is not None:
            await writer.stop()
        if self._moves:
            await asyncio.gather(*self._moves.values(), return_exceptions=True)
        while self._writes:
            await asyncio.wait(self._writes)
        self._connected = None
        if driver is not None:
            await driver.close()

    async def ping(self) -> None:
        probe = {"q": {"_id": "probe"}, "u": {"$inc": {"n": 1}}, "upsert": True}
        await self._write({"update": "meta", "updates": [probe]})

    # --- scopes

    async def commit(self, write: ScopeWrite) -> int:
        if self._writer is None:
            raise _closed()
        if write.is_fresh or not write.expected_revision:
            _check_create(write)
        update = update_of(write, next(self._tokens))
        if update.size > _MAX_WRITE_BYTES:
            raise StorageError(f"{update.id}: head and parts are {update.size} bytes; the limit is {_MAX_WRITE_BYTES}")
        if write.is_fresh:
            self._logs.pop(update.id, None)
        revision = await self._writer.submit(update)
        if write.parts:
            self._watch_log(update.id, update.parts_size)
        return revision

    async def load(self, key: ScopeKey) -> StoredScope | None:
        found = await reading.load(self._driver, key)
        if found is None:
            return None
        self._remember_log(joined(*key), parts.log_size(found[1]))
        return found[0]

    async def version(self, key: ScopeKey) -> Version | None:
        found = await self._driver.find_one("scopes", joined(*key), {"r": 1, "L": 1})
        return None if found is None or found["r"] == TOMBSTONE else Version(life_of(found), found["r"])

    async def children(self, execution_id: str, prefix: str, after: str, limit: int) -> Sequence[ScopeKey]:
        if limit < 1:
            return []
        condition = prefix_range(execution_id, prefix, after)
        condition.setdefault("$gt", joined(execution_id, ""))  # never the root
        rows = await self._driver.find("scopes", {"_id": condition}, {"_id": 1}, sort=[("_id", 1)], limit=limit)
        return [split(row["_id"]) for row in rows]

    async def due(self, before: int, limit: int) -> Sequence[DueScope]:
        if limit < 1:
            return []
        rows = await self._driver.find("scopes", {"d": below(before)}, {"d": 1}, sort=[("d", 1)], limit=limit)
        return [DueScope(split(row["_id"]), row["d"]) for row in rows]

    async def owned(self, owner: str, limit: int, *, after: ScopeKey | None = None) -> Sequence[ScopeKey]:
        return await copying.keys(self._driver, {"o": owner}, after, limit)

    async def owners(self) -> Sequence[str]:
        answer = await self._driver.ask({"distinct": "scopes", "key": "o", "query": {"o": {"$gt": ""}}})
        return list(answer["values"])

    # --- executions

    async def summary(self, execution_id: str) -> Summary | None:
        document = await self._driver.find_one("scopes", joined(execution_id, ""), {"s": 1})
        return None if document is None or "s" not in document else summary_of(document)

    async def execution_for_key(self, idempotency_key: str) -> str | None:
        rows = await self._driver.find("scopes", {"k": idempotency_key}, {"_id": 1}, limit=1)
        return split(rows[0]["_id"]).execution_id if rows else None

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        if limit < 1:
            return []
        newest = [("s.at", -1), ("s.e", -1)]
        rows = await self._driver.find(
            "scopes", filter_of(query), {"s": 1}, sort=newest, skip=max(offset, 0), limit=limit
        )
        return [summary_of(row) for row in rows]

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        pipeline: list[dict[str, Any]] = [
            {"$match": filter_of(query)},
            {"$group": {"_id": "$s.st", "n": {"$sum": 1}}},
        ]
        answer = await self._driver.ask({"aggregate": "scopes", "pipeline": pipeline, "cursor": {"batchSize": 1000}})
        return {row["_id"]: row["n"] for row in answer["cursor"]["firstBatch"]}

    async def living_parents(self, execution_ids: Sequence[str]) -> Set[str]:
        query = {"s.p": {"$in": list(execution_ids)}, "s.fin": None}
        answer = await self._driver.ask({"distinct": "scopes", "key": "s.p", "query": query})
        return set(answer["values"])

    async def delete_executions(self, targets: Sequence[Target]) -> Sequence[bool]:
        return await self._carry_through(self._delete(targets))

    async def delete_strays(self, execution_id: str, life: str) -> int:
        return await self._carry_through(removal.delete_strays(self._driver, execution_id, life))

    async def expired(self, before: int, limit: int) -> Sequence[Target]:
        if limit < 1:
            return []
        fields = {"r": 1, "L": 1}
        query = {"s.exp": below(before), "o": None}
        rows = await self._driver.find("scopes", query, fields, sort=[("s.exp", 1)], limit=limit)
        return [Target(split(row["_id"]).execution_id, life_of(row), row["r"]) for row in rows]

    # --- copying

    async def scan(self, after: ScopeKey | None, limit: int) -> Sequence[StoredRecord]:
        return await copying.scan(self._driver, after, limit)

    async def restore(self, records: Sequence[StoredRecord]) -> None:
        await self._carry_through(copying.restore(self._driver, records, self._new_token))

    async def record_kinds(self) -> Sequence[str]:
        return await copying.record_kinds(self._driver)

    # --- records

    async def put_record(self, kind: str, key: str, body: bytes) -> None:
        update = {"q": {"_id": joined(kind, key)}, "u": {"$set": {"key": key, "body": body}}, "upsert": True}
        while True:  # two first puts of one key may meet; the second then finds the document
            answer = await self._write({"update": "records", "updates": [update]})
            if "writeErrors" not in answer:
                return

    async def get_record(self, kind: str, key: str) -> bytes | None:
        document = await self._driver.find_one("records", joined(kind, key), {"body": 1})
        return None if document is None else bytes(document["body"])

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        if limit < 1:
            return []
        query = {"_id": prefix_range(kind, prefix, after)}
        rows = await self._driver.find("records", query, sort=[("_id", 1)], limit=limit)
        return [Record(row["key"], row["body"]) for row in rows]

    async def delete_record(self, kind: str, key: str) -> bool:
        delete = {"q": {"_id": joined(kind, key)}, "limit": 1}
        return bool((await self._write({"delete": "records", "deletes": [delete]}))["n"])

    # --- nodes

    async def beat(self, beat: NodeBeat) -> bool:
        values = {"started_at": beat.started_at, "seen_at": beat.seen_at, "address": beat.address}
        update = {"q": {"_id": beat.node_id}, "u": {"$set": values}}
        if (await self._write({"update": "nodes", "updates": [update]}))["n"]:
            return True
        await self._write({"update": "nodes", "updates": [{**update, "upsert": True}]})
        return False

    async def nodes(self) -> Sequence[NodeBeat]:
        rows = await self._driver.find("nodes", {})
        return [NodeBeat(row["_id"], row["started_at"], row["seen_at"], row["address"]) for row in rows]

    async def forget_node(self, node_id: str) -> None:
        await self._write({"delete": "nodes", "deletes": [{"q": {"_id": node_id}, "limit": 1}]})

    # --- inside

    @property
    def _driver(self) -> Driver:
        if self._connected is None:
            raise _closed()
        return self._connected

    async def _write(self, command: Mapping[str, Any]) -> dict[str, Any]:
        return await self._carry_through(self._driver.write(command))

    async def _carry_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a write that goes on when the caller is cancelled: it would be cut anywhere, even within a message."""
        task = asyncio.get_running_loop().create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._forget_write)
        return await asyncio.shield(task)

    def _forget_write(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when the caller is gone

    async def _delete(self, targets: Sequence[Target]) -> list[bool]:
        now = asyncio.get_running_loop().time()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_S
            await removal.sweep(self._driver)
        return await removal.delete(self._driver, targets, self._new_token)

    def _new_token(self) -> int:
        return next(self._tokens)

    def _watch_log(self, id_: str, size: int) -> None:
        entries, total = self._logs.pop(id_, (0, 0))
        self._remember_log(id_, (entries + 1, total + size))

    def _remember_log(self, id_: str, size: tuple[int, int]) -> None:
        self._logs.pop(id_, None)
        if size == (0, 0):
            return
        self._logs[id_] = size
        if len(self._logs) > self._settings.scopes_watched:
            del self._logs[next(iter(self._logs))]
        is_long = size[0] >= self._settings.log_entries or size[1] >= self._settings.log_kib << 10
        if is_long and id_ not in self._moves:
            task = asyncio.get_running_loop().create_task(self._move_out_quietly(id_))
            self._moves[id_] = task
            task.add_done_callback(lambda _: self._moves.pop(id_, None))

    async def _move_out_quietly(self, id_: str) -> None:
        async with self._move_slots:
            try:
                await self._move_out(id_)
            except StorageError:
                pass  # nothing is lost: the log stays where it is, and the next write asks again

    async def _move_out(self, id_: str) -> None:
        driver = self._connected
        if driver is None:
            return
        self._logs.pop(id_, None)
        await parts.move_out(driver, id_)


def _check_create(write: ScopeWrite) -> None:
    execution_id = write.key.execution_id
    if not write.key.path and write.summary is None:
        raise StorageError(f"{execution_id}: summary: a root scope is created with one")
    if write.key.path and (write.is_fresh or write.idempotency_key is not None):
        raise StorageError(f"{execution_id}: is_fresh, idempotency_key: only for the root scope")


def _closed() -> StorageUnavailable:
    return StorageUnavailable("the MongoDB store is not open")
