from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError

from tornflow.errors import ConfigError, RevisionConflict, StorageError, StorageUnavailable
from tornflow.spi.storage import (
    ExecutionQuery,
    ScopeWrite,
    Storage,
    StoredRecord,
    StoredScope,
    Summary,
    Target,
    Version,
)
from tornflow.testing.storage import Place, StorageConformance
from tornflow.testing.storage_scopes import ScopeTests
from tornflow.testing.storage_support import change, creation, key, outcomes, scenario, summary
from tornflow_store_mongodb import MongoStorage, open_storage
from tornflow_store_mongodb.documents import filter_of, joined, tombstone_of

OPENER = "tornflow_store_mongodb:open_storage"
# PyMongo's asynchronous client forgets a socket when close() meets a connection that is just being made.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
ROOT_ID = joined("shop:order_c_1", "")


@pytest.fixture(scope="module", autouse=True)
def forgotten_sockets() -> Iterator[None]:
    """They are found here, where they are forgiven, and not in the middle of somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def database(mongod: str) -> Iterator[tuple[str, MongoClient[dict[str, Any]]]]:
    name = f"tornflow_test_{uuid.uuid4().hex}"
    with MongoClient[dict[str, Any]](mongod) as client:
        yield name, client
        client.drop_database(name)


@pytest.fixture
def url(mongod: str, database: tuple[str, MongoClient[dict[str, Any]]]) -> str:
    """Of an empty database; it is emptied and not dropped because building its indexes takes longer than most tests."""
    name, client = database
    for collection in client[name].list_collection_names():
        client[name][collection].delete_many({})
    base, question, options = mongod.partition("?")
    return f"{base.rstrip('/')}/{name}{question}{options}"


@pytest.fixture
def storage(url: str) -> Storage:
    return open_storage(url, {})


class MongoFixtures:
    settings: dict[str, Any]

    @pytest.fixture
    def place(self, url: str) -> Place:
        return Place(OPENER, url, self.settings)

    @pytest.fixture
    def storage(self, place: Place) -> Storage:
        return place.open_storage()


class TestMongoStorageWithMotor(MongoFixtures, StorageConformance):
    settings = {"driver": "motor"}


class TestMongoStorageWithPymongo(MongoFixtures, StorageConformance):
    settings = {"driver": "pymongo"}


class TestMongoStorageThatMovesPartsAllTheTime(MongoFixtures, ScopeTests):
    settings = {"driver": "pymongo", "log_entries": 2, "batch_limit": 9}


def test_a_malformed_url_or_setting_is_refused() -> None:
    for url in ("mongodb://", "mongo://h/", "mongodb://h:port/"):
        with pytest.raises(ConfigError):
            open_storage(url, {})
    with pytest.raises(ConfigError, match="motor or pymongo"):
        open_storage("mongodb://h/", {"driver": "sync"})
    with pytest.raises(ConfigError, match="did you mean log_kib"):
        open_storage("mongodb://h/", {"log_kb": 1})


@pytest.mark.parametrize("driver", ["motor", "pymongo"])
def test_a_server_that_is_not_there_is_unavailable_soon(driver: str) -> None:
    storage = open_storage("mongodb://127.0.0.1:9/", {"driver": driver, "server_selection_ms": 100})
    with pytest.raises(StorageUnavailable, match="MongoDB"):
        asyncio.run(storage.open())


@scenario
async def test_a_newer_schema_is_refused(storage: MongoStorage, url: str) -> None:
    newer = {"q": {"_id": "schema"}, "u": {"$set": {"version": 99}}}
    await storage._driver.write({"update": "meta", "updates": [newer]})
    with pytest.raises(ConfigError, match="newer tornflow.*schema 99"):
        await open_storage(url, {}).open()


@scenario
async def test_two_servers_share_one_database(storage: MongoStorage, url: str) -> None:
    other = open_storage(url, {"driver": "pymongo"})
    await other.open()
    try:
        await storage.commit(creation())
        results = await outcomes(storage.commit(change(1, head=b"a")), other.commit(change(1, head=b"b")))
        assert sorted(map(repr, results))[0] == "2" and any(isinstance(r, RevisionConflict) for r in results)
        first, second = await storage.load(key()), await other.load(key())
        assert first == second and first is not None and first.revision == 2
        assert first.head == (b"a" if results[0] == 2 else b"b")
    finally:
        await other.close()


@scenario
async def test_an_interrupted_bulk_is_resolved_by_its_tokens_and_not_guessed(storage: MongoStorage) -> None:
    await outcomes(*(storage.commit(creation(f"e{n}")) for n in range(6)))
    await storage.commit(change(1, "e5", head=b"another was first"))
    send = storage._driver.send
    interruptions = iter(["after", "before"])

    async def flaky(command: Any) -> Any:
        moment = next(interruptions, None) if command.get("update") == "scopes" else None
        if moment != "before":
            answer = await send(command)
        if moment is not None:
            raise AutoReconnect(f"cut {moment} it arrived")
        return answer

    storage._driver.send = flaky  # type: ignore[method-assign]
    results = await outcomes(*(storage.commit(change(1, f"e{n}", head=b"mine", parts={"p": b"1"})) for n in range(6)))
    assert results[:5] == [2] * 5 and isinstance(results[5], RevisionConflict)
    for n in range(5):
        stored = await storage.load(key(f"e{n}"))
        assert stored is not None and (stored.revision, stored.head, stored.parts) == (2, b"mine", {"p": b"1"})


@scenario
async def test_a_write_that_never_gets_through_ends_with_unavailable(url: str, storage: MongoStorage) -> None:
    hasty = open_storage(url, {"retry_ms": 50})
    assert isinstance(hasty, MongoStorage)
    await hasty.open()

    async def cut(command: Any) -> Any:
        raise AutoReconnect("cut")

    hasty._driver.send = cut  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable) as caught:
        await hasty.commit(creation())
    assert caught.value.details["is_unknown"] is True
    await hasty.close()


@scenario
async def test_parts_leave_a_long_log_and_no_document_grows_without_bound(storage: MongoStorage) -> None:
    await storage.commit(creation())
    for n in range(1, 460):
        await storage.commit(change(n, parts={f"p{n % 5}": b"x" * 2_000}))
    await asyncio.gather(*storage._moves.values())
    head = await storage._driver.find_one("scopes", ROOT_ID)
    assert head is not None and head["sp"] is True and len(head["l"]) <= 200
    assert len(await storage._driver.find("parts", {})) == 5


@scenario
async def test_nothing_is_left_of_deleted_and_restarted_executions(storage: MongoStorage) -> None:
    for n in range(260):
        await storage.commit(change(n, parts={"p": b"1"}, summary=creation().summary if n == 0 else None))
    await asyncio.gather(*storage._moves.values())
    await storage.commit(creation(path="loop_0"))
    await storage.commit(change(260, is_fresh=True, summary=creation().summary))
    assert await storage.delete_executions([Target(key().execution_id, "", 261)]) == [True]
    left = [await storage._driver.find(c, {"_id": {"$ne": ""}}) for c in ("scopes", "parts")]
    assert left == [[], []]


@scenario
async def test_what_a_crash_in_a_fresh_start_leaves_is_finished_by_whoever_loads_it(storage: MongoStorage) -> None:
    await storage.commit(creation())
    await storage.commit(creation(path="loop_0", head=b"old"))
    # The state right after the root was replaced and before its old children were removed.
    marked = {"q": {"_id": ROOT_ID}, "u": {"$set": {"z": True}}}
    await storage._driver.write({"update": "scopes", "updates": [marked]})
    assert await storage.load(key()) is not None
    assert await storage.load(key(path="loop_0")) is None
    assert await storage.commit(creation(path="loop_0", head=b"new")) == 1


# --- crashes in a removal or a fresh start: the process ends after so many writes


class Dying:
    """Lets some commands pass, then cuts every connection for good."""

    def __init__(self, storage: MongoStorage, passing: int) -> None:
        self._send = storage._driver.send
        self._left = passing
        storage._driver.send = self  # type: ignore[method-assign]

    async def __call__(self, command: Any) -> Any:
        if self._left == 0:
            raise AutoReconnect("the process has ended")
        self._left -= 1
        return await self._send(command)


async def _large(storage: Storage, life: str) -> None:
    """An execution with moved parts and logs, in its root and in groups; revision 6."""
    await storage.commit(creation("e", life=life, idempotency_key="k", parts={"a": b"old"}, owners=("n",), due_at=1))
    for path in ("loop_0", "loop_1"):
        await storage.commit(creation("e", path, life=life, owners=("n",), due_at=1))
    for n in range(1, 6):
        for path in ("", "loop_0"):
            await storage.commit(change(n, "e", path, life=life, parts={f"p{n}": b"old"}, owners=("n",), due_at=1))
    await asyncio.gather(*storage._moves.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("passing", range(7))
@scenario
async def test_a_removal_that_breaks_anywhere_can_be_finished_by_anybody(
    url: str, storage: MongoStorage, passing: int
) -> None:
    dying = open_storage(url, {"log_entries": 2, "retry_ms": 1})
    assert isinstance(dying, MongoStorage)
    await dying.open()
    await _large(dying, "A")
    Dying(dying, passing)
    (broken,) = await outcomes(dying.delete_executions([Target("e", "A", 6)]))
    await dying.close()
    assert broken == [True] if passing == 6 else broken.is_unknown  # six writes are all it takes
    whole = await storage.load(key("e"))
    if passing == 0:
        assert whole is not None and len(whole.parts) == 6 and await storage.execution_for_key("k") == "e"
        assert list(await storage.delete_executions([Target("e", "A", 6)])) == [True]
    assert await storage.load(key("e")) is None and await storage.summary("e") is None
    assert await storage.execution_for_key("k") is None
    assert list(await storage.delete_executions([Target("e", "A", 6)])) == [False]
    assert await storage.commit(creation("e", life="B", idempotency_key="k", head=b"new")) == 1
    assert [r.scope.key.path for r in await storage.scan(None, 9)] == [""]
    assert list(await storage.owners()) == [] and await storage._driver.find("parts", {}) == []


@scenario
async def test_an_id_is_free_when_its_removal_ends_between_the_refusal_and_the_look(storage: MongoStorage) -> None:
    await storage.commit(creation("e", life="A", idempotency_key="k"))
    driver: Any = storage._driver
    real = driver.find_one

    async def late(*arguments: Any) -> Any:
        driver.find_one = real
        assert list(await storage.delete_executions([Target("e", "A", 1)])) == [True]
        return await real(*arguments)

    driver.find_one = late
    assert await storage.commit(creation("e", life="B")) == 1


@pytest.mark.parametrize("passing", range(1, 6))
@scenario
async def test_what_a_broken_removal_left_is_removed_by_the_next_one(
    url: str, storage: MongoStorage, passing: int
) -> None:
    dying = open_storage(url, {"log_entries": 2, "retry_ms": 1})
    assert isinstance(dying, MongoStorage)
    await dying.open()
    await _large(dying, "A")
    Dying(dying, passing)
    await outcomes(dying.delete_executions([Target("e", "A", 6)]))
    await dying.close()
    await storage.delete_executions([Target("other", "A", 1)])
    left = [await storage._driver.find(c, {"_id": {"$ne": ""}}) for c in ("scopes", "parts")]
    assert left == [[], []]


@pytest.mark.parametrize("passing", range(7))
@scenario
async def test_a_fresh_start_that_breaks_anywhere_has_happened_or_not(
    url: str, storage: MongoStorage, passing: int
) -> None:
    dying = open_storage(url, {"log_entries": 2, "retry_ms": 1})
    assert isinstance(dying, MongoStorage)
    await dying.open()
    await _large(dying, "A")
    Dying(dying, passing)
    fresh = change(6, "e", life="B", replaces="A", is_fresh=True, summary=summary("e"), parts={"b": b"new"})
    (result,) = await outcomes(dying.commit(fresh))
    await dying.close()
    assert result == 7 if passing == 6 else result.is_unknown
    stored = await storage.load(key("e"))
    assert stored is not None
    if passing == 0:
        assert stored.life == "A" and len(stored.parts) == 6
        assert len(await storage.scan(None, 9)) == 3
        assert await storage.commit(fresh) == 7
        stored = await storage.load(key("e"))
    assert stored == StoredScope(key("e"), 7, b"{}", {"b": b"new"}, life="B")
    assert [r.scope.key.path for r in await storage.scan(None, 9)] == [""]
    assert await storage._driver.find("parts", {}) == []
    assert await storage.commit(creation("e", "loop_0", life="B")) == 1


@scenario
async def test_nobody_sees_a_scope_without_its_parts_while_it_is_removed(url: str, storage: MongoStorage) -> None:
    other = open_storage(url, {"log_entries": 2})
    assert isinstance(other, MongoStorage)
    await other.open()
    await _large(other, "A")
    send, seen = other._driver.send, []

    async def look(command: Any) -> Any:
        answer = await send(command)
        for path in ("", "loop_0", "loop_1"):
            stored = await storage.load(key("e", path))
            assert stored is None or len(stored.parts) == {"loop_0": 5, "loop_1": 0}[path]
            seen.append((path, stored is None))
        return answer

    other._driver.send = look  # type: ignore[method-assign]
    assert list(await other.delete_executions([Target("e", "A", 6)])) == [True]
    assert seen[:2] == [("", True), ("loop_0", False)] and seen[-1] == ("loop_1", True)
    await other.close()


@pytest.mark.parametrize("has_moved_parts", [False, True])
@scenario
async def test_a_stray_that_gets_a_new_life_in_the_last_moment_stays(
    url: str, storage: MongoStorage, has_moved_parts: bool
) -> None:
    await storage.commit(creation("e", life="B"))
    await storage.commit(creation("e", "loop_0", life="A", parts={"a": b"1"}))
    if has_moved_parts:
        await storage._move_out(joined("e", "loop_0"))
    other = open_storage(url, {})
    assert isinstance(other, MongoStorage)
    await other.open()
    send, replacing = other._driver.send, [change(1, "e", "loop_0", life="B", replaces="A")]

    async def late(command: Any) -> Any:
        if replacing:
            await storage.commit(replacing.pop())
        return await send(command)

    other._driver.send = late  # type: ignore[method-assign]
    await other.delete_strays("e", "A")
    assert not replacing
    assert await storage.load(key("e", "loop_0")) == StoredScope(key("e", "loop_0"), 2, b"{}", {"a": b"1"}, "B")
    await other.close()


@scenario
async def test_a_tombstone_is_nothing_to_every_reader(storage: MongoStorage) -> None:
    await storage.commit(creation("e", life="A", idempotency_key="k", owners=("n",), due_at=1, parts={"a": b"1"}))
    await storage._driver.write({"update": "scopes", "updates": [tombstone_of(Target("e", "A", 1), 7)]})
    assert await storage.load(key("e")) is None and await storage.version(key("e")) is None
    assert await storage.summary("e") is None and await storage.execution_for_key("k") is None
    assert not await storage.executions(ExecutionQuery()) and not await storage.scan(None, 9)
    assert not await storage.due(9, 9) and not await storage.owners() and not await storage.owned("n", 9)
    for late in (change(1, "e", life="A"), change(1, "e", life="B", replaces="A", is_fresh=True, summary=summary("e"))):
        with pytest.raises(RevisionConflict):
            await storage.commit(late)
    await storage.restore([StoredRecord(StoredScope(key("e"), 5, b"", {}, "B"), summary("e"), "k")])
    assert await storage.version(key("e")) == Version("B", 5)


# --- what is unknown


@scenario
async def test_a_result_that_cannot_be_looked_up_is_unknown(url: str, storage: MongoStorage) -> None:
    await storage.commit(creation("e"))
    send, find_one = storage._driver.send, storage._driver.find_one
    cuts = iter([True])

    async def cut_once(command: Any) -> Any:
        answer = await send(command)
        if next(cuts, False):
            raise AutoReconnect("cut after it arrived")
        return answer

    async def no_look(*args: Any) -> Any:
        raise StorageUnavailable("no primary")

    storage._driver.send, storage._driver.find_one = cut_once, no_look  # type: ignore[method-assign,assignment]
    with pytest.raises(StorageUnavailable) as caught:
        await storage.commit(change(1, "e"))
    storage._driver.send, storage._driver.find_one = send, find_one  # type: ignore[method-assign]
    assert caught.value.is_unknown and await storage.version(key("e")) == Version("", 2)


@pytest.mark.parametrize(("error", "is_unknown"), [(AutoReconnect, True), (ServerSelectionTimeoutError, False)])
@scenario
async def test_plain_writes_say_whether_they_may_have_arrived(
    url: str, storage: MongoStorage, error: type[Exception], is_unknown: bool
) -> None:
    hasty = open_storage(url, {"retry_ms": 1})
    assert isinstance(hasty, MongoStorage)
    await hasty.open()

    async def cut(command: Any) -> Any:
        raise error("cut")

    hasty._driver.send = cut  # type: ignore[method-assign]
    writes = [hasty.put_record("k", "a", b""), hasty.delete_record("k", "a"), hasty.ping(), hasty.commit(creation())]
    for result in await outcomes(*writes, hasty.delete_executions([Target("e", "", 1)])):
        assert isinstance(result, StorageUnavailable) and result.is_unknown is is_unknown
    await hasty.close()


# --- schema


@scenario
async def test_a_database_of_schema_1_is_taken_over_as_it_is(
    url: str, storage: MongoStorage, database: tuple[str, MongoClient[dict[str, Any]]]
) -> None:
    await storage.close()
    name, client = database
    db = client[name]
    about = {"e": "e", "b": "shop", "f": "order", "st": "running", "at": 5, "fin": None, "exp": None, "c": None,
             "fam": "rill", "w": None, "p": None}  # fmt: skip
    common = {"d": 7, "h": {"2": 1}, "l": [{"r": 1, "p": [["a", b"1"]]}]}
    db.scopes.insert_many([
        {"_id": joined("e", ""), "r": 2, "g": 11, "b": b"root", "o": "n1", "s": about, "k": "key", **common},
        {"_id": joined("e", "loop_0"), "r": 1, "g": 12, "b": b"group", "o": None, **common},
    ])  # fmt: skip
    db.parts.insert_many([{"_id": f"{g}:a", "r": 1, "v": b"1"} for g in (13, 14)])
    db.graves.insert_one({"_id": "x", "scope": joined("gone", ""), "g": 13, "at": 1})
    db.scopes.create_index([("o", 1)], name="owner", partialFilterExpression={"o": {"$gt": ""}})
    db.meta.update_one({"_id": "schema"}, {"$set": {"version": 1}}, upsert=True)
    servers = [open_storage(url, {"driver": "pymongo"}) for _ in range(3)]
    await asyncio.gather(*(server.open() for server in servers))
    try:
        first, second, third = servers
        assert await first.load(key("e")) == StoredScope(key("e"), 2, b"root", {"a": b"1"}, "", ("n1",), 7)
        assert await first.version(key("e", "loop_0")) == Version("", 1)
        assert list(await first.owners()) == ["n1"] and list(await first.owned("n1", 9)) == [key("e")]
        (found,) = await second.executions(ExecutionQuery(descriptor_md5=""))
        assert found == Summary("e", "shop", "order", "running", 5)
        assert await second.commit(ScopeWrite(key("e"), 2, b"new", life="A", replaces="")) == 3
        with pytest.raises(RevisionConflict):
            await third.commit(change(3, "e"))
        assert await third.commit(change(1, "e", "loop_0", owners=("a", "b"))) == 2
        assert sorted(await third.owners()) == ["a", "b"]
        assert [row["_id"] for row in db.parts.find()] == ["14:a"]
        assert "owner" not in db.scopes.index_information() and "graves" not in db.list_collection_names()
        assert list(await third.delete_executions([Target("e", "A", 3)])) == [True]
    finally:
        await asyncio.gather(*(server.close() for server in servers))


@scenario
async def test_questions_of_every_day_use_indexes(
    storage: MongoStorage, database: tuple[str, MongoClient[dict[str, Any]]]
) -> None:
    await outcomes(*(storage.commit(creation(f"e{n}", owners=("n", "m")[: n % 3])) for n in range(9)))
    name, client = database
    filters = [
        ({"find": "scopes", "filter": {"o": "n", "_id": {"$gt": "2:e1"}}, "sort": {"_id": 1}}, "owners"),
        ({"distinct": "scopes", "key": "o", "query": {"o": {"$gt": ""}}}, "owners"),
        ({"find": "scopes", "filter": filter_of(ExecutionQuery(descriptor_md5="m"))}, "descriptor"),
        ({"find": "scopes", "filter": {"z": True}}, "purge"),
    ]
    for question, index in filters:
        plan = client[name].command({"explain": question, "verbosity": "queryPlanner"})["queryPlanner"]["winningPlan"]
        assert f"'indexName': '{index}'" in str(plan), (question, plan)
        assert "COLLSCAN" not in str(plan) and "'stage': 'SORT'" not in str(plan), (question, plan)


@scenario
async def test_a_text_that_is_not_unicode_and_a_giant_harm_no_other_write(storage: MongoStorage) -> None:
    giant = creation("giant", head=b"x" * (13 << 20))
    results = await outcomes(*(storage.commit(w) for w in (creation("a"), creation("b\ud800"), giant, creation("c"))))
    assert results[0] == results[3] == 1
    assert all(isinstance(r, StorageError) and not isinstance(r, StorageUnavailable) for r in results[1:3])
    assert "limit" in str(results[2])


@scenario
async def test_a_log_that_fills_the_document_makes_room_by_itself(url: str, storage: MongoStorage) -> None:
    lazy = open_storage(url, {"log_kib": 1 << 20, "log_entries": 1 << 20})
    await lazy.open()
    try:
        await lazy.commit(creation())
        for n in range(1, 7):
            assert await lazy.commit(change(n, parts={f"p{n}": b"x" * (4 << 20)})) == n + 1
        stored = await lazy.load(key())
        assert stored is not None and sorted(stored.parts) == [f"p{n}" for n in range(1, 7)]
    finally:
        await lazy.close()
