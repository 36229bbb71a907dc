"""Storing, resolving and naming descriptors, on the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tornflow.descriptors import DescriptorLimits
from tornflow.errors import (
    DescriptorIdMalformed,
    DescriptorNotFound,
    InvalidDescriptor,
    LimitExceeded,
    MalformedField,
    NameMismatch,
    NameRule,
    StorageError,
    StorageUnavailable,
)
from tornflow.model.descriptor import Descriptor
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.catalog_cache import MAX_AGE_MS
from tornflow.spi.storage import Record
from tornflow_store_memory.store import MemoryStorage


class SharedStorage(MemoryStorage):
    """Counts reads of version lines; says that others may write too."""

    is_shared = True
    lists = 0

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        self.lists += kind == "version"
        await asyncio.sleep(0)
        return await super().list_records(kind, prefix, after=after, limit=limit)


class FailingStorage(MemoryStorage):
    """Takes ``writes_left`` more record writes, then is gone."""

    writes_left = 10**9

    async def put_record(self, kind: str, key: str, body: bytes) -> None:
        if self.writes_left <= 0:
            raise StorageUnavailable("gone")
        self.writes_left -= 1
        await super().put_record(kind, key, body)


@dataclass
class Clock:
    ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@dataclass
class House:
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    clock: Clock = field(default_factory=Clock)
    compiled: list[str] = field(default_factory=list)

    def catalog(self, **settings: Any) -> Catalog[str]:
        return Catalog(self.storage, clock=self.clock, compile=self._compile, gray=_is_level, **settings)

    def _compile(self, descriptor: Descriptor) -> str:
        self.compiled.append(descriptor.md5)
        return f"compiled {descriptor.md5}"


def _is_level(rule: str, variables: Mapping[str, Any]) -> bool:
    """``level N``: the input's level; ``uid N``: the caller."""
    word, _, number = rule.partition(" ")
    found = variables["uid"] if word == "uid" else variables["input"].get("level")
    return bool(found == int(number))


def text(mark: object = "", workspace: str = "demo", dag: str = "main") -> str:
    head = f"workspace: {workspace}\ndagName: {dag}\ntype: flow\n"
    return f"{head}tasks: [{{category: pass, name: a, title: 't{mark}'}}]\n"


async def opened(storage: MemoryStorage | None = None) -> House:
    house = House(storage or MemoryStorage())
    await house.storage.open()
    return house


async def add(catalog: Catalog[str], mark: object = "", alias: str = "release") -> str:
    return await catalog.add(text(mark), business="demo", feature="main", alias=alias)


async def test_a_stored_descriptor_is_found_by_every_form_of_its_id() -> None:
    catalog = (await opened()).catalog()
    descriptor_id = await add(catalog)
    for given in (descriptor_id, "demo:main", " demo:main: ", "demo:main:release", "demo:main:release:more"):
        entry = await catalog.resolve(given)
        assert entry.descriptor_id == descriptor_id
        assert entry.compiled == f"compiled {entry.md5}"
    assert descriptor_id.startswith("demo:main:md5_")


@pytest.mark.parametrize("given", ["", "demo", "demo:", ":main", "de_mo:main", "demo:ma in", "x" * 500 + ":y"])
async def test_a_malformed_id_is_named_in_the_error(given: str) -> None:
    catalog = (await opened()).catalog()
    with pytest.raises(DescriptorIdMalformed, match="^dagDescriptorId:.* format error$") as caught:
        await catalog.resolve(given)
    assert given[:400] in caught.value.message


async def test_what_is_not_there_is_not_found() -> None:
    catalog = (await opened()).catalog()
    descriptor_id = await add(catalog)
    md5 = descriptor_id.rpartition(":")[2]
    expected = {
        "demo:other": "cannot find descriptor: demo:other:release",
        "demo:main:preview": "cannot find descriptor: demo:main:preview",
        "demo:main:md5_0f3a": "get descriptor:demo:main:md5_0f3a fails",
        "demo:main:md5_": "get descriptor:demo:main:md5_ fails",
        f"demo:other:{md5}": f"get descriptor:demo:other:{md5} fails",
    }
    for given, message in expected.items():
        with pytest.raises(DescriptorNotFound) as caught:
            await catalog.resolve(given)
        assert caught.value.message == message
    with pytest.raises(NameRule, match="error data format"):
        await catalog.resolve("demo:main:pre_view")


async def test_the_newest_version_of_an_alias_counts_and_adding_again_makes_newest() -> None:
    house = await opened()
    catalog = house.catalog()
    one, two = await add(catalog, 1), await add(catalog, 2)
    three = await add(catalog, 3, alias="preview")
    assert (await catalog.resolve("demo:main")).descriptor_id == two
    assert (await catalog.resolve("demo:main:preview")).descriptor_id == three
    house.clock.ms += 50
    assert await add(catalog, 1) == one
    assert (await catalog.resolve("demo:main")).descriptor_id == one
    versions = await catalog.versions("demo", "main", "release")
    assert [version.descriptor_id for version in versions] == [one, two]
    assert versions[0].created_at == house.clock.ms


async def test_versions_never_tie_even_when_the_clock_stands_or_goes_back() -> None:
    house = await opened()
    ids = []
    for mark in range(5):
        ids.append(await add(house.catalog(), mark))  # a new process each time
        house.clock.ms -= 10
    versions = await house.catalog().versions("demo", "main", "release")
    assert [version.descriptor_id for version in versions] == ids[::-1]
    assert len({version.created_at for version in versions}) == 5


async def test_versions_added_at_once_are_all_kept() -> None:
    house = await opened(SharedStorage())
    catalog = house.catalog()
    ids = await asyncio.gather(*(add(catalog, mark % 4) for mark in range(12)))
    versions = await catalog.versions("demo", "main", "release")
    assert sorted(version.descriptor_id for version in versions) == sorted(set(ids))
    assert (await catalog.resolve("demo:main")).descriptor_id == versions[0].descriptor_id


async def test_an_alias_keeps_so_many_versions_and_texts_outlive_them() -> None:
    house = await opened()
    catalog = house.catalog(max_versions=3, cache_size=2)
    ids = [await add(catalog, mark) for mark in range(5)]
    versions = await catalog.versions("demo", "main", "release")
    assert [version.descriptor_id for version in versions] == ids[:1:-1]
    assert (await catalog.resolve(ids[0])).descriptor_id == ids[0]
    assert (await catalog.by_md5("demo", "main", ids[0].rpartition("_")[2])).dag_name == "main"


async def test_what_is_held_in_memory_is_bounded_and_comes_back_from_the_store() -> None:
    house = await opened()
    catalog = house.catalog(cache_size=2)
    md5s = [(await add(catalog, mark)).rpartition("_")[2] for mark in range(3)]
    assert catalog.cached(md5s[0]) is None
    held = catalog.cached(md5s[1])
    assert held is not None
    assert await catalog.by_md5("demo", "main", md5s[1]) is held
    assert house.compiled == md5s
    again = await catalog.by_md5("demo", "main", md5s[0])
    assert (again.md5, house.compiled[3:]) == (md5s[0], [md5s[0]])
    assert catalog.cached(md5s[2]) is None


async def test_many_executions_that_wait_for_one_text_compile_it_once() -> None:
    house = await opened(SharedStorage())
    md5 = (await add(house.catalog())).rpartition("_")[2]
    house.compiled.clear()
    catalog = house.catalog()
    entries = await asyncio.gather(*(catalog.by_md5("demo", "main", md5) for _ in range(20)))
    assert house.compiled == [md5]
    assert len({id(entry) for entry in entries}) == 1


async def test_a_restart_finds_everything_again() -> None:
    house = await opened()
    descriptor_id = await add(house.catalog())
    entry = await house.catalog().resolve("demo:main")
    assert entry.descriptor_id == descriptor_id
    assert entry.descriptor.tasks[0].name == "a"


@pytest.mark.parametrize("writes", range(6))
async def test_a_crash_while_storing_breaks_nothing_and_storing_again_mends_it(writes: int) -> None:
    storage = FailingStorage()
    house = await opened(storage)
    old = await add(house.catalog(), "old")
    storage.writes_left = writes
    text_new = text("new", dag="other")
    try:
        await house.catalog().add(text_new, business="demo", feature="second", alias="preview")
        assert writes >= 5
    except StorageUnavailable:
        assert writes < 5
    storage.writes_left = 100
    catalog = house.catalog()
    assert (await catalog.resolve("demo:main")).descriptor_id == old
    for version in await catalog.versions("demo", "other", "preview"):
        assert (await catalog.resolve(version.descriptor_id)).md5 == version.md5
    new = await catalog.add(text_new, business="demo", feature="second", alias="preview")
    assert (await catalog.resolve("demo:second:preview")).descriptor_id == new
    assert len(await catalog.versions("demo", "other", "preview")) == 1
    assert await catalog.features("demo") == ["main", "other"]


async def test_nothing_is_stored_of_what_is_refused() -> None:
    def refuse(descriptor: Descriptor) -> str:
        raise LimitExceeded("too much")

    house = await opened()
    catalog = house.catalog(strict_names=True, limits=DescriptorLimits(size_bytes=300))
    calls: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: catalog.add("x" * 301, business="-", feature="", alias=""), InvalidDescriptor, "exceed the limit"),
        (lambda: catalog.add("nonsense", business="demo", feature="main", alias="a-b"), NameRule, "error data format"),
        (lambda: catalog.add("nonsense", business="demo", feature="main", alias="a"), InvalidDescriptor, "mapping"),
        (lambda: catalog.add(text(), business="demo", feature="other", alias="a"), NameMismatch, "name not match"),
        (lambda: catalog.add(text(), business="other", feature="main", alias="a"), NameMismatch, "name not match"),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=message):
            await call()
    refusing: Catalog[str] = Catalog(house.storage, clock=house.clock, compile=refuse, gray=_is_level)
    with pytest.raises(LimitExceeded):
        await add(refusing)
    for kind in ("descriptor", "version", "business", "feature", "alias", "second_name"):
        assert list(await house.storage.list_records(kind)) == []


async def test_the_published_example_runs_as_printed() -> None:
    catalog = (await opened()).catalog()
    given = text(workspace="demoFlowTest", dag="demoTest")
    descriptor_id = await catalog.add(given, business="demoFlowTest", feature="demoFlowTest", alias="release")
    assert descriptor_id.startswith("demoFlowTest:demoTest:md5_")
    md5 = descriptor_id.rpartition(":")[2]
    for form in ("demoFlowTest:demoTest", "demoFlowTest:demoFlowTest", "demoFlowTest:demoFlowTest:release",
                 f"demoFlowTest:demoFlowTest:{md5}", descriptor_id):
        assert (await catalog.resolve(form)).descriptor_id == descriptor_id
    assert len(await catalog.versions("demoFlowTest", "demoFlowTest", "release")) == 1
    assert await catalog.aliases("demoFlowTest", "demoFlowTest") == ["release"]
    assert await catalog.features("demoFlowTest") == ["demoTest"]


async def test_a_second_name_never_hides_a_flow_of_that_name() -> None:
    catalog = (await opened()).catalog()
    own = await add(catalog)
    with pytest.raises(NameMismatch):
        await catalog.add(text(dag="other"), business="demo", feature="main", alias="release")
    other = await catalog.add(text(dag="other"), business="demo", feature="late", alias="release")
    assert (await catalog.resolve("demo:late")).descriptor_id == other
    late = await catalog.add(text(dag="late"), business="demo", feature="late", alias="release")
    assert (await catalog.resolve("demo:late")).descriptor_id == late
    assert (await catalog.resolve("demo:main")).descriptor_id == own


async def test_a_library_without_names_cannot_be_stored() -> None:
    catalog = (await opened()).catalog()
    library = "type: resource\nresources: [{name: a, category: X}]\n"
    with pytest.raises(NameMismatch):
        await catalog.add(library, business="demo", feature="lib", alias="release")
    named = "workspace: demo\ndagName: lib\n" + library
    assert (await catalog.add(named, business="demo", feature="lib", alias="release")).startswith("demo:lib:md5_")
    assert catalog.names_in(named) == ("demo", "lib")


async def test_gray_rules_choose_the_alias_in_order_of_alias() -> None:
    catalog = (await opened()).catalog()
    stable, beta = await add(catalog, "stable"), await add(catalog, "beta", alias="beta")
    await catalog.set_gray("demo", "main", "gamma", "level 3")
    await catalog.set_gray("demo", "main", "beta", "level 3")
    assert await catalog.gray_rules("demo", "main") == {"beta": "level 3", "gamma": "level 3"}
    assert await catalog.aliases("demo", "main") == ["beta", "gamma", "release"]
    assert (await catalog.resolve("demo:main", input={"level": 3})).descriptor_id == beta
    assert (await catalog.resolve("demo:main", input={"level": 1})).descriptor_id == stable
    assert (await catalog.resolve("demo:main:release", input={"level": 3})).descriptor_id == stable
    await catalog.set_gray("demo", "main", "beta", "uid 7")
    assert (await catalog.resolve("demo:main", uid=7)).descriptor_id == beta
    assert (await catalog.resolve("demo:main")).descriptor_id == stable
    await catalog.set_gray("demo", "main", "gamma", None)
    await catalog.set_gray("demo", "main", "beta", None)
    await catalog.set_gray("demo", "main", "beta", None)
    assert (await catalog.resolve("demo:main", uid=7)).descriptor_id == stable


async def test_gray_rules_are_checked() -> None:
    catalog = (await opened()).catalog()
    with pytest.raises(MalformedField, match="gray_rule can not be empty when add gray"):
        await catalog.set_gray("demo", "main", "beta", " ")
    with pytest.raises(LimitExceeded, match="10000"):
        await catalog.set_gray("demo", "main", "beta", "x" * 10_001)
    with pytest.raises(NameRule):
        await catalog.set_gray("demo", "main", "be ta", "x")
    assert await catalog.businesses() == []


async def test_names_are_added_with_those_above_and_removed_alone() -> None:
    catalog = (await opened()).catalog()
    await catalog.modify_alias("b2", "f1", "a1", add=True)
    await catalog.modify_feature("b1", "f2", add=True)
    await catalog.modify_business("b3", add=True)
    assert await catalog.businesses() == ["b1", "b2", "b3"]
    assert (await catalog.features("b2"), await catalog.aliases("b2", "f1")) == (["f1"], ["a1"])
    await catalog.modify_feature("b2", "f1", add=False)
    await catalog.modify_feature("b2", "f1", add=False)
    assert (await catalog.features("b2"), await catalog.aliases("b2", "f1")) == ([], ["a1"])
    with pytest.raises(NameRule) as caught:
        await catalog.modify_alias("b1", "f1", "a:b", add=True)
    assert caught.value.details["field"] == "alias"


async def test_reading_with_bad_names_finds_nothing() -> None:
    catalog = (await opened()).catalog()
    await add(catalog)
    assert list(await catalog.versions("demo", "main:release", "x")) == []
    assert list(await catalog.features("de:mo")) == []
    assert list(await catalog.aliases("", "main")) == []
    assert dict(await catalog.gray_rules("demo", "*")) == {}


async def test_names_that_begin_alike_stay_apart() -> None:
    catalog = (await opened()).catalog()
    await add(catalog)
    await catalog.add(text(dag="main2"), business="demo", feature="main2", alias="release2")
    assert await catalog.features("demo") == ["main", "main2"]
    assert await catalog.aliases("demo", "main") == ["release"]
    assert len(await catalog.versions("demo", "main", "release")) == 1


async def test_every_line_with_a_version_is_listed_with_its_first_and_last_time() -> None:
    house = await opened()
    catalog = house.catalog()
    start = house.clock.ms
    await add(catalog, 1)
    house.clock.ms += 10
    await add(catalog, 2, alias="preview")
    house.clock.ms += 10
    newest = await add(catalog, 3)
    await catalog.modify_alias("demo", "main", "empty", add=True)
    found = [(one.alias, one.descriptor_id, one.created_at - start, one.updated_at - start)
             for one in await catalog.descriptor_ids()]
    assert [one[0] for one in found] == ["preview", "release"]
    assert found[1] == ("release", newest, 0, 20)
    await catalog.modify_business("demo", add=False)
    assert list(await catalog.descriptor_ids()) == []


async def test_another_node_sees_a_new_version_when_it_was_answered() -> None:
    storage = SharedStorage()
    house = await opened(storage)
    ours, theirs = house.catalog(), house.catalog()
    for mark in range(3):
        given = await add(ours, mark)
        for _ in range(2):
            before = storage.lists
            assert (await theirs.resolve("demo:main")).descriptor_id == given
            assert (await ours.resolve("demo:main")).descriptor_id == given
        assert storage.lists == before, "what nobody has changed is read once"


async def test_a_store_of_our_own_is_asked_for_no_epoch() -> None:
    house = await opened()
    catalog = house.catalog()
    await add(catalog)
    await catalog.resolve("demo:main")
    assert list(await house.storage.list_records("epoch")) == []


async def test_a_read_that_a_change_overtook_is_not_remembered() -> None:
    class Slow(MemoryStorage):
        gate: asyncio.Event | None = None

        async def list_records(
            self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
        ) -> Sequence[Record]:
            found = await super().list_records(kind, prefix, after=after, limit=limit)
            if kind == "gray" and self.gate is not None:
                gate, self.gate = self.gate, None
                await gate.wait()
            return found

    storage = Slow()
    house = await opened(storage)
    catalog = house.catalog()
    await add(catalog, 1)
    storage.gate = gate = asyncio.Event()
    reader = asyncio.create_task(catalog.gray_rules("demo", "main"))
    async with asyncio.timeout(5):
        while storage.gate is not None:
            await asyncio.sleep(0)
    await catalog.set_gray("demo", "main", "release", "level 1")
    gate.set()
    await reader
    assert await catalog.gray_rules("demo", "main") == {"release": "level 1"}


async def test_all_who_ask_at_once_share_one_read() -> None:
    storage = SharedStorage()
    house = await opened(storage)
    catalog = house.catalog()
    descriptor_id = await add(catalog)

    async def reads_of(askers: int) -> int:
        house.clock.ms += MAX_AGE_MS
        before = storage.lists
        found = await asyncio.gather(*(catalog.resolve("demo:main") for _ in range(askers)))
        assert {entry.descriptor_id for entry in found} == {descriptor_id}
        return storage.lists - before

    alone = await reads_of(1)
    assert await reads_of(100) == alone


async def test_who_stops_waiting_does_not_take_the_answer_from_the_others() -> None:
    house = await opened(SharedStorage())
    catalog = house.catalog()
    descriptor_id = await add(catalog)
    first, second = (asyncio.create_task(catalog.resolve("demo:main")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).descriptor_id == descriptor_id
    assert first.cancelled()


async def test_a_shared_read_that_fails_fails_for_all_and_is_tried_again_by_the_next() -> None:
    class Failing(SharedStorage):
        is_gone = False

        async def list_records(
            self, kind: str, prefix: str = "", *, after: str = "", limit: int = 1000
        ) -> Sequence[Record]:
            await asyncio.sleep(0)
            if self.is_gone:
                raise StorageUnavailable("gone")
            return await super().list_records(kind, prefix, after=after, limit=limit)

    storage = Failing()
    house = await opened(storage)
    catalog = house.catalog()
    descriptor_id = await add(catalog)
    storage.is_gone = True
    found = await asyncio.gather(*(catalog.resolve("demo:main") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [StorageUnavailable] * 3
    storage.is_gone = False
    assert (await catalog.resolve("demo:main")).descriptor_id == descriptor_id


async def test_a_damaged_text_is_an_error_of_the_store() -> None:
    house = await opened()
    await house.storage.put_record("descriptor", "abc", b"nonsense")
    with pytest.raises(StorageError, match="abc is damaged"):
        await house.catalog().by_md5("demo", "main", "abc")
