"""Lives: one id, used again and again, and no copy of an earlier use ever passes for the current one."""

from __future__ import annotations

import asyncio

import pytest

from tornflow.errors import RevisionConflict
from tornflow.spi.storage import Storage, StoredScope, Target, Version
from tornflow.testing.storage_support import SuiteFixtures, change, creation, key, outcomes, scenario, summary


class LifeTests(SuiteFixtures):
    @scenario
    async def test_the_life_is_stored_and_stays(self, storage: Storage) -> None:
        await storage.commit(creation(life="A"))
        assert await storage.commit(change(1, life="A", head=b"2")) == 2
        assert await storage.load(key()) == StoredScope(key(), 2, b"2", {}, life="A")

    @pytest.mark.parametrize("group", ["", "loop_0"])
    @scenario
    async def test_a_change_of_another_life_is_a_conflict(self, storage: Storage, group: str) -> None:
        await storage.commit(creation())
        await storage.commit(creation("e", group, life="A", parts={"a": b"1"}))
        before = await storage.load(key("e", group))
        for write in (
            change(1, "e", group, life="B", head=b"lost", owners=("n",)),
            change(1, "e", group, head=b"lost", parts={"a": None}),
            change(1, "e", group, life="A", replaces="B", head=b"lost"),
            change(1, "e", group, life="A", replaces="", head=b"lost"),
            change(2, "e", group, life="A", head=b"lost"),
        ):
            with pytest.raises(RevisionConflict):
                await storage.commit(write)
        assert await storage.load(key("e", group)) == before and list(await storage.owners()) == []

    @scenario
    async def test_a_copy_of_a_removed_execution_is_never_committed_over_its_successor(self, storage: Storage) -> None:
        for path in ("", "loop_0"):
            await storage.commit(creation("e", path, life="A"))
            await storage.commit(change(1, "e", path, life="A"))
        stale = [change(2, "e", path, life="A", head=b"stale", parts={"a": b"stale"}) for path in ("", "loop_0")]
        assert list(await storage.delete_executions([Target("e", "A", 2)])) == [True]
        for path in ("", "loop_0"):
            await storage.commit(creation("e", path, life="B"))
            await storage.commit(change(1, "e", path, life="B", head=b"new"))
        for write in stale:
            with pytest.raises(RevisionConflict):
                await storage.commit(write)
            assert await storage.load(write.key) == StoredScope(write.key, 2, b"new", {}, life="B")
        assert list(await storage.delete_executions([Target("e", "A", 2)])) == [False]

    @scenario
    async def test_stale_and_right_writes_in_one_batch_are_told_apart(self, storage: Storage) -> None:
        names = [f"e{n}" for n in range(40)]
        await outcomes(*(storage.commit(creation(e, life="B")) for e in names))
        writes = [change(1, e, life="A" if n % 2 else "B", head=b"new") for n, e in enumerate(names)]
        results = await outcomes(*(storage.commit(w) for w in writes))
        assert results[::2] == [2] * 20 and all(isinstance(r, RevisionConflict) for r in results[1::2])
        heads = [stored.head for e in names if (stored := await storage.load(key(e))) is not None]
        assert heads == [b"new", b"{}"] * 20

    @scenario
    async def test_a_write_that_replaces_changes_the_life_and_keeps_other_parts(self, storage: Storage) -> None:
        await storage.commit(creation("e", "loop_0", life="A", parts={"a": b"1", "b": b"1", "c": b"1"}))
        write = change(1, "e", "loop_0", b"2", life="B", replaces="A", parts={"a": b"2", "b": None}, due_at=3)
        assert await storage.commit(write) == 2
        expected = StoredScope(key("e", "loop_0"), 2, b"2", {"a": b"2", "c": b"1"}, life="B", due_at=3)
        assert await storage.load(key("e", "loop_0")) == expected
        with pytest.raises(RevisionConflict):
            await storage.commit(change(2, "e", "loop_0", life="A"))
        with pytest.raises(RevisionConflict):
            await storage.commit(write)
        assert await storage.commit(change(2, "e", "loop_0", life="B")) == 3

    @scenario
    async def test_a_fresh_write_replaces_the_life_and_everything_under_the_id(self, storage: Storage) -> None:
        await storage.commit(creation("e", life="A", parts={"a": b"1"}, idempotency_key="k"))
        await storage.commit(creation("e", "loop_0", life="A"))
        with pytest.raises(RevisionConflict):
            await storage.commit(change(1, "e", life="B", is_fresh=True, summary=summary("e")))
        assert await storage.load(key("e", "loop_0")) is not None
        fresh = change(1, "e", head=b"new", life="B", replaces="A", is_fresh=True, summary=summary("e"))
        assert await storage.commit(fresh) == 2
        assert await storage.load(key("e")) == StoredScope(key("e"), 2, b"new", {}, life="B")
        assert await storage.load(key("e", "loop_0")) is None
        with pytest.raises(RevisionConflict):
            await storage.commit(change(2, "e", life="A"))
        assert await storage.commit(change(2, "e", life="B", parts={"p": b"1"})) == 3

    @scenario
    async def test_the_version_follows_every_write(self, storage: Storage) -> None:
        assert await storage.version(key("e")) is None
        await storage.commit(creation("e", life="A", parts={"a": b"1" * 5_000}))
        assert await storage.version(key("e")) == Version("A", 1)
        assert await storage.version(key("e", "loop_0")) is None
        await storage.commit(change(1, "e", life="A"))
        await storage.commit(creation("e", "loop_0"))
        assert await storage.version(key("e")) == Version("A", 2)
        assert await storage.version(key("e", "loop_0")) == Version("", 1)
        await storage.commit(change(2, "e", life="B", replaces="A", is_fresh=True, summary=summary("e")))
        assert await storage.version(key("e")) == Version("B", 3)
        assert await storage.version(key("e", "loop_0")) is None

    # --- order

    @scenario
    async def test_writes_of_one_scope_take_effect_in_the_order_of_the_calls(self, storage: Storage) -> None:
        """Heads are large and small by turns: a store that cuts batches by size may not let the small ones go ahead."""
        await storage.commit(creation("e", life="A"))
        large = b"x" * (5 << 20)
        heads = [b"small" if n % 2 else large for n in range(8)]
        writes = [storage.commit(change(n, "e", head=head, life="A")) for n, head in enumerate(heads, 1)]
        fillers = [storage.commit(creation(f"f{n}", head=large)) for n in range(3)]
        assert await outcomes(*fillers, *writes) == [1] * 3 + list(range(2, 10))

    @scenario
    async def test_a_cancelled_caller_does_not_stop_its_write(self, storage: Storage) -> None:
        await storage.commit(creation("e", life="A"))
        writes = [
            change(1, "e", life="A", parts={"a": b"1"}),
            change(2, "e", life="B", replaces="A", is_fresh=True, summary=summary("e"), parts={"b": b"2"}),
            change(3, "e", life="B", parts={"c": b"3"}),
        ]
        callers = [asyncio.ensure_future(storage.commit(w)) for w in writes]
        await asyncio.sleep(0)  # lets each of them hand its write over
        for caller in callers:
            caller.cancel()
        assert await storage.commit(change(4, "e", life="B", head=b"5")) == 5
        assert await storage.load(key("e")) == StoredScope(key("e"), 5, b"5", {"b": b"2", "c": b"3"}, life="B")

    @scenario
    async def test_a_fresh_write_keeps_its_place_among_other_writes(self, storage: Storage) -> None:
        await storage.commit(creation("e", life="A", parts={"a": b"1"}))
        writes = [
            change(1, "e", life="A", parts={"b": b"2"}),
            change(2, "e", life="B", replaces="A", is_fresh=True, summary=summary("e"), parts={"c": b"3"}),
            change(3, "e", life="B", parts={"d": b"4"}),
            change(4, "e", life="C", replaces="B", is_fresh=True, summary=summary("e")),
            change(5, "e", life="C", parts={"e": b"5"}),
        ]
        assert await outcomes(*(storage.commit(w) for w in writes)) == [2, 3, 4, 5, 6]
        assert await storage.load(key("e")) == StoredScope(key("e"), 6, b"{}", {"e": b"5"}, life="C")
