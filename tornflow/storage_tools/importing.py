"""``tornflow storage import``: what was exported, into an empty store. An import that broke off can be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from tornflow.errors import ConfigError
from tornflow.spi.storage import Storage, StoredRecord
from tornflow.storage_tools.exporting import UNFINISHED, Progress
from tornflow.storage_tools.lines import End, Header, KindRecord, Line, UnreadableLine, from_text

_PAGE = 100
_PAGE_BYTES = 4 << 20


@dataclass(slots=True)
class Imported:
    """What came of it: numbers of scopes and records, and what was left alone because the store has it otherwise."""

    records: int = 0
    scopes: int = 0
    skipped: int = 0
    conflicts: list[str] = field(default_factory=list)


async def import_lines(name: str, file: BinaryIO, storage: Storage, progress: Progress, *, merge: bool) -> Imported:
    """Store every line; what is there already and equal is skipped, what differs is left alone and named.

    Args:
        name: of the file, for messages.
        merge: into a store that holds something else, too.

    Raises:
        ConfigError: the file is not a complete export of a version that is known here, or the store is not empty.
    """
    reader = _Reader(name, file)
    header = reader.header()
    await _admit(storage, header, merge)
    importer = _Importer(storage, progress)
    for line in reader.lines():
        await importer.take(line)
    await importer.finish()
    await storage.delete_record(*UNFINISHED)
    return importer.done


async def _admit(storage: Storage, header: Header, merge: bool) -> None:
    """Let in what was begun before, and anything into an empty store; note that it was begun."""
    begun = await storage.get_record(*UNFINISHED)
    is_empty = not await storage.scan(None, 1) and not set(await storage.record_kinds()) - {UNFINISHED[0]}
    if not (is_empty or merge or begun == header.id.encode()):
        raise ConfigError("the store is not empty; choose an empty one, or say --merge")
    await storage.put_record(*UNFINISHED, header.id.encode())


class _Reader:
    """Lines with their numbers; the last one must count the others."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name = name
        self._lines: Iterator[tuple[int, bytes]] = enumerate(file, start=1)

    def header(self) -> Header:
        for line in self._read(islice(self._lines, 1)):
            if isinstance(line, Header):
                return line
        raise ConfigError(f"{self._name}: not an export of tornflow")

    def lines(self) -> Iterator[KindRecord | StoredRecord]:
        """Yield all that is to be stored.

        Raises:
            ConfigError
        """
        counted = {KindRecord: 0, StoredRecord: 0}
        end = None
        for line in self._read(self._lines):
            if isinstance(line, Header) or end is not None:
                raise ConfigError(f"{self._name}: goes on after its end")
            if isinstance(line, End):
                end = line
            else:
                counted[type(line)] += 1
                yield line
        if end != End(counted[KindRecord], counted[StoredRecord]):
            raise ConfigError(
                f"{self._name}: incomplete: lines are missing; what was read is stored, repeat the import"
            )

    def _read(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[Line]:
        for number, text in lines:
            try:
                yield from_text(text)
            except UnreadableLine as error:
                raise ConfigError(f"{self._name}:{number}: {error}") from error


class _Importer:
    """Stores what it takes in pages."""

    def __init__(self, storage: Storage, progress: Progress) -> None:
        self.done = Imported()
        self._storage = storage
        self._progress = progress
        self._records: list[KindRecord] = []
        self._scopes: list[StoredRecord] = []
        self._bytes = 0

    async def take(self, line: KindRecord | StoredRecord) -> None:
        if isinstance(line, KindRecord):
            self._records.append(line)
        else:
            self._scopes.append(line)
            self._bytes += len(line.scope.head) + sum(map(len, line.scope.parts.values()))
        if len(self._records) + len(self._scopes) >= _PAGE or self._bytes >= _PAGE_BYTES:
            await self.finish()

    async def finish(self) -> None:
        """Store the page in hand."""
        records, scopes = self._records, self._scopes
        self._records, self._scopes, self._bytes = [], [], 0
        await asyncio.gather(*map(self._store_record, records))
        is_new = await asyncio.gather(*map(self._is_new, scopes))
        new = [scope for scope, wanted in zip(scopes, is_new, strict=True) if wanted]
        await self._storage.restore(new)
        self.done.scopes += len(new)
        self._progress({"records": self.done.records, "scopes": self.done.scopes})

    async def _store_record(self, line: KindRecord) -> None:
        key, body = line.record.key, line.record.body
        found = await self._storage.get_record(line.kind, key)
        if found is None:
            await self._storage.put_record(line.kind, key, body)
            self.done.records += 1
        elif found == body:
            self.done.skipped += 1
        else:
            self.done.conflicts.append(f"{line.kind} {key}: the store has another one")

    async def _is_new(self, one: StoredRecord) -> bool:
        key = one.scope.key
        where = f"{key.execution_id} {key.path}".strip()
        if await self._storage.version(key) is None:
            holder = await self._holder(one.idempotency_key)
            if holder is not None:
                self.done.conflicts.append(f"{where}: its idempotency key belongs to {holder}")
            return holder is None
        is_equal = await self._storage.load(key) == one.scope
        if is_equal and one.summary is not None:
            is_equal = await self._storage.summary(key.execution_id) == one.summary
        if is_equal:
            self.done.skipped += 1
        else:
            self.done.conflicts.append(f"{where}: the store has another state")
        return False

    async def _holder(self, idempotency_key: str | None) -> str | None:
        return None if idempotency_key is None else await self._storage.execution_for_key(idempotency_key)
