"""Copying a store into another one: everything arrives as it was, running executions included."""

from __future__ import annotations

import dataclasses

import pytest

from tornflow.errors import DuplicateKey, RevisionConflict
from tornflow.spi.storage import Storage, StoredRecord, StoredScope, Target
from tornflow.testing.storage_support import (
    PAGED_IDS,
    SuiteFixtures,
    change,
    creation,
    key,
    outcomes,
    scenario,
    summary,
)


class CopyTests(SuiteFixtures):
    @scenario
    async def test_a_scan_sees_every_scope_once_by_key(self, storage: Storage) -> None:
        keys = [key(e, path) for e in PAGED_IDS for path in ("", "loop_0", "loop_10", "ß")]
        await outcomes(*(storage.commit(creation(*k)) for k in keys))
        found = await _scanned(storage, 7)
        assert [record.scope.key for record in found] == sorted(keys)
        assert list(await storage.scan(None, 0)) == []

    @scenario
    async def test_what_was_scanned_is_restored_as_it_was(self, storage: Storage) -> None:
        await storage.commit(creation("e", life="A", parts={"a": b"1"}, idempotency_key="k", due_at=7, owners=("n",)))
        for n in range(1, 230):
            await storage.commit(change(n, "e", life="A", parts={f"p{n % 9}": b"%d" % n}, due_at=n, owners=("m", "n")))
        await storage.commit(creation("e", "loop_0", life="A", head=b"group", parts={"b": b"\xff"}))
        large = {f"part{n}": bytes([n]) * 100_000 for n in range(9)}
        await storage.commit(creation("large", parts=large, summary=summary("large", descriptor_md5="m", expires_at=3)))
        before = await _scanned(storage, 2)
        assert [record.idempotency_key for record in before] == ["k", None, None]
        assert [record.summary is None for record in before] == [False, True, False]
        targets = [Target("e", "A", 230), Target("large", "", 1)]
        assert list(await storage.delete_executions(targets)) == [True, True]
        await storage.restore(before)
        assert await _scanned(storage, 2) == before
        stored = await storage.load(key("large"))
        assert stored is not None and stored.parts == large
        assert list(await storage.owned("m", 9)) == [key("e")] and [d.due_at for d in await storage.due(999, 9)] == [
            229
        ]
        assert await storage.execution_for_key("k") == "e"
        assert list(await storage.expired(4, 9)) == [Target("large", "", 1)]
        assert await storage.commit(change(230, "e", life="A")) == 231
        assert await storage.commit(change(1, "e", "loop_0", life="A")) == 2

    @scenario
    async def test_restoring_stops_at_what_exists(self, storage: Storage) -> None:
        records = [
            StoredRecord(StoredScope(key(f"e{n}"), 5, b"copy", {}, life="A"), summary(f"e{n}"), f"k{n}")
            for n in range(4)
        ]
        await storage.commit(creation("e2", head=b"mine"))
        with pytest.raises(RevisionConflict):
            await storage.restore(records)
        stored = await storage.load(key("e2"))
        assert stored is not None and (stored.revision, stored.head) == (1, b"mine")
        assert await storage.load(key("e3")) is None
        with pytest.raises(DuplicateKey):
            taken = dataclasses.replace(records[3], idempotency_key="taken")
            await storage.commit(creation("other", idempotency_key="taken"))
            await storage.restore([taken])
        assert await storage.load(key("e3")) is None and await storage.summary("e3") is None

    @scenario
    async def test_record_kinds_are_those_of_which_there_is_a_record(self, storage: Storage) -> None:
        assert list(await storage.record_kinds()) == []
        for kind in ("name", "a", "descriptor:1"):
            for n in range(3):
                await storage.put_record(kind, f"{n}", b"x")
        assert sorted(await storage.record_kinds()) == ["a", "descriptor:1", "name"]
        for n in range(3):
            await storage.delete_record("a", f"{n}")
        assert sorted(await storage.record_kinds()) == ["descriptor:1", "name"]


async def _scanned(storage: Storage, limit: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    while page := await storage.scan(found[-1].scope.key if found else None, limit):
        assert len(page) <= limit
        found += page
    return found
