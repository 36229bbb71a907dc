from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tornflow.errors import ConfigError, StorageError, StorageUnavailable
from tornflow.spi.storage import ExecutionQuery, ScopeWrite, Storage, Version
from tornflow.testing.storage import Place, StorageConformance
from tornflow.testing.storage_support import change, creation, key, outcomes, scenario
from tornflow_store_sqlite import open_storage, queries

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


# --- schema


def test_a_file_of_schema_1_is_migrated_with_its_running_executions(storage: Storage, path: Path) -> None:
    node = _write_schema_1(path)

    async def look() -> None:
        running = await storage.executions(ExecutionQuery(statuses=("running",), descriptor_md5=""))
        assert [s.workflow_name or s.feature for s in running] == ["parallelAsync", "foreach", "approval"]
        assert list(await storage.owners()) == [node] and len(await storage.due(2**62, 99)) == 5
        owned = await storage.owned(node, 99)
        assert [k.path for k in owned] == ["", "each_0", "each_1", "each_2", ""]
        scope = await storage.load(owned[0])
        assert scope is not None and (scope.life, scope.revision, scope.owners) == ("", 2, (node,))
        assert await storage.version(owned[0]) == Version("", 2) and len(scope.head) > 100
        assert sorted(await storage.record_kinds()) == ["alias", "business", "descriptor", "feature", "version"]
        adopted = ScopeWrite(owned[0], 2, b"new", life="A", replaces="", owners=("a", "b"))
        assert await storage.commit(adopted) == 3
        assert list(await storage.owners()) == sorted([node, "a", "b"])
        (done,) = await storage.expired(2**62, 9)
        assert (done.life, done.revision) == ("", 2)
        assert list(await storage.delete_executions([done])) == [True]

    _run(storage, look)
    fresh = path.with_name("fresh.db")
    _run(open_storage(f"sqlite:///{fresh}", {}), storage_is_opened)
    assert _shape(path) == _shape(fresh)


async def storage_is_opened() -> None:
    pass


def test_a_migration_that_fails_leaves_the_file_as_it_was(storage: Storage, path: Path) -> None:
    _write_schema_1(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE INDEX execution_descriptor ON node(address)")  # the name that the last step needs
    before = _shape(path)
    _refused(storage, "execution_descriptor")
    assert _shape(path) == before
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP INDEX execution_descriptor")
    _run(open_storage(f"sqlite:///{path}", {}), storage_is_opened)


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
@scenario
async def test_the_files_are_for_the_eyes_of_their_owner_only(storage: Storage, path: Path) -> None:
    await storage.commit(creation())
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in path.parent.iterdir()}
    assert modes == dict.fromkeys(["t.db", "t.db-wal", "t.db-shm", "t.db.lock"], "0o600")


@scenario
async def test_questions_of_every_day_use_indexes(storage: Storage, path: Path) -> None:
    asked: list[str] = []
    with closing(sqlite3.connect(path)) as db:
        db.set_trace_callback(asked.append)
        queries.owned(db, "n", 9, key("e"))
        queries.owners(db)
        queries.due(db, 5, 9)
        queries.expired(db, 5, 9)
        queries.version(db, key())
        queries.scan(db, key("e"), 9)
        queries.executions(db, ExecutionQuery(descriptor_md5="m", since=3), 0, 9)
        db.set_trace_callback(None)
        questions = [s for s in asked if s.startswith(("SELECT", "\nWITH"))]
        assert len(questions) == 8
        for sql in questions:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert not [step for step in plan if re.fullmatch(r"SCAN (scope|execution|s|e)", step)], (sql, plan)
            is_short = "char(31)" in sql  # among the few scopes of several owners
            sorts = [step for step in plan if "TEMP B-TREE" in step and not re.search("LAST|RIGHT", step)]
            assert is_short or not sorts, (sql, plan)


# --- trouble


class Cutting:
    """A connection whose next COMMIT reports an error, before or after it has happened."""

    def __init__(self, db: sqlite3.Connection, code: int, *, has_happened: bool) -> None:
        self._db, self._code, self._has_happened = db, code, has_happened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, sql: str, *args: Any) -> Any:
        if sql != "COMMIT" or not self._code:
            return self._db.execute(sql, *args)
        if self._has_happened:
            self._db.execute(sql)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, self._code = self._code, 0
        raise error


@pytest.mark.parametrize("has_happened", [False, True])
@scenario
async def test_a_commit_that_fails_with_an_io_error_is_unknown(storage: Storage, has_happened: bool) -> None:
    await storage.commit(creation())
    writer = storage._writer  # type: ignore[attr-defined]
    writer._db = Cutting(writer._db, sqlite3.SQLITE_IOERR_FSYNC, has_happened=has_happened)
    results = await outcomes(storage.commit(change(1, head=b"2")), storage.commit(creation("other")))
    assert all(isinstance(r, StorageUnavailable) and r.is_unknown for r in results)
    version = await storage.version(key())
    assert version == Version("", 2 if has_happened else 1)
    assert await storage.commit(change(version.revision)) == version.revision + 1


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
@scenario
async def test_a_commit_that_was_refused_is_known_to_have_stored_nothing(storage: Storage, code: int) -> None:
    writer = storage._writer  # type: ignore[attr-defined]
    writer._db = Cutting(writer._db, code, has_happened=False)
    with pytest.raises(StorageUnavailable) as caught:
        await storage.commit(creation())
    assert caught.value.is_unknown is False and await storage.commit(creation()) == 1


@scenario
async def test_a_long_list_delays_neither_commits_nor_timers(storage: Storage) -> None:
    is_over = threading.Event()
    long_list = asyncio.ensure_future(storage._list(lambda db: is_over.wait(30)))  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    assert await storage.commit(creation(due_at=1, owners=("n",))) == 1
    assert len(await storage.due(9, 9)) == len(await storage.owned("n", 9)) == 1
    assert not long_list.done()
    is_over.set()
    assert await long_list


@scenario
async def test_a_full_disk_stores_nothing_of_the_batch_and_later_writes_pass(storage: Storage) -> None:
    await storage.commit(creation("before"))
    db = storage._writer._db  # type: ignore[attr-defined]  # the only way to fill a disk without filling a disk
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    results = await outcomes(*(storage.commit(creation(f"e{n}", head=b"x" * 9_000)) for n in range(20)))
    assert all(isinstance(r, StorageUnavailable) and "full" in r.message and not r.is_unknown for r in results)
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


def _write_schema_1(path: Path) -> str:
    """Return the id of the node that wrote it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript((Path(__file__).parent / "fixtures" / "sqlite_schema_1.sql").read_text("utf-8"))
        return str(db.execute("SELECT DISTINCT owner FROM scope WHERE owner IS NOT NULL").fetchone()[0])


def _shape(path: Path) -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        shape = {(row[0], row[1]) for row in db.execute("SELECT type, name FROM sqlite_master")}
        for _, table in [entry for entry in shape if entry[0] == "table"]:
            shape |= {(table, *row[1:4]) for row in db.execute(f"PRAGMA table_info({table})")}
        return {*shape, ("version", db.execute("PRAGMA user_version").fetchone()[0])}


def _refused(storage: Storage, pattern: str) -> None:
    with pytest.raises(ConfigError, match=pattern):
        _run(storage, storage.ping)


def _run(storage: Storage, act: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await storage.open()
        await act()
        await storage.close()

    asyncio.run(main())
