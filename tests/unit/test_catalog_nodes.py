"""Catalogs of several nodes on one store: changes hold everywhere when answered, no text in use is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow.errors import DescriptorNotFound, StorageUnavailable
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.catalog_cache import MAX_AGE_MS, NextRead
from tornflow.spi.storage import ExecutionQuery, Record, Summary
from tornflow_store_memory.store import MemoryStorage

SEEDS = st.integers(0, 2**32)
KEPT_MS = 64_000


class Gated(MemoryStorage):
    """A shared store in which each call on records waits for its turn twice: before it takes effect and after.

    ``runs`` are the texts of executions.
    """

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Future[None]] = []
        self.is_open = True
        self.runs: set[str] = set()
        self.business = "demo"
        self.reads = 0

    async def _turn(self) -> None:
        if not self.is_open:
            gate = asyncio.get_running_loop().create_future()
            self.gates.append(gate)
            try:
                await gate
            finally:
                if gate in self.gates:
                    self.gates.remove(gate)

    async def _gated(self, call: Coroutine[Any, Any, Any]) -> Any:
        try:
            await self._turn()
        except asyncio.CancelledError:
            call.close()
            raise
        answer = await call
        await self._turn()
        return answer

    async def put_record(self, kind: str, key: str, body: bytes) -> None:
        await self._gated(super().put_record(kind, key, body))

    async def get_record(self, kind: str, key: str) -> bytes | None:
        self.reads += 1
        found: bytes | None = await self._gated(super().get_record(kind, key))
        return found

    async def delete_record(self, kind: str, key: str) -> bool:
        return bool(await self._gated(super().delete_record(kind, key)))

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        self.reads += 1
        found: Sequence[Record] = await self._gated(super().list_records(kind, prefix, after=after, limit=limit))
        return found

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        await self._turn()
        md5 = query.descriptor_md5
        assert md5 is not None
        return [Summary("one", self.business, "main", "running", 0, descriptor_md5=md5)] if md5 in self.runs else []


@dataclass
class World:
    storage: Gated = field(default_factory=Gated)
    now: int = 1_700_000_000_000
    tokens: Any = field(default_factory=count)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def node(self, **settings: Any) -> Catalog[str]:
        return Catalog(
            self.storage, clock=lambda: self.now, compile=lambda descriptor: descriptor.md5,
            gray=lambda rule, _: rule == "yes", token=lambda: f"t{next(self.tokens)}", unused_texts_kept_ms=KEPT_MS,
            **settings,
        )  # fmt: skip

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    async def settle(self) -> None:
        """Run everything that needs no turn."""
        for _ in range(12):
            await asyncio.sleep(0)

    async def step(self, chance: random.Random) -> bool:
        """Give one of those who wait their turn; return whether somebody waited."""
        await self.settle()
        if not self.storage.gates:
            return False
        chance.choice(self.storage.gates).set_result(None)
        await self.settle()
        return True

    async def finish(self, chance: random.Random) -> None:
        while await self.step(chance):
            pass
        for task in self.tasks:
            if not task.cancelled():
                task.result()
        self.tasks.clear()


def text(mark: int, dag: str = "main") -> str:
    return f"workspace: demo\ndagName: {dag}\ntype: flow\ntasks: [{{category: pass, name: a, title: 't{mark}'}}]\n"


async def add(node: Catalog[str], mark: int) -> str:
    given = await node.add(text(mark), business="demo", feature="main", alias="release")
    return given.rpartition("_")[2]


# --- freshness


@dataclass
class Change:
    began: int
    answered: int | None = None


@given(SEEDS, st.integers(2, 3), st.integers(4, 14))
@settings(max_examples=150, deadline=None)
def test_a_resolve_sees_every_change_that_was_answered_before_it_began(seed: int, nodes: int, operations: int) -> None:
    asyncio.run(_play(random.Random(seed), nodes, operations))


async def _play(chance: random.Random, node_count: int, operations: int) -> None:
    world = World()
    await world.storage.open()
    nodes = [world.node() for _ in range(node_count)]
    changes: dict[str, Change] = {await add(nodes[0], 0): Change(0, 0)}
    for node in nodes:
        await node.resolve("demo:main")
    world.storage.is_open = False
    moments = count(1)

    async def change(mark: int) -> None:
        now = next(moments)
        given = await chance.choice(nodes).add(text(mark), business="demo", feature="main", alias="release")
        changes.setdefault(given.rpartition("_")[2], Change(now)).answered = next(moments)

    async def resolve(node: Catalog[str]) -> None:
        began = next(moments)
        found = await node.resolve("demo:main")
        seen = changes.get(found.md5)
        if seen is None or seen.answered is None:
            return  # of a change that is still under way
        newer = [one for one in changes.values() if one.began > seen.answered and (one.answered or began) < began]
        assert not newer, f"{found.md5} was replaced before this resolve began"

    for mark in range(1, operations + 1):
        world.begin(change(mark) if chance.random() < 0.4 else resolve(chance.choice(nodes)))
        world.now += chance.randrange(3)
        for _ in range(chance.randrange(8)):
            await world.step(chance)
    await world.finish(chance)
    world.storage.is_open = True
    answers = {(await node.resolve("demo:main")).md5 for node in nodes}
    assert len(answers) == 1, "all nodes agree in the end"


async def test_gray_rules_and_second_names_hold_everywhere_when_answered() -> None:
    world = World()
    await world.storage.open()
    ours, theirs = world.node(), world.node()
    stable = await add(ours, 0)
    beta = (await ours.add(text(1), business="demo", feature="main", alias="beta")).rpartition("_")[2]
    assert (await theirs.resolve("demo:main")).md5 == stable
    await ours.set_gray("demo", "main", "beta", "yes")
    assert (await theirs.resolve("demo:main")).md5 == beta
    await theirs.set_gray("demo", "main", "beta", None)
    assert (await ours.resolve("demo:main")).md5 == stable
    with pytest.raises(DescriptorNotFound):
        await theirs.resolve("demo:other")
    other = await ours.add(text(2, dag="home"), business="demo", feature="other", alias="release")
    assert (await theirs.resolve("demo:other")).descriptor_id == other


async def test_a_change_whose_node_died_before_its_answer_is_seen_after_a_while() -> None:
    world = World()
    await world.storage.open()
    ours, theirs = world.node(), world.node()
    old = await add(ours, 0)
    assert (await theirs.resolve("demo:main")).md5 == old
    world.storage.is_open = False

    async def change() -> None:
        await add(ours, 1)

    dying = world.begin(change())
    while len(await MemoryStorage.list_records(world.storage, "version")) < 2:
        await world.step(random.Random(0))
    dying.cancel()
    await world.settle()
    world.storage.is_open = True
    world.now += MAX_AGE_MS
    assert (await theirs.resolve("demo:main")).md5 != old
    assert (await ours.resolve("demo:main")).md5 != old


async def test_a_resolve_on_an_idle_server_costs_one_small_read_and_many_at_once_share_theirs() -> None:
    world = World()
    await world.storage.open()
    node = world.node()
    await add(node, 0)
    await node.resolve("demo:main")
    before = world.storage.reads
    await node.resolve("demo:main")
    assert world.storage.reads - before == 1
    await asyncio.gather(*(node.resolve("demo:main") for _ in range(100)))
    assert world.storage.reads - before == 2


# --- reads that are shared


async def test_who_asks_joins_a_read_that_has_not_begun_never_one_under_way() -> None:
    begun: list[asyncio.Future[int]] = []

    async def read() -> int:
        begun.append(asyncio.get_running_loop().create_future())
        return await begun[-1]

    async def settled() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    shared = NextRead(read)
    first = [asyncio.create_task(shared.get()) for _ in range(3)]
    await settled()
    assert len(begun) == 1
    later = [asyncio.create_task(shared.get()) for _ in range(3)]
    await settled()
    assert len(begun) == 1, "one runs, one waits"
    begun[0].set_result(1)
    assert await asyncio.gather(*first) == [1, 1, 1]
    await settled()
    begun[1].set_result(2)
    assert await asyncio.gather(*later) == [2, 2, 2]
    assert len(begun) == 2


async def test_a_failed_read_fails_for_those_who_shared_it_and_the_next_is_tried() -> None:
    answers: list[Any] = [StorageUnavailable("gone"), 7]

    async def read() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    shared = NextRead(read)
    found = await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)
    assert [type(one) for one in found] == [StorageUnavailable] * 2
    assert await shared.get() == 7


async def test_who_stops_waiting_leaves_the_read_to_the_others() -> None:
    gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    shared = NextRead(lambda: gate)
    first, second = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set_result(3)
    assert await second == 3


# --- texts that nothing uses


async def test_an_unused_text_is_set_aside_first_and_removed_when_it_was_unused_long_enough() -> None:
    world = World()
    await world.storage.open()
    node = world.node(max_versions=1)
    old, used, new = [await add(node, mark) for mark in range(3)]
    world.storage.runs.add(used)
    assert (await node.collect_now()).set_aside == 1
    assert (await node.collect_now()).removed == 0
    world.now += KEPT_MS
    assert (await node.collect_now()).removed == 1
    fresh = world.node()
    assert (await fresh.by_md5("demo", "main", used)).md5 == used
    assert (await fresh.resolve("demo:main")).md5 == new
    for catalog in (fresh, node):
        with pytest.raises(DescriptorNotFound):
            await catalog.resolve(f"demo:main:md5_{old}")
    assert await add(node, 0) == old
    assert (await fresh.resolve("demo:main")).md5 == old


@pytest.mark.parametrize(("business", "set_aside"), [("demo", 0), ("", 1)])
async def test_nothing_goes_while_an_execution_of_an_older_form_does_not_name_its_text(
    business: str, set_aside: int
) -> None:
    world = World()
    await world.storage.open()
    node = world.node(max_versions=1)
    await add(node, 0)
    await add(node, 1)
    world.storage.runs.add("")
    world.storage.business = business  # an instance of a workflow that nobody registered has none
    assert (await node.collect_now()).set_aside == set_aside


async def test_rounds_are_rare_however_often_they_are_asked_for() -> None:
    world = World()
    await world.storage.open()
    node = world.node(max_versions=1)
    await add(node, 0)
    await add(node, 1)
    assert (await node.collect()).set_aside == 0
    before = world.storage.reads
    assert (await node.collect()).set_aside == 0
    assert world.storage.reads == before
    world.now += KEPT_MS // 24
    assert (await node.collect()).set_aside == 1


async def test_who_resolves_while_another_looks_for_the_text_waits_for_what_it_finds() -> None:
    world = World()
    await world.storage.open()
    node, other = world.node(max_versions=1), world.node()
    old, _ = await add(node, 0), await add(node, 1)
    await other.collect_now()
    world.now += KEPT_MS
    assert (await other.collect_now()).removed == 1
    found = await asyncio.gather(*(node.resolve(f"demo:main:md5_{old}") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [DescriptorNotFound] * 3


async def test_a_text_that_is_resolved_while_it_lies_aside_begins_anew() -> None:
    world = World()
    await world.storage.open()
    node = world.node(max_versions=1)
    old, _ = await add(node, 0), await add(node, 1)
    await node.collect_now()
    assert (await world.node().resolve(f"demo:main:md5_{old}")).md5 == old
    world.now += KEPT_MS
    assert (await node.collect_now()).removed == 0
    assert (await world.node().by_md5("demo", "main", old)).md5 == old


async def test_an_execution_that_began_while_its_text_lay_aside_keeps_it() -> None:
    world = World()
    await world.storage.open()
    node = world.node(max_versions=1)
    old, _ = await add(node, 0), await add(node, 1)
    await node.collect_now()
    assert (await node.resolve(f"demo:main:md5_{old}")).md5 == old, "held in memory"
    world.storage.runs.add(old)
    world.now += KEPT_MS
    assert (await node.collect_now()).put_back == 1
    assert (await world.node().by_md5("demo", "main", old)).md5 == old


async def test_a_node_whose_clock_runs_ahead_does_not_make_others_remove_at_once() -> None:
    world = World()
    await world.storage.open()
    node = world.node(max_versions=1)
    old, _ = await add(node, 0), await add(node, 1)
    world.now += 5000
    await node.collect_now()
    world.now -= 5000
    assert (await node.collect_now()).removed == 0
    assert (await world.node().by_md5("demo", "main", old)).md5 == old


@given(SEEDS, st.integers(5, 25))
@settings(max_examples=200, deadline=None)
def test_no_text_that_is_named_or_run_is_ever_lost(seed: int, operations: int) -> None:
    asyncio.run(_collect_and_use(random.Random(seed), operations))


async def _collect_and_use(chance: random.Random, operations: int) -> None:
    """Collectors, additions and starts in every order; collectors die anywhere."""
    world = World()
    storage = world.storage
    await storage.open()
    nodes = [world.node(max_versions=2, cache_size=3) for _ in range(2)]
    collectors: list[asyncio.Task[None]] = []
    known = [await add(nodes[0], 0)]
    storage.is_open = False

    async def change(node: Catalog[str], mark: int) -> None:
        known.append(await add(node, mark))

    async def collect(node: Catalog[str]) -> None:
        await node.collect_now()

    async def start(node: Catalog[str], md5: str) -> None:
        try:
            entry = await node.resolve(chance.choice(["demo:main", f"demo:main:md5_{md5}"]))
        except DescriptorNotFound:
            return
        await storage._turn()
        storage.runs.add(entry.md5)

    for _ in range(operations):
        match chance.randrange(7):
            case 0 | 1:
                world.begin(change(chance.choice(nodes), chance.randrange(5)))
            case 2 | 3:
                world.begin(start(chance.choice(nodes), chance.choice(known)))
            case 4:
                collectors.append(world.begin(collect(chance.choice(nodes))))
            case 5:
                if collectors:
                    collectors.pop(chance.randrange(len(collectors))).cancel()
                elif storage.runs:
                    storage.runs.discard(chance.choice(sorted(storage.runs)))
            case _:
                await world.finish(chance)
                world.now += chance.choice([KEPT_MS // 5, KEPT_MS, 2 * KEPT_MS])
        world.now += chance.randrange(KEPT_MS // 64)
        for _ in range(chance.randrange(12)):
            await world.step(chance)
    await world.finish(chance)
    storage.is_open = True
    fresh = world.node()
    named = {record.key.rpartition(":")[2] for record in await storage.list_records("version")}
    for md5 in named | storage.runs:
        assert (await fresh.by_md5("demo", "main", md5)).md5 == md5
    for version in await fresh.versions("demo", "main", "release"):
        assert (await fresh.resolve(version.descriptor_id)).md5 == version.md5
