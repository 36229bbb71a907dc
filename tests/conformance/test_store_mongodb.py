from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect

from tornflow.errors import ConfigError, RevisionConflict, StorageError, StorageUnavailable
from tornflow.spi.storage import Storage, Target
from tornflow.testing.storage import Place, StorageConformance
from tornflow.testing.storage_scopes import ScopeTests
from tornflow.testing.storage_support import change, creation, key, outcomes, scenario
from tornflow_store_mongodb import MongoStorage, open_storage
from tornflow_store_mongodb.documents import joined

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
