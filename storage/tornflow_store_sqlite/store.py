"""The asynchronous face: writes go to the writing thread, point reads run on the loop, others in a reading thread.

There are two reading threads, so that the longest list delays neither timers nor recovery."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar, cast

from tornflow.errors import ConfigError, StorageUnavailable
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
from tornflow_store_sqlite import queries
from tornflow_store_sqlite.batch import Batch
from tornflow_store_sqlite.lock import FileLock
from tornflow_store_sqlite.place import SqliteSettings, connect, make_private
from tornflow_store_sqlite.reader import Reader
from tornflow_store_sqlite.schema import create_or_migrate
from tornflow_store_sqlite.writer import Writer, translate

T = TypeVar("T")
_DELETE_ROWS = 256  # scopes removed by one transaction, about; it holds up others' commits for a few milliseconds
_INLINE_PARTS = 256  # a scope with fewer parts is read on the loop: below 1 ms


class SqliteStorage:
    """One file, one server. See ``docs/storage.md`` for what it survives and what it costs."""

    is_shared = False

    def __init__(self, path: Path, settings: SqliteSettings | None = None) -> None:
        self.path = path
        self._settings = settings or SqliteSettings()
        self._lock = FileLock(path)
        self._writer: Writer | None = None
        self._db: sqlite3.Connection | None = None  # point reads, on the loop
        self._work: Reader | None = None  # what the runtime lives on: timers, recovery, groups
        self._lists: Reader | None = None  # what people ask for

    async def open(self) -> None:
        if self._writer is not None:
            return
        self._lock.take()
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            self._let_go()
            raise ConfigError(f"storage: {self.path}: {error}", field="storage") from error
        except sqlite3.DatabaseError as error:
            self._let_go()
            raise ConfigError(f"storage: {self.path} is not a SQLite database: {error}", field="storage") from error
        except BaseException:
            self._let_go()
            raise

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.stop()
        for reader in (self._work, self._lists):
            if reader is not None:
                await reader.stop()
        self._let_go()

    async def ping(self) -> None:
        await self._submit(_probe)

    # --- scopes

    async def commit(self, write: ScopeWrite) -> int:
        if self._writer is None:
            raise _closed()
        return cast(int, await self._writer.submit(write))

    async def load(self, key: ScopeKey) -> StoredScope | None:
        found = self._read(queries.load, key, _INLINE_PARTS)
        if found is False:
            found = await self._read_slowly(queries.load, key, None)
        return cast("StoredScope | None", found)

    async def version(self, key: ScopeKey) -> Version | None:
        return self._read(queries.version, key)

    async def children(self, execution_id: str, prefix: str, after: str, limit: int) -> Sequence[ScopeKey]:
        return await self._read_slowly(queries.children, execution_id, prefix, after, limit)

    async def due(self, before: int, limit: int) -> Sequence[DueScope]:
        return await self._read_slowly(queries.due, before, limit)

    async def owned(self, owner: str, limit: int, *, after: ScopeKey | None = None) -> Sequence[ScopeKey]:
        return await self._read_slowly(queries.owned, owner, limit, after)

    async def owners(self) -> Sequence[str]:
        return await self._read_slowly(queries.owners)

    # --- executions

    async def summary(self, execution_id: str) -> Summary | None:
        return self._read(queries.summary, execution_id)

    async def execution_for_key(self, idempotency_key: str) -> str | None:
        return self._read(queries.execution_for_key, idempotency_key)

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        return await self._list(queries.executions, query, offset, limit)

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        return await self._list(queries.count_executions, query)

    async def living_parents(self, execution_ids: Sequence[str]) -> Set[str]:
        return await self._list(queries.living_parents, execution_ids)

    async def delete_executions(self, targets: Sequence[Target]) -> Sequence[bool]:
        answers: list[bool] = []
        while len(answers) < len(targets):  # in between others' writes have their turn
            rest = targets[len(answers) :]
            answers += cast("list[bool]", await self._submit(lambda batch, rest=rest: batch.delete(rest, _DELETE_ROWS)))  # type: ignore[misc]
        return answers

    async def delete_strays(self, execution_id: str, life: str) -> int:
        return cast(int, await self._submit(lambda batch: batch.delete_strays(execution_id, life)))

    async def expired(self, before: int, limit: int) -> Sequence[Target]:
        return await self._list(queries.expired, before, limit)

    # --- copying

    async def scan(self, after: ScopeKey | None, limit: int) -> Sequence[StoredRecord]:
        return await self._list(queries.scan, after, limit)

    async def restore(self, records: Sequence[StoredRecord]) -> None:
        await self._submit(lambda batch: batch.restore(records))

    async def record_kinds(self) -> Sequence[str]:
        return await self._list(queries.record_kinds)

    # --- records

    async def put_record(self, kind: str, key: str, body: bytes) -> None:
        await self._submit(_statement("INSERT OR REPLACE INTO record(kind, key, body) VALUES (?,?,?)", kind, key, body))

    async def get_record(self, kind: str, key: str) -> bytes | None:
        return self._read(queries.get_record, kind, key)

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        return await self._list(queries.list_records, kind, prefix, after, limit)

    async def delete_record(self, kind: str, key: str) -> bool:
        return await self._submit(_statement("DELETE FROM record WHERE kind=? AND key=?", kind, key)) == 1

    # --- nodes

    async def beat(self, beat: NodeBeat) -> bool:
        return cast(bool, await self._submit(lambda batch: _beat(batch, beat)))

    async def nodes(self) -> Sequence[NodeBeat]:
        return self._read(queries.nodes)

    async def forget_node(self, node_id: str) -> None:
        await self._submit(_statement("DELETE FROM node WHERE node_id=?", node_id))

    # --- inside

    def _connect(self) -> None:
        make_private(self.path)
        writer_db = connect(self.path, self._settings, is_writer=True)
        try:
            create_or_migrate(self.path, writer_db)
            self._db = connect(self.path, self._settings, is_writer=False)
            self._work = Reader(connect(self.path, self._settings, is_writer=False))
            self._lists = Reader(connect(self.path, self._settings, is_writer=False))
            self._writer = Writer(writer_db, self._settings)
        except BaseException:
            writer_db.close()
            raise

    def _let_go(self) -> None:
        for place in (self._db, self._work, self._lists):
            if place is not None:
                place.close()
        self._db = self._work = self._lists = self._writer = None
        self._lock.release()

    def _submit(self, job: Callable[[Batch], object]) -> asyncio.Future[object]:
        if self._writer is None:
            raise _closed()
        return self._writer.submit(job)

    def _read(self, question: Callable[..., T], *args: Any) -> T:
        if self._db is None:
            raise _closed()
        try:
            return question(self._db, *args)
        except Exception as error:
            raise translate(error) from error

    async def _read_slowly(self, question: Callable[..., T], *args: Any) -> T:
        if self._work is None:
            raise _closed()
        return await self._work.ask(question, *args)

    async def _list(self, question: Callable[..., T], *args: Any) -> T:
        if self._lists is None:
            raise _closed()
        return await self._lists.ask(question, *args)


def _closed() -> StorageUnavailable:
    return StorageUnavailable("the SQLite store is not open")


def _statement(sql: str, *values: Any) -> Callable[[Batch], object]:
    return lambda batch: batch.db.execute(sql, values).rowcount


def _beat(batch: Batch, beat: NodeBeat) -> bool:
    values = (beat.started_at, beat.seen_at, beat.address, beat.node_id)
    change = batch.db.execute("UPDATE node SET started_at=?, seen_at=?, address=? WHERE node_id=?", values)
    if change.rowcount == 0:
        batch.db.execute("INSERT INTO node(started_at, seen_at, address, node_id) VALUES (?,?,?,?)", values)
    return change.rowcount == 1


def _probe(batch: Batch) -> None:
    """A real change: only that tells a full or read-only disk."""
    batch.db.execute("INSERT INTO probe VALUES (1, 1) ON CONFLICT(id) DO UPDATE SET counter = counter + 1")
