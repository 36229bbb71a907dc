"""Everything that answers with more than one thing: order, limits, filters, counts."""

from __future__ import annotations

import dataclasses
from typing import Any

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import DueScope, ExecutionQuery, Storage, Summary, Target
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
            await storage.commit(creation(f"e{n}", owners=(f"node{n % 2}",)))
        await storage.commit(creation("e0", "loop_0", owners=("node1",)))
        await storage.commit(creation("idle"))
        assert list(await storage.owned("node0", 100)) == [key("e0"), key("e2"), key("e4")]
        assert list(await storage.owned("node1", 100)) == [key("e0", "loop_0"), key("e1"), key("e3"), key("e5")]
        assert len(await storage.owned("node1", 2)) == 2 and list(await storage.owned("node2", 9)) == []
        assert sorted(await storage.owners()) == ["node0", "node1"]
        for n in (0, 2, 4):
            await storage.commit(change(1, f"e{n}"))
        assert list(await storage.owners()) == ["node1"] and list(await storage.owned("node0", 9)) == []

    @scenario
    async def test_a_scope_of_several_owners_is_found_by_each_of_them(self, storage: Storage) -> None:
        await storage.commit(creation("e1", owners=("a", "b")))
        await storage.commit(creation("e0", "loop_0", owners=("b", "c")))
        await storage.commit(creation("e2", owners=("b",)))
        await storage.commit(creation("e3", owners=("a b",)))
        stored = await storage.load(key("e1"))
        assert stored is not None and stored.owners == ("a", "b")
        assert list(await storage.owned("a", 9)) == [key("e1")]
        assert list(await storage.owned("b", 9)) == [key("e0", "loop_0"), key("e1"), key("e2")]
        assert list(await storage.owned("c", 9)) == [key("e0", "loop_0")]
        assert sorted(await storage.owners()) == ["a", "a b", "b", "c"]
        await storage.commit(change(1, "e1", owners=("b", "d")))
        assert list(await storage.owned("a", 9)) == [] and list(await storage.owned("d", 9)) == [key("e1")]
        await storage.commit(change(2, "e1"))
        assert list(await storage.owned("b", 9)) == [key("e0", "loop_0"), key("e2")]
        assert sorted(await storage.owners()) == ["a b", "b", "c"]

    @scenario
    async def test_paging_through_owned_scopes_goes_by_key_and_sees_each_once(self, storage: Storage) -> None:
        keys = [key(e, path) for e in PAGED_IDS for path in ("", "loop_0", "loop_10", "ß")]
        owners = [("n",), ("m", "n")]
        await outcomes(*(storage.commit(creation(*k, owners=owners[i % 2])) for i, k in enumerate(keys)))
        await storage.commit(creation("f", owners=("m",)))
        seen: list[ScopeKey] = []
        while page := await storage.owned("n", 3, after=seen[-1] if seen else None):
            assert len(page) <= 3
            seen += page
        assert seen == sorted(keys)
        assert list(await storage.owned("n", 9, after=key("\U0010ffff"))) == []

    # --- summaries

    @scenario
    async def test_a_summary_is_kept_whole_and_replaced_only_when_given(self, storage: Storage) -> None:
        assert await storage.summary("e") is None
        full = Summary("e", "b", "f", "failed", 5, 9, 2**45, "30507", "dapr", "my flow", "parent", "d41d8")
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
            {"descriptor_md5": "m1"}, {"descriptor_md5": ""}, {"descriptor_md5": "m3", "statuses": ("running",)},
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
    async def test_an_expired_execution_that_still_has_something_to_tell_is_kept(self, storage: Storage) -> None:
        await storage.commit(creation("told", life="a", summary=summary("told", expires_at=5)))
        await storage.commit(creation("telling", life="b", owners=("n1",), summary=summary("telling", expires_at=5)))
        assert list(await storage.expired(9, 10)) == [Target("told", "a", 1)]
        await storage.commit(change(1, "telling", life="b"))
        assert {target.execution_id for target in await storage.expired(9, 10)} == {"told", "telling"}

    @scenario
    async def test_expired_executions_come_oldest_first_and_running_ones_never(self, storage: Storage) -> None:
        ends = {"e1": 30, "e2": 10, "e3": None, "e4": 20, "e5": 50}
        for e, t in ends.items():
            await storage.commit(creation(e, summary=summary(e, expires_at=t), life=f"life of {e}"))
        assert list(await storage.expired(31, 10)) == [Target(e, f"life of {e}", 1) for e in ("e2", "e4", "e1")]
        assert [t.execution_id for t in await storage.expired(30, 10)] == ["e2", "e4"]
        assert [t.execution_id for t in await storage.expired(99, 1)] == ["e2"]
        assert list(await storage.expired(99, 0)) == []
        await storage.commit(change(1, "e2", summary=summary("e2", expires_at=None), life="life of e2"))
        await storage.commit(change(1, "e1", life="life of e1"))
        assert list(await storage.expired(31, 10)) == [Target("e4", "life of e4", 1), Target("e1", "life of e1", 2)]


def _varied() -> list[Summary]:
    statuses = ("running", "failed", "succeed")
    return [
        Summary(
            f"e{n:02}", f"b{n % 2}", f"f{n % 3}", statuses[n % 3], n, code="30507" if n % 4 == 0 else None,
            family="dapr" if n % 5 == 0 else "rill", workflow_name=f"w{n % 2}" if n % 5 == 0 else None,
            parent_id=f"p{n % 3}" if n % 7 == 0 else None, descriptor_md5=f"m{n % 4}" if n % 4 else "",
        )
        for n in range(20)
    ]  # fmt: skip


def _matches(s: Summary, query: ExecutionQuery) -> bool:
    if query.statuses and s.status not in query.statuses:
        return False
    if not (query.since or 0) <= s.submitted_at < (10**9 if query.until is None else query.until):
        return False
    wanted = dataclasses.asdict(query)
    names = ("business", "feature", "code", "family", "workflow_name", "parent_id", "descriptor_md5")
    return all(wanted[n] is None or getattr(s, n) == wanted[n] for n in names)
