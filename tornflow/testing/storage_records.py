"""Records, node beats, and the life of the store object."""

from __future__ import annotations

import asyncio

import pytest

from tornflow.errors import StorageUnavailable
from tornflow.spi.storage import NodeBeat, Record, Storage
from tornflow.testing.storage_support import SuiteFixtures, creation, outcomes, scenario


class RecordTests(SuiteFixtures):
    @scenario
    async def test_a_record_is_stored_replaced_and_deleted(self, storage: Storage) -> None:
        assert await storage.get_record("name", "a") is None
        await storage.put_record("name", "a", b"\xff\x00")
        await storage.put_record("name", "a", b"")
        await storage.put_record("other", "a", b"2")
        assert await storage.get_record("name", "a") == b"" and await storage.get_record("other", "a") == b"2"
        assert await storage.delete_record("name", "a") is True
        assert await storage.delete_record("name", "a") is False
        assert await storage.get_record("name", "a") is None and await storage.get_record("other", "a") == b"2"

    @scenario
    async def test_records_are_listed_by_key_in_code_point_order_with_prefix_after_and_limit(
        self, storage: Storage
    ) -> None:
        keys = [
            "a",
            "a:1",
            "a:10",
            "a:2",
            "a_1",
            "a%",
            "b",
            "B",
            "ä",
            "中",
            "\ud7ff",
            "\ue000",
            "\U0001f600",
            "\U0010ffff",
        ]
        await outcomes(*(storage.put_record("k", name, name.encode()) for name in keys))
        await storage.put_record("kk", "a:3", b"")

        async def found(prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
            records = await storage.list_records("k", prefix, after=after, limit=limit)
            assert list(records) == [Record(r.key, r.key.encode()) for r in records]
            return [r.key for r in records]

        assert await found() == sorted(keys)
        assert await found("a:") == ["a:1", "a:10", "a:2"] and await found("a:", after="a:1") == ["a:10", "a:2"]
        assert await found("a:", after="a:1", limit=1) == ["a:10"] and await found("A") == []
        assert await found("\U0010ffff") == ["\U0010ffff"] and await found("\ud7ff") == ["\ud7ff"]
        assert (
            await found(limit=0) == [] and await found("a", after="zzz") == [] and await found("b", after="a") == ["b"]
        )

    @scenario
    async def test_paging_through_records_sees_each_once(self, storage: Storage) -> None:
        keys = [f"{n:04}" for n in range(250)]
        await outcomes(*(storage.put_record("k", name, b"x") for name in keys))
        seen: list[str] = []
        while page := await storage.list_records("k", after=seen[-1] if seen else "", limit=40):
            seen += [r.key for r in page]
        assert seen == keys

    @scenario
    async def test_a_record_takes_1_mib_and_a_key_of_500_characters(self, storage: Storage) -> None:
        name, body = "ü" * 500, b"\x80" * (1 << 20)
        await storage.put_record("kind", name, body)
        assert await storage.get_record("kind", name) == body
        assert [r.key for r in await storage.list_records("kind", "ü")] == [name]

    @scenario
    async def test_concurrent_puts_of_one_new_record_all_succeed(self, storage: Storage) -> None:
        bodies = [str(n).encode() for n in range(20)]
        assert await outcomes(*(storage.put_record("k", "same", b) for b in bodies)) == [None] * 20
        assert await storage.get_record("k", "same") in bodies

    @scenario
    async def test_nodes_are_remembered_by_their_last_beat_until_forgotten(self, storage: Storage) -> None:
        assert list(await storage.nodes()) == []
        assert await storage.beat(NodeBeat("n1", 1, 2, "http://a:1")) is False
        assert await storage.beat(NodeBeat("n2", 1, 2)) is False
        assert await storage.beat(NodeBeat("n1", 1, 1_700_000_000_000, "http://b:2")) is True
        beats = sorted(await storage.nodes(), key=lambda b: b.node_id)
        assert beats == [NodeBeat("n1", 1, 1_700_000_000_000, "http://b:2"), NodeBeat("n2", 1, 2, "")]
        await storage.forget_node("n1")
        await storage.forget_node("never seen")
        assert [b.node_id for b in await storage.nodes()] == ["n2"]
        assert await storage.beat(NodeBeat("n1", 1, 5)) is False and await storage.beat(NodeBeat("n2", 1, 5)) is True

    @scenario
    async def test_ping_returns_while_open(self, storage: Storage) -> None:
        await storage.ping()

    @scenario
    async def test_a_closed_store_says_that_it_is_unavailable(self, storage: Storage) -> None:
        await storage.close()
        await storage.close()
        for attempt in (storage.commit(creation()), storage.load(creation().key), storage.ping(), storage.owners()):
            with pytest.raises(StorageUnavailable):
                await attempt

    @scenario
    async def test_close_finishes_the_writes_in_hand(self, storage: Storage) -> None:
        writes = [asyncio.ensure_future(storage.commit(creation(f"e{n}"))) for n in range(50)]
        await asyncio.sleep(0)  # lets each of them hand its write over
        await storage.close()
        assert await outcomes(*writes) == [1] * 50
