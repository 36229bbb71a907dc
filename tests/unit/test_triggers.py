"""Triggers over real engines in simulated time: every occasion once, under kills, on several nodes, and missed runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.simulation.loop import OUTSIDE, Process, SimulatedLoop
from tests.simulation.node import START_MS, NodeClock
from tests.unit.engines import Shared, add, made
from tests.unit.test_runner import Watched, Work
from tornflow.errors import MalformedField, StorageUnavailable
from tornflow.runtime.engine import Engine
from tornflow.runtime.triggers import installed_types
from tornflow.spi.storage import ExecutionQuery
from tornflow.spi.task_type import Answered, Attempt, Outcome
from tornflow_store_memory import open_storage

FLOW = """
workspace: demo
dagName: tick
type: flow
tasks: [{category: function, name: a, pattern: task_sync, resourceName: 'test://a'}]
"""
EVERY_SECOND = {"cron": "* * * * * *", "time_zone": "UTC"}


@dataclass
class Site:
    """Nodes over one store that can be killed, in simulated time."""

    loop: SimulatedLoop
    inner: Any = field(default_factory=lambda: open_storage("memory://", {}))
    is_shared: bool = False
    answer: Callable[[Attempt], Awaitable[Outcome]] | None = None
    processes: list[Process] = field(default_factory=list)

    async def node(self, name: str = "node", skew_ms: int = 0) -> tuple[Engine, Process]:
        process = Process(name)
        self.processes.append(process)
        store = Shared(self.inner) if self.is_shared else Watched(self.inner)
        engine = made(store, Work(self.answer), clock=NodeClock(self.loop, skew_ms))

        async def start() -> None:
            await engine.start()
            await add(engine, [FLOW])

        await process.run(lambda: self.loop.create_task(start()))
        return engine, process

    async def occasions(self) -> Counter[int]:
        """Return how often each moment, in seconds since the start, has an execution."""
        found: Counter[int] = Counter()
        after = None
        while page := await self.inner.scan(after, 500):
            for record in page:
                if record.idempotency_key:
                    found[(int(record.idempotency_key.rpartition(":")[2]) - START_MS) // 1000] += 1
            after = page[-1].scope.key
        return found

    async def executions(self) -> int:
        return sum((await self.inner.count_executions(ExecutionQuery(feature="tick"))).values())


def play(scenario: Callable[[Site], Awaitable[None]], **fields: Any) -> None:
    loop = SimulatedLoop("triggers")
    site = Site(loop, **fields)
    try:
        loop.run_until_complete(loop.create_task(_as_coroutine(scenario, site), context=OUTSIDE.copy()))
    finally:
        for process in site.processes:
            loop.kill(process)
            loop.bury(process)
        loop.close()
    assert loop.complaints == []


async def _as_coroutine(scenario: Callable[[Site], Awaitable[None]], site: Site) -> None:
    await site.inner.open()
    await scenario(site)


async def add_cron(engine: Engine, process: Process, **body: Any) -> str:
    trigger_id: str = await process.run(
        lambda: asyncio.get_running_loop().create_task(
            engine.triggers.add("cron", "demo:tick", {**EVERY_SECOND, **body})
        )
    )
    return trigger_id


def test_every_second_is_fired_once_under_kills() -> None:
    async def scenario(site: Site) -> None:
        engine, process = await site.node()
        await add_cron(engine, process, missed="all")
        begun = int(site.loop.time())
        for life in range(12):
            await asyncio.sleep(17 + life * 0.37)
            site.loop.kill(process)
            await asyncio.sleep(2 + life * 3)  # down for longer than what is late and no more
            engine, process = await site.node()
        await asyncio.sleep(60.5)
        until = int(site.loop.time())
        assert await site.occasions() == Counter(range(begun + 1, until + 1))

    play(scenario)


def test_two_nodes_with_different_clocks_fire_each_second_once() -> None:
    async def scenario(site: Site) -> None:
        first, one = await site.node("one")
        _, two = await site.node("two", skew_ms=1_700)
        await add_cron(first, one, missed="all")
        begun = int(site.loop.time())
        await asyncio.sleep(40.5)
        site.loop.kill(one)
        await asyncio.sleep(20)
        first, one = await site.node("three")
        site.loop.kill(two)
        await asyncio.sleep(20)
        found = await site.occasions()
        until = max(found)
        assert until >= int(site.loop.time()) - 1
        assert found == Counter(range(begun + 1, until + 1))
        assert await site.executions() == len(found)

    play(scenario, is_shared=True)


@pytest.mark.parametrize(
    ("missed", "fired"),
    [
        # down from 10.5 s to 100 s; what is not later than 10 s is fired all the same
        ("skip", [*range(90, 106)]),
        ("once", [11, *range(90, 106)]),
        ("all", [*range(11, 106)]),
    ],
)
def test_what_was_missed_follows_the_policy(missed: str, fired: list[int]) -> None:
    async def scenario(site: Site) -> None:
        engine, process = await site.node()
        await add_cron(engine, process, missed=missed)
        await asyncio.sleep(10.5 - site.loop.time())
        site.loop.kill(process)
        await asyncio.sleep(100 - site.loop.time())
        await site.node()
        await asyncio.sleep(105.5 - site.loop.time())
        found = await site.occasions()
        assert set(found.values()) == {1}
        late = sorted(second for second in found if second > 10)
        # the first that is no longer missed depends on how long the start took
        assert late in (fired, [one for one in fired if one != 90])

    play(scenario)


def test_a_cancelled_trigger_fires_on_no_node() -> None:
    async def scenario(site: Site) -> None:
        first, one = await site.node("one")
        second, two = await site.node("two")
        trigger_id = await add_cron(first, one)
        await asyncio.sleep(5.2)
        assert [listed.trigger.id for listed in await second.triggers.listed("cron")] == [trigger_id]
        assert await second.triggers.cancel("cron", trigger_id)
        before = await site.executions()
        await asyncio.sleep(20)
        assert await site.executions() == before >= 4
        assert not await second.triggers.cancel("cron", trigger_id)
        assert await first.triggers.listed("cron") == []
        assert await site.inner.list_records("trigger_state") == []

    play(scenario, is_shared=True)


def test_no_execution_is_started_beside_a_running_one_where_overlap_is_skipped() -> None:
    async def slow(_: Attempt) -> Outcome:
        await asyncio.sleep(3.5)
        return Answered({})

    async def scenario(site: Site) -> None:
        engine, process = await site.node()
        await add_cron(engine, process, overlap="skip")
        begun = int(site.loop.time())
        await asyncio.sleep(12.5)
        assert sorted(await site.occasions()) == [begun + 1, begun + 5, begun + 9]

    play(scenario, answer=slow)


def test_a_flow_that_is_not_there_is_shown_and_later_runs_go_on() -> None:
    async def scenario(site: Site) -> None:
        engine, process = await site.node()
        adding = engine.triggers.add("cron", "demo:later", EVERY_SECOND)
        await process.run(lambda: site.loop.create_task(adding))
        await asyncio.sleep(3)
        (listed,) = await engine.triggers.listed("cron")
        assert "cannot find descriptor: demo:later" in listed.state["error"]
        await add(engine, [FLOW.replace("tick", "later")])
        await asyncio.sleep(2)
        (listed,) = await engine.triggers.listed("cron")
        assert "error" not in listed.state
        assert listed.state["execution_id"].startswith("demo:later_c_")

    play(scenario)


def test_a_trigger_waits_while_the_server_takes_nothing() -> None:
    async def scenario(site: Site) -> None:
        engine, process = await site.node()
        await add_cron(engine, process, missed="all")
        begun = int(site.loop.time())
        await asyncio.sleep(3.5)
        engine.service.closed_because = "overload, say"
        await asyncio.sleep(30)
        engine.service.closed_because = ""
        await asyncio.sleep(5)
        until = int(site.loop.time())
        assert await site.occasions() == Counter(range(begun + 1, until + 1))

    play(scenario)


def test_somebody_sets_the_wall_clock() -> None:
    async def scenario(site: Site) -> None:
        engine, process = await site.node()
        await add_cron(engine, process, cron="0 0 * * * *")
        now_s = START_MS / 1000 + site.loop.time()
        to_the_hour_s = 3600 - now_s % 3600
        clock: Any = engine.clock
        clock.skew_ms += int((to_the_hour_s - 2) * 1000)
        await asyncio.sleep(10)
        assert sum((await site.occasions()).values()) == 1
        clock.skew_ms -= 600_000  # back: the hour comes again, and is done
        await asyncio.sleep(700)
        assert sum((await site.occasions()).values()) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "cron: must be a text"),
        ({"cron": 5}, "cron: must be a text"),
        ({"cron": "* * * * * *", "timezone": "UTC"}, "'timezone' is none of cron, context, time_zone"),
        ({"cron": "* * * * * *", "time_zone": "Mars/Base"}, "there is no time zone 'Mars/Base'"),
        ({"cron": "* * * * * *", "missed": "later"}, "missed: must be one of skip, once, all"),
        ({"cron": "* * * * * *", "overlap": "queue"}, "overlap: must be one of allow, skip"),
        ({"cron": "* * * * * *", "context": [1]}, "context: must be an object"),
    ],
)
def test_a_body_that_is_no_cron_trigger_is_refused(body: Any, reason: str) -> None:
    with pytest.raises(MalformedField, match=reason):
        installed_types([])["cron"].checked(body, START_MS)


def test_an_occasion_that_is_reported_again_gives_the_first_execution() -> None:
    async def scenario(site: Site) -> None:
        first, one = await site.node("one")
        second, two = await site.node("two")

        def submit(engine: Engine, process: Process, **key: str) -> Awaitable[str]:
            return process.run(lambda: site.loop.create_task(engine.service.submit("demo:tick", {}, **key)))

        found = await asyncio.gather(
            submit(first, one, trigger="7:1000"),
            submit(second, two, trigger="7:1000"),
            submit(second, two, trigger="7:2000"),
            submit(second, two, idempotency_key="7:1000"),
        )
        assert found[0] == found[1]
        assert len(set(found)) == 3

    play(scenario, is_shared=True)


def test_a_run_whose_state_could_not_be_kept_is_not_made_twice() -> None:
    async def scenario(site: Site) -> None:
        engine, process = await site.node()
        store: Any = engine.storage
        refused = 0

        async def put_record(kind: str, key: str, body: bytes) -> None:
            nonlocal refused
            if kind == "trigger_state" and refused < 3:
                refused += 1
                raise StorageUnavailable("the disk is full, say", is_unknown=True)
            await site.inner.put_record(kind, key, body)

        store.put_record = put_record
        await add_cron(engine, process, missed="all")
        begun = int(site.loop.time())
        await asyncio.sleep(12.5)
        until = int(site.loop.time())
        assert refused == 3
        assert await site.occasions() == Counter(range(begun + 1, until + 1))
        assert await site.executions() == until - begun

    play(scenario)
