"""Everything that answers with more than one thing: order, limits, filters, counts, removal."""

from __future__ import annotations

import dataclasses
from typing import Any

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import DueScope, ExecutionQuery, Storage, Summary
from tornflow.testing.storage_support import SuiteFixtures, change, creation, key, outcomes, scenario, summary


class ListTests(SuiteFixtures):
    # --- scopes

    @scenario
    async def test_children_come_in_order_of_path_behind_after_and_without_the_root(self, storage: Storage) -> None:
        paths = [
            "loop_0",
            "loop_1",
            "loop_10",
            "loop_2",
            "loop_2-inner_0",
            "other_0",
            "Loop_0",
            "loop%",
            "ß",
            "\U0001f600",
        ]
        await storage.commit(creation("e"))
        await outcomes(*(storage.commit(creation("e", p)) for p in paths))
        await storage.commit(creation("f", "loop_7"))

        async def found(prefix: str, after: str, limit: int) -> list[str]:
            keys = await storage.children("e", prefix, after, limit)
            assert {k.execution_id for k in keys} <= {"e"}
            return [k.path for k in keys]

        assert await found("", "", 100) == sorted(paths)
        assert await found("loop_", "", 100) == ["loop_0", "loop_1", "loop_10", "loop_2", "loop_2-inner_0"]
        assert await found("loop_", "", 2) == ["loop_0", "loop_1"]
        assert await found("loop_", "loop_1", 2) == ["loop_10", "loop_2"]
        assert await found("loop_2", "loop_2", 9) == ["loop_2-inner_0"]
        assert await found("loop_", "zzz", 9) == [] and await found("none", "", 9) == []
        assert await found("loop_", "a", 1) == ["loop_0"] and await found("", "", 0) == []

    @scenario
    async def test_due_scopes_come_earliest_first_strictly_before_the_moment(self, storage: Storage) -> None:
        moments = {"e1": 30, "e2": 10, "e3": 20, "e4": None, "e5": 40, "e6": 1_700_000_000_000}
        await outcomes(*(storage.commit(creation(e, due_at=at)) for e, at in moments.items()))
        await storage.commit(creation("e1", "loop_0", due_at=15))
        expected = [DueScope(key("e2"), 10), DueScope(key("e1", "loop_0"), 15), DueScope(key("e3"), 20)]
        assert list(await storage.due(30, 100)) == expected
        assert list(await storage.due(31, 100)) == [*expected, DueScope(key("e1"), 30)]
        assert list(await storage.due(30, 2)) == expected[:2]
        assert list(await storage.due(10, 100)) == [] and list(await storage.due(99, 0)) == []
        assert len(await storage.due(2**62, 100)) == 6

    @scenario
    async def test_owned_scopes_and_owners_follow_the_column(self, storage: Storage) -> None:
        for n in range(6):
            await storage.commit(creation(f"e{n}", owner=f"node{n % 2}"))
        await storage.commit(creation("e0", "loop_0", owner="node1"))
        await storage.commit(creation("idle"))
        assert sorted(await storage.owned("node0", 100)) == [key("e0"), key("e2"), key("e4")]
        assert sorted(await storage.owned("node1", 100)) == [key("e0", "loop_0"), key("e1"), key("e3"), key("e5")]
        assert len(await storage.owned("node1", 2)) == 2 and list(await storage.owned("node2", 9)) == []
        assert sorted(await storage.owners()) == ["node0", "node1"]
        for n in (0, 2, 4):
            await storage.commit(change(1, f"e{n}"))
        assert list(await storage.owners()) == ["node1"] and list(await storage.owned("node0", 9)) == []

    # --- summaries

    @scenario
    async def test_a_summary_is_kept_whole_and_replaced_only_when_given(self, storage: Storage) -> None:
        assert await storage.summary("e") is None
        full = Summary("e", "b", "f", "failed", 5, 9, 2**45, "30507", "dapr", "my flow", "parent")
        await storage.commit(creation("e", summary=full))
        assert await storage.summary("e") == full
        await storage.commit(change(1, "e"))
        await storage.commit(creation("e", "loop_0"))
        assert await storage.summary("e") == full
        small = summary("e", status="succeed", finished_at=8)
        await storage.commit(change(2, "e", summary=small))
        assert await storage.summary("e") == small
        assert list(await storage.executions(ExecutionQuery())) == [small]

    @scenario
    async def test_executions_come_newest_first_with_ties_by_id_descending(self, storage: Storage) -> None:
        times = {"a": 5, "b": 7, "c": 5, "d": 1, "e": 7, "ee": 7}
        await outcomes(*(storage.commit(creation(e, summary=summary(e, submitted_at=t))) for e, t in times.items()))
        order = ["ee", "e", "b", "c", "a", "d"]

        async def page(offset: int, limit: int) -> list[str]:
            return [s.execution_id for s in await storage.executions(ExecutionQuery(), offset=offset, limit=limit)]

        assert await page(0, 100) == order and await page(0, 2) == order[:2]
        assert await page(2, 3) == order[2:5] and await page(5, 10) == order[5:]
        assert await page(6, 10) == [] and await page(0, 0) == []

    @scenario
    async def test_every_filter_selects_and_all_must_hold(self, storage: Storage) -> None:
        stored = _varied()
        await outcomes(*(storage.commit(creation(s.execution_id, summary=s)) for s in stored))
        queries: list[dict[str, Any]] = [
            {"statuses": ("running",)}, {"statuses": ("failed", "succeed")}, {"statuses": ("never",)},
            {"business": "b1"}, {"feature": "f2"}, {"business": "b1", "feature": "f1"}, {"business": "B1"},
            {"code": "30507"}, {"family": "dapr"}, {"workflow_name": "w1"}, {"parent_id": "p0"},
            {"since": 10}, {"until": 10}, {"since": 5, "until": 15}, {"since": 15, "until": 5},
            {"statuses": ("running", "failed"), "business": "b0", "family": "rill", "since": 3, "until": 19},
        ]  # fmt: skip
        for changes in queries:
            query = ExecutionQuery(**changes)
            expected = [s for s in stored if _matches(s, query)]
            expected.sort(key=lambda s: (s.submitted_at, s.execution_id), reverse=True)
            assert list(await storage.executions(query)) == expected, changes
            counts: dict[str, int] = {}
            for s in expected:
                counts[s.status] = counts.get(s.status, 0) + 1
            assert dict(await storage.count_executions(query)) == counts, changes

    @scenario
    async def test_counts_of_nothing_are_empty_and_follow_status_changes(self, storage: Storage) -> None:
        assert dict(await storage.count_executions(ExecutionQuery())) == {}
        await storage.commit(creation("e"))
        await storage.commit(creation("e", "loop_0"))
        assert dict(await storage.count_executions(ExecutionQuery())) == {"running": 1}
        await storage.commit(change(1, "e", summary=summary("e", status="succeed")))
        assert dict(await storage.count_executions(ExecutionQuery())) == {"succeed": 1}

    @scenario
    async def test_expired_executions_come_oldest_first_and_running_ones_never(self, storage: Storage) -> None:
        ends = {"e1": 30, "e2": 10, "e3": None, "e4": 20, "e5": 50}
        await outcomes(*(storage.commit(creation(e, summary=summary(e, expires_at=t))) for e, t in ends.items()))
        assert list(await storage.expired(31, 10)) == ["e2", "e4", "e1"]
        assert list(await storage.expired(30, 10)) == ["e2", "e4"]
        assert list(await storage.expired(99, 1)) == ["e2"] and list(await storage.expired(99, 0)) == []
        await storage.commit(change(1, "e2", summary=summary("e2", expires_at=None)))
        assert list(await storage.expired(31, 10)) == ["e4", "e1"]

    # --- removal

    @scenario
    async def test_deleting_an_execution_leaves_nothing_of_it_and_everything_else(self, storage: Storage) -> None:
        for e in ("e", "f"):
            await storage.commit(creation(e, parts={"a": b"1"}, owner=e, due_at=1, idempotency_key=e))
            await outcomes(*(storage.commit(creation(e, f"loop_{n}", parts={"p": b"2"})) for n in range(30)))
        assert await storage.delete_execution("e") is True
        assert await storage.delete_execution("e") is False
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
            assert await storage.delete_execution("e") is True
        assert await storage.load(ScopeKey("e")) is None


def _varied() -> list[Summary]:
    statuses = ("running", "failed", "succeed")
    return [
        Summary(
            f"e{n:02}", f"b{n % 2}", f"f{n % 3}", statuses[n % 3], n, code="30507" if n % 4 == 0 else None,
            family="dapr" if n % 5 == 0 else "rill", workflow_name=f"w{n % 2}" if n % 5 == 0 else None,
            parent_id=f"p{n % 3}" if n % 7 == 0 else None,
        )
        for n in range(20)
    ]  # fmt: skip


def _matches(s: Summary, query: ExecutionQuery) -> bool:
    if query.statuses and s.status not in query.statuses:
        return False
    if not (query.since or 0) <= s.submitted_at < (10**9 if query.until is None else query.until):
        return False
    wanted = dataclasses.asdict(query)
    names = ("business", "feature", "code", "family", "workflow_name", "parent_id")
    return all(wanted[n] is None or getattr(s, n) == wanted[n] for n in names)
