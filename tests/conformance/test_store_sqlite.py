from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tornflow.errors import ConfigError, StorageError, StorageUnavailable
from tornflow.spi.storage import Storage
from tornflow.testing.storage import Place, StorageConformance
from tornflow.testing.storage_support import change, creation, key, outcomes, scenario
from tornflow_store_sqlite import open_storage

OPENER = "tornflow_store_sqlite:open_storage"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "not yet there" / "t.db"


@pytest.fixture
def storage(path: Path) -> Storage:
    return open_storage(f"sqlite:///{path}", {})


class TestSqliteStorage(StorageConformance):
    @pytest.fixture
    def place(self, path: Path) -> Place:
        return Place(OPENER, f"sqlite:///{path}")

    @pytest.fixture
    def storage(self, place: Place) -> Storage:
        return place.open_storage()


class TestSqliteStorageThatForgetsRevisions(StorageConformance):
    """The revision cache is only a cache: nearly nothing fits into it here, and batches are tiny."""

    @pytest.fixture
    def storage(self, path: Path) -> Storage:
        return open_storage(f"sqlite:///{path}", {"revision_cache": 3, "batch_limit": 7})


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://t.db", "sqlite:///dir/", "file:///t.db", "sqlite:///t.db?a=1"]
)
def test_a_malformed_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:///relative.db"):
        open_storage(url, {})


def test_relative_absolute_and_escaped_paths() -> None:
    paths = [open_storage(u, {}).path for u in ("sqlite:///a/b.db", "sqlite:////a/b.db", "sqlite:////a%20b.db")]  # type: ignore[attr-defined]
    assert [str(p) for p in paths] == ["a/b.db", "/a/b.db", "/a b.db"]


def test_an_unknown_setting_names_the_nearest_one_and_a_bad_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_limit"):
        open_storage("sqlite:///t.db", {"batchlimit": 3})
    with pytest.raises(ConfigError, match=r"storage\.sqlite\.batch_limit: must be a whole number"):
        open_storage("sqlite:///t.db", {"batch_limit": "many"})


@scenario
async def test_a_second_server_on_one_file_is_refused_and_told_what_to_do(storage: Storage, path: Path) -> None:
    second = open_storage(f"sqlite:///{path}", {})
    with pytest.raises(ConfigError, match="in use by another server.*--storage"):
        await second.open()
    await storage.close()
    await second.open()
    await second.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(storage: Storage, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"letters to a friend " * 100)
    _refused(storage, "not a SQLite database")
    assert path.read_bytes() == b"letters to a friend " * 100


def test_a_database_of_another_program_is_refused(storage: Storage, path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs(x)")
    _refused(storage, "another program")


def test_a_newer_schema_is_refused(storage: Storage, path: Path) -> None:
    _run(storage, storage.ping)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    _refused(storage, "newer tornflow.*schema 99")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _refused(open_storage(f"sqlite:///{tmp_path}/file/t.db", {}), "file")


@scenario
async def test_a_full_disk_stores_nothing_of_the_batch_and_later_writes_pass(storage: Storage) -> None:
    await storage.commit(creation("before"))
    db = storage._writer._db  # type: ignore[attr-defined]  # the only way to fill a disk without filling a disk
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    results = await outcomes(*(storage.commit(creation(f"e{n}", head=b"x" * 9_000)) for n in range(20)))
    assert all(isinstance(r, StorageUnavailable) and "full" in r.message for r in results)
    db.execute("PRAGMA max_page_count=1000000")
    assert await storage.load(key("e3")) is None
    assert await outcomes(*(storage.commit(creation(f"e{n}", head=b"x" * 9_000)) for n in range(20))) == [1] * 20
    assert await storage.commit(change(1, "before")) == 2


@scenario
async def test_a_foreign_lock_is_reported_and_later_writes_pass(storage: Storage, path: Path) -> None:
    storage._writer._db.execute("PRAGMA busy_timeout=20")  # type: ignore[attr-defined]
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        await storage.ping()
    other.execute("ROLLBACK")
    other.close()
    await storage.ping()
    assert await storage.commit(creation()) == 1


@scenario
async def test_a_text_that_is_not_unicode_harms_no_other_write(storage: Storage) -> None:
    results = await outcomes(*(storage.commit(creation(e)) for e in ("a", "b\ud800", "c")))
    assert results[0] == results[2] == 1
    assert isinstance(results[1], StorageError) and not isinstance(results[1], StorageUnavailable)
    assert await storage.load(key("c")) is not None


@scenario
async def test_more_waiting_writes_than_allowed_are_refused(path: Path, storage: Storage) -> None:
    small = open_storage(f"sqlite:///{path}.2", {"max_pending_writes": 5})
    await small.open()
    try:
        results = await outcomes(*(small.commit(creation(f"e{n}")) for n in range(500)))
        refused = [r for r in results if isinstance(r, StorageUnavailable)]
        assert refused and "max_pending_writes" in refused[0].message and 1 in results
    finally:
        await small.close()


@scenario
async def test_a_cancelled_caller_disturbs_nobody(storage: Storage) -> None:
    writes = [asyncio.ensure_future(storage.commit(creation(f"e{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    writes[3].cancel()
    results = await outcomes(*writes)
    assert isinstance(results.pop(3), asyncio.CancelledError) and results == [1] * 9


def _refused(storage: Storage, pattern: str) -> None:
    with pytest.raises(ConfigError, match=pattern):
        _run(storage, storage.ping)


def _run(storage: Storage, act: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await storage.open()
        await act()
        await storage.close()

    asyncio.run(main())
