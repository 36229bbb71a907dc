"""Scopes: revisions, atomicity, parts, fresh starts, idempotency keys, values of every kind."""

from __future__ import annotations

import pytest

from tornflow.errors import DuplicateKey, RevisionConflict
from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ExecutionQuery, Storage, StoredScope, Target
from tornflow.testing.storage_support import SuiteFixtures, change, creation, key, outcomes, scenario, summary

ODD_TEXTS = [
    "flow:größe_c_1",
    "数据:流程",
    "a b/c?d#e%",
    "x\U0001f600y",
    "$where.a..b",
    "new\nline",
    "1:2:3",
    "O'Brien\"",
    "\\",
]


class ScopeTests(SuiteFixtures):
    # --- revisions

    @scenario
    async def test_a_create_has_revision_1_and_is_loaded_as_written(self, storage: Storage) -> None:
        revision = await storage.commit(creation(head=b"head", parts={"a": b"1", "b": b""}, owners=("n1",), due_at=7))
        assert revision == 1
        assert await storage.load(key()) == StoredScope(
            key(), 1, b"head", {"a": b"1", "b": b""}, owners=("n1",), due_at=7
        )

    @scenario
    async def test_each_commit_counts_the_revision_up_by_one(self, storage: Storage) -> None:
        await storage.commit(creation())
        assert [await storage.commit(change(n, head=str(n).encode())) for n in range(1, 20)] == list(range(2, 21))
        stored = await storage.load(key())
        assert stored is not None and (stored.revision, stored.head) == (20, b"19")

    @scenario
    async def test_an_unknown_scope_is_none(self, storage: Storage) -> None:
        await storage.commit(creation())
        assert await storage.load(key("other")) is None
        assert await storage.load(key(path="loop_0")) is None

    @scenario
    async def test_creating_what_exists_is_a_conflict(self, storage: Storage) -> None:
        await storage.commit(creation(head=b"first"))
        with pytest.raises(RevisionConflict):
            await storage.commit(creation(head=b"second"))
        stored = await storage.load(key())
        assert stored is not None and stored.head == b"first"

    @pytest.mark.parametrize("expected", [1, 2, 3, 5, 100])
    @scenario
    async def test_any_other_expected_revision_is_a_conflict(self, storage: Storage, expected: int) -> None:
        await storage.commit(creation())
        for n in range(1, 4):
            await storage.commit(change(n, head=b"kept"))
        before = await storage.load(key())
        with pytest.raises(RevisionConflict):
            await storage.commit(change(expected, head=b"lost", parts={"a": b"lost"}, owners=("n",)))
        assert await storage.load(key()) == before

    @scenario
    async def test_changing_a_scope_that_does_not_exist_is_a_conflict_and_creates_nothing(
        self, storage: Storage
    ) -> None:
        with pytest.raises(RevisionConflict):
            await storage.commit(change(1, summary=summary(), parts={"a": b"1"}, owners=("n",), due_at=1))
        assert await storage.load(key()) is None
        assert await storage.summary(key().execution_id) is None
        assert list(await storage.owners()) == [] and list(await storage.due(100, 10)) == []

    @scenario
    async def test_a_conflict_changes_neither_parts_nor_columns_nor_summary(self, storage: Storage) -> None:
        await storage.commit(creation(parts={"a": b"1"}, owners=("n1",), due_at=5))
        await storage.commit(change(1, owners=("n1",), due_at=5))
        before = await storage.load(key())
        with pytest.raises(RevisionConflict):
            late = change(1, parts={"a": None, "b": b"2"}, owners=("n2",), due_at=9, summary=summary(status="failed"))
            await storage.commit(late)
        assert await storage.load(key()) == before
        assert await storage.summary(key().execution_id) == summary()

    # --- many at once

    @scenario
    async def test_500_concurrent_commits_of_different_executions_all_succeed(self, storage: Storage) -> None:
        names = [f"shop:order_c_{n}" for n in range(500)]
        assert await outcomes(*(storage.commit(creation(n, head=n.encode())) for n in names)) == [1] * 500
        assert await outcomes(*(storage.commit(change(1, n, head=n.encode() * 2)) for n in names)) == [2] * 500
        for name in names[::25]:
            stored = await storage.load(key(name))
            assert stored is not None and (stored.revision, stored.head) == (2, name.encode() * 2)

    @scenario
    async def test_of_concurrent_changes_from_one_revision_exactly_one_wins(self, storage: Storage) -> None:
        await storage.commit(creation())
        bodies = [str(n).encode() for n in range(40)]
        results = await outcomes(*(storage.commit(change(1, head=b, parts={"p": b})) for b in bodies))
        winners = [b for b, result in zip(bodies, results, strict=True) if result == 2]
        assert len(winners) == 1
        assert sum(isinstance(r, RevisionConflict) for r in results) == 39
        stored = await storage.load(key())
        assert stored is not None and (stored.head, stored.parts) == (winners[0], {"p": winners[0]})

    @scenario
    async def test_conflicts_harm_no_other_write_of_their_batch(self, storage: Storage) -> None:
        names = [f"e{n}" for n in range(60)]
        await outcomes(*(storage.commit(creation(n)) for n in names))
        writes = [change(1 if i % 3 else 7, n, head=b"new", parts={"p": b"1"}) for i, n in enumerate(names)]
        results = await outcomes(*(storage.commit(w) for w in writes))
        for i, (name, result) in enumerate(zip(names, results, strict=True)):
            stored = await storage.load(key(name))
            assert stored is not None
            if i % 3:
                assert (result, stored.revision, stored.head, stored.parts) == (2, 2, b"new", {"p": b"1"})
            else:
                assert isinstance(result, RevisionConflict)
                assert (stored.revision, stored.head, stored.parts) == (1, b"{}", {})

    @scenario
    async def test_several_writes_of_one_scope_at_once_apply_in_order(self, storage: Storage) -> None:
        writes = [creation(parts={"p0": b"0"})]
        writes += [change(n, head=str(n).encode(), parts={f"p{n}": b"x", f"p{n - 1}": None}) for n in range(1, 12)]
        assert await outcomes(*(storage.commit(w) for w in writes)) == list(range(1, 13))
        stored = await storage.load(key())
        assert stored is not None and (stored.revision, stored.head, stored.parts) == (12, b"11", {"p11": b"x"})

    # --- parts, owner, due_at

    @scenario
    async def test_parts_are_upserted_and_deleted_and_others_stay(self, storage: Storage) -> None:
        await storage.commit(creation(parts={"a": b"1", "b": b"2", "c": b"3"}))
        await storage.commit(change(1, parts={"a": b"one", "b": None, "d": b"4", "never there": None}))
        stored = await storage.load(key())
        assert stored is not None and stored.parts == {"a": b"one", "c": b"3", "d": b"4"}
        await storage.commit(change(2, parts={"b": b"back", "a": None}))
        stored = await storage.load(key())
        assert stored is not None and stored.parts == {"b": b"back", "c": b"3", "d": b"4"}

    @scenario
    async def test_many_small_part_changes_leave_the_last_value_of_each(self, storage: Storage) -> None:
        await storage.commit(creation())
        expected: dict[str, bytes] = {}
        for n in range(1, 261):  # long enough for stores that keep a log of changes
            name = f"task_{n % 7}"
            body = None if n % 10 == 0 else f"{n}".encode() * 200
            await storage.commit(change(n, parts={name: body}))
            if body is None:
                expected.pop(name, None)
            else:
                expected[name] = body
            if n % 65 == 0:
                stored = await storage.load(key())
                assert stored is not None and (stored.revision, stored.parts) == (n + 1, expected)
        stored = await storage.load(key())
        assert stored is not None and stored.parts == expected

    @scenario
    async def test_a_load_beside_writes_never_mixes_two_revisions(self, storage: Storage) -> None:
        await storage.commit(creation(head=b"1", parts={f"p{n}": b"1" for n in range(5)}))

        async def write() -> None:
            for n in range(1, 80):
                body = str(n + 1).encode()
                await storage.commit(change(n, head=body, parts={f"p{i}": body + b" " * 600 for i in range(5)}))

        async def read() -> None:
            for _ in range(60):
                stored = await storage.load(key())
                assert stored is not None
                assert {stored.head, str(stored.revision).encode()} == {p.strip() for p in stored.parts.values()}

        for result in await outcomes(write(), read(), read()):
            if result is not None:
                raise result

    @scenario
    async def test_owners_and_due_at_replace_what_was_stored(self, storage: Storage) -> None:
        await storage.commit(creation(owners=("n1",), due_at=5))
        await storage.commit(change(1, owners=("n2",), due_at=3))
        stored = await storage.load(key())
        assert stored is not None and (stored.owners, stored.due_at) == (("n2",), 3)
        assert list(await storage.owners()) == ["n2"] and list(await storage.owned("n1", 10)) == []
        await storage.commit(change(2))
        stored = await storage.load(key())
        assert stored is not None and (stored.owners, stored.due_at) == ((), None)
        assert list(await storage.owners()) == [] and list(await storage.due(10**15, 10)) == []

    # --- a fresh start under an old id

    @scenario
    async def test_a_fresh_write_discards_everything_stored_before(self, storage: Storage) -> None:
        await storage.commit(creation(parts={"a": b"1"}, owners=("n",), due_at=1, idempotency_key="k1"))
        for n in range(1, 210):
            await storage.commit(change(n, parts={f"p{n % 9}": b"x" * 100}))
        await storage.commit(creation(path="loop_0", parts={"b": b"2"}, owners=("n",), due_at=2))
        fresh = change(210, head=b"new", parts={"c": b"3"}, is_fresh=True, summary=summary(submitted_at=9))
        assert await storage.commit(fresh) == 211
        assert await storage.load(key()) == StoredScope(key(), 211, b"new", {"c": b"3"})
        assert await storage.load(key(path="loop_0")) is None
        assert list(await storage.children(key().execution_id, "", "", 10)) == []
        assert list(await storage.owners()) == [] and list(await storage.due(100, 10)) == []
        assert await storage.summary(key().execution_id) == summary(submitted_at=9)
        assert await storage.execution_for_key("k1") is None

    @scenario
    async def test_after_a_fresh_write_scopes_are_created_anew(self, storage: Storage) -> None:
        await storage.commit(creation())
        await storage.commit(creation(path="loop_0", head=b"old", parts={"a": b"old"}))
        await storage.commit(change(1, is_fresh=True, summary=summary()))
        assert await storage.commit(creation(path="loop_0", head=b"new")) == 1
        assert await storage.load(key(path="loop_0")) == StoredScope(key(path="loop_0"), 1, b"new", {})
        assert await storage.commit(change(2, parts={"p": b"1"})) == 3

    @scenario
    async def test_a_fresh_write_that_conflicts_discards_nothing(self, storage: Storage) -> None:
        await storage.commit(creation(parts={"a": b"1"}, idempotency_key="k1"))
        await storage.commit(creation(path="loop_0", parts={"b": b"2"}))
        with pytest.raises(RevisionConflict):
            await storage.commit(change(4, is_fresh=True, summary=summary(status="failed")))
        root, child = await storage.load(key()), await storage.load(key(path="loop_0"))
        assert root is not None and root.parts == {"a": b"1"}
        assert child is not None and child.parts == {"b": b"2"}
        assert await storage.execution_for_key("k1") == key().execution_id

    # --- idempotency keys

    @scenario
    async def test_an_idempotency_key_belongs_to_the_execution_that_was_created_with_it(self, storage: Storage) -> None:
        assert await storage.execution_for_key("k1") is None
        await storage.commit(creation("first", idempotency_key="k1"))
        await storage.commit(change(1, "first", summary=summary("first", status="succeed")))
        assert await storage.execution_for_key("k1") == "first"
        with pytest.raises(DuplicateKey) as caught:
            await storage.commit(creation("second", idempotency_key="k1", parts={"a": b"1"}))
        assert caught.value.details["execution_id"] == "first"
        assert await storage.load(key("second")) is None and await storage.summary("second") is None
        await storage.commit(creation("second", idempotency_key="k2"))

    @scenario
    async def test_of_concurrent_creates_with_one_key_exactly_one_wins(self, storage: Storage) -> None:
        names = [f"e{n}" for n in range(20)]
        results = await outcomes(*(storage.commit(creation(n, idempotency_key="same")) for n in names))
        winners = [n for n, result in zip(names, results, strict=True) if result == 1]
        assert len(winners) == 1 and await storage.execution_for_key("same") == winners[0]
        lost = [r for r in results if isinstance(r, DuplicateKey)]
        assert len(lost) == 19 and {r.details["execution_id"] for r in lost} == set(winners)
        assert [s.execution_id for s in await storage.executions(ExecutionQuery())] == winners

    # --- values

    @scenario
    async def test_any_bytes_come_back_as_they_were(self, storage: Storage) -> None:
        every = bytes(range(256))
        await storage.commit(creation(head=every, parts={"p": every[::-1], "empty": b"", "nul": b"\0"}))
        stored = await storage.load(key())
        assert stored is not None and stored.head == every
        assert stored.parts == {"p": every[::-1], "empty": b"", "nul": b"\0"}

    @scenario
    async def test_any_unicode_text_is_an_id_a_path_and_a_part_name(self, storage: Storage) -> None:
        for text in ODD_TEXTS:
            await storage.commit(creation(text, parts={text: b"root"}, idempotency_key=text, owners=(text,)))
            await storage.commit(creation(text, text, parts={text: b"child"}))
        for text in ODD_TEXTS:
            root, child = await storage.load(key(text)), await storage.load(key(text, text))
            assert root is not None and root.parts == {text: b"root"}
            assert child is not None and child.parts == {text: b"child"}
            assert list(await storage.children(text, "", "", 9)) == [ScopeKey(text, text)]
            assert await storage.execution_for_key(text) == text
            assert list(await storage.owned(text, 9)) == [ScopeKey(text, "")]

    @scenario
    async def test_ids_that_start_alike_are_different(self, storage: Storage) -> None:
        for execution, path in [("a", ""), ("a", "b"), ("ab", ""), ("A", ""), ("a ", ""), ("a", "bc")]:
            await storage.commit(creation(execution, path, head=f"{execution}|{path}".encode()))
        assert list(await storage.children("a", "", "", 9)) == [key("a", "b"), key("a", "bc")]
        assert list(await storage.delete_executions([Target("a", "", 1)])) == [True]
        assert await storage.load(key("ab")) is not None and await storage.load(key("A")) is not None

    @scenario
    async def test_a_part_of_1_mib_and_10_000_parts_are_kept(self, storage: Storage) -> None:
        big = b"\xff" * (1 << 20)
        await storage.commit(creation(parts={"big": big}))
        for n in range(1, 20):  # again and again: no store may grow a document without bound
            await storage.commit(change(n, parts={"big": big[:-n], f"small{n}": b"1"}))
        stored = await storage.load(key())
        assert stored is not None and len(stored.parts) == 20 and len(stored.parts["big"]) == (1 << 20) - 19
        many = {f"task_{n}": str(n).encode() for n in range(10_000)}
        await storage.commit(creation("many", parts=many))
        await storage.commit(change(1, "many", parts={"task_5": None, "task_6": b"six"}))
        stored = await storage.load(key("many"))
        del many["task_5"]
        assert stored is not None and stored.parts == {**many, "task_6": b"six"}
