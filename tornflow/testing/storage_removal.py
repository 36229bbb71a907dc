"""Removal: what goes, what stays, and that no removal ever meets another life."""

from __future__ import annotations

import asyncio

import pytest

from tornflow.errors import RevisionConflict
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import DueScope, ExecutionQuery, Storage, Target
from tornflow.testing.storage_support import SuiteFixtures, change, creation, key, outcomes, scenario, summary


class RemovalTests(SuiteFixtures):
    @scenario
    async def test_parents_of_sub_flows_that_have_not_ended_are_named(self, storage: Storage) -> None:
        family = {"child-1": ("one", None), "child-2": ("one", 5), "child-3": ("two", 5), "child-4": ("other", None)}
        for child, (parent, finished_at) in family.items():
            await storage.commit(creation(child, summary=summary(child, parent_id=parent, finished_at=finished_at)))
        many = [f"nobody-{n}" for n in range(1200)]
        assert set(await storage.living_parents(["one", "two", "three", *many])) == {"one"}
        assert set(await storage.living_parents([])) == set()

    @scenario
    async def test_deleting_an_execution_leaves_nothing_of_it_and_everything_else(self, storage: Storage) -> None:
        for e in ("e", "f"):
            await storage.commit(creation(e, parts={"a": b"1"}, owners=(e,), due_at=1, idempotency_key=e))
            await outcomes(*(storage.commit(creation(e, f"loop_{n}", parts={"p": b"2"})) for n in range(30)))
        assert list(await storage.delete_executions([Target("e", "", 1)])) == [True]
        assert list(await storage.delete_executions([Target("e", "", 1)])) == [False]
        assert await storage.load(key("e")) is None and await storage.load(key("e", "loop_3")) is None
        assert list(await storage.children("e", "", "", 99)) == [] and await storage.summary("e") is None
        assert list(await storage.owners()) == ["f"] and list(await storage.due(9, 9)) == [DueScope(key("f"), 1)]
        assert await storage.execution_for_key("e") is None and await storage.execution_for_key("f") == "f"
        assert len(await storage.children("f", "", "", 99)) == 30
        assert [s.execution_id for s in await storage.executions(ExecutionQuery())] == ["f"]

    @scenario
    async def test_a_deleted_id_starts_again_without_old_parts(self, storage: Storage) -> None:
        for round_ in range(2):
            await storage.commit(creation("e", parts={f"p{round_}": b"1"}, idempotency_key="k"))
            for n in range(1, 210):
                await storage.commit(change(n, "e", parts={f"p{round_}": str(n).encode()}))
            stored = await storage.load(key("e"))
            assert stored is not None and stored.parts == {f"p{round_}": b"209"}
            assert list(await storage.delete_executions([Target("e", "", 210)])) == [True]
        assert await storage.load(ScopeKey("e")) is None

    @scenario
    async def test_only_targets_of_the_stored_life_and_revision_are_removed(self, storage: Storage) -> None:
        for e in ("e0", "e1", "e2", "e3"):
            await storage.commit(creation(e, life="A", parts={"p": b"1"}))
            await storage.commit(creation(e, "loop_0", life="A"))
        await storage.commit(change(1, "e1", life="A"))
        targets = [
            Target("e0", "A", 1), Target("e1", "A", 1), Target("e2", "B", 1), Target("e3", "A", 2),
            Target("gone", "A", 1), Target("e1", "A", 2),
        ]  # fmt: skip
        assert list(await storage.delete_executions(targets)) == [True, False, False, False, False, True]
        assert [await storage.load(key(e)) for e in ("e0", "e1")] == [None, None]
        for e in ("e2", "e3"):
            stored = await storage.load(key(e))
            assert stored is not None and (stored.revision, stored.parts) == (1, {"p": b"1"})
            assert await storage.load(key(e, "loop_0")) is not None and await storage.summary(e) is not None
        assert list(await storage.delete_executions([])) == []

    @scenario
    async def test_many_executions_are_removed_by_one_call_and_others_stay(self, storage: Storage) -> None:
        await outcomes(*(storage.commit(creation(f"e{n}", life=f"L{n}", idempotency_key=f"k{n}")) for n in range(600)))
        await outcomes(*(storage.commit(creation(f"e{n}", "loop_0", life=f"L{n}")) for n in range(0, 600, 3)))
        removed = await storage.delete_executions([Target(f"e{n}", f"L{n}", 1) for n in range(600) if n % 10])
        assert list(removed) == [True] * 540
        left = sorted(s.execution_id for s in await storage.executions(ExecutionQuery(), limit=1000))
        assert left == sorted(f"e{n}" for n in range(0, 600, 10))
        assert len(await storage.scan(None, 1000)) == 60 + 20
        assert await storage.execution_for_key("k1") is None and await storage.execution_for_key("k30") == "e30"

    @scenario
    async def test_a_removal_that_meets_a_restart_takes_the_old_life_or_nothing(self, storage: Storage) -> None:
        names = [f"e{n}" for n in range(20)]
        for e in names:
            await storage.commit(creation(e, life="A"))
            await storage.commit(creation(e, "loop_0", life="A"))
        fresh = [change(1, e, life="B", replaces="A", is_fresh=True, summary=summary(e), head=b"new") for e in names]
        removals = storage.delete_executions([Target(e, "A", 1) for e in names])
        removed, *restarted = await outcomes(removals, *(storage.commit(w) for w in fresh))
        for e, was_removed, revision in zip(names, removed, restarted, strict=True):
            stored = await storage.load(key(e))
            if isinstance(revision, RevisionConflict):
                assert was_removed and stored is None
            else:
                assert revision == 2 and stored is not None and (stored.life, stored.head) == ("B", b"new")
            assert await storage.load(key(e, "loop_0")) is None
            assert await storage.commit(creation(e, "loop_0", life="B")) == 1

    @scenario
    async def test_an_id_can_be_created_again_while_it_is_being_removed(self, storage: Storage) -> None:
        names = [f"e{n}" for n in range(20)]
        for e in names:
            await storage.commit(creation(e, life="A", parts={"a": b"1"}))
            await storage.commit(creation(e, "loop_0", life="A"))
        removals = storage.delete_executions([Target(e, "A", 1) for e in names])
        removed, *created = await outcomes(removals, *(storage.commit(creation(e, life="B")) for e in names))
        assert list(removed) == [True] * 20
        for e, revision in zip(names, created, strict=True):
            stored = await storage.load(key(e))
            if isinstance(revision, RevisionConflict):
                assert stored is None
            else:
                assert revision == 1 and stored is not None and (stored.life, stored.parts) == ("B", {})
            assert await storage.load(key(e, "loop_0")) is None

    @scenario
    async def test_a_cancelled_removal_removes_all_of_an_execution_or_nothing(self, storage: Storage) -> None:
        await storage.commit(creation("e", life="A", idempotency_key="k"))
        await outcomes(*(storage.commit(creation("e", f"loop_{n}", life="A")) for n in range(20)))
        caller = asyncio.ensure_future(storage.delete_executions([Target("e", "A", 1)]))
        await asyncio.sleep(0)
        caller.cancel()
        while await storage.scan(None, 1):  # the removal was on its way: it ends, or this test runs out of time
            await asyncio.sleep(0.005)
        assert await storage.commit(creation("e", life="B", idempotency_key="k")) == 1

    # --- strays

    @scenario
    async def test_strays_are_the_groups_of_a_life_that_the_root_has_not(self, storage: Storage) -> None:
        await storage.commit(creation("e", life="B", parts={"p": b"1"}))
        for n, life in enumerate(["A", "B", "A", "C"]):
            await storage.commit(creation("e", f"loop_{n}", life=life, parts={"p": b"1"}, owners=("n",), due_at=n))
        await storage.commit(creation("f", "loop_0", life="A"))
        assert await storage.delete_strays("e", "B") == 0
        assert await storage.delete_strays("e", "A") == 2
        assert await storage.delete_strays("e", "A") == 0
        assert [k.path for k in await storage.children("e", "", "", 9)] == ["loop_1", "loop_3"]
        assert list(await storage.owned("n", 9)) == [key("e", "loop_1"), key("e", "loop_3")]
        assert [d.due_at for d in await storage.due(9, 9)] == [1, 3]
        stored = await storage.load(key("e"))
        assert stored is not None and stored.parts == {"p": b"1"}
        assert await storage.commit(creation("e", "loop_0", life="B")) == 1
        stored = await storage.load(key("e", "loop_0"))
        assert stored is not None and stored.parts == {}

    @scenario
    async def test_groups_without_any_root_are_strays(self, storage: Storage) -> None:
        await outcomes(*(storage.commit(creation("e", f"loop_{n}", life="A")) for n in range(30)))
        assert await storage.delete_strays("e", "B") == 0
        assert await storage.delete_strays("e", "A") == 30
        assert list(await storage.children("e", "", "", 9)) == []

    @scenario
    async def test_a_late_write_to_a_removed_execution_stores_nothing(self, storage: Storage) -> None:
        await storage.commit(creation("e", life="A"))
        await storage.commit(creation("e", "loop_0", life="A"))
        await storage.delete_executions([Target("e", "A", 1)])
        for path in ("", "loop_0"):
            with pytest.raises(RevisionConflict):
                await storage.commit(change(1, "e", path, life="A", owners=("n",), due_at=1))
        assert await storage.load(key("e")) is None and list(await storage.owners()) == []
        assert await storage.version(key("e")) is None and list(await storage.scan(None, 9)) == []
