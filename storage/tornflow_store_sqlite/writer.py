"""The one thread that writes: group commit that needs no clock.

A batch is whatever arrived while the last commit was on its way to the disk, so the slower the disk, the larger the
batches. Callers get a future; all futures of a batch are resolved by one call into the loop.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Sequence

from tornflow.errors import StorageError, StorageUnavailable
from tornflow_store_sqlite.batch import Batch, Job, Known
from tornflow_store_sqlite.place import SqliteSettings

_Item = tuple[asyncio.Future[object], Job]
_NOTHING_WRITTEN = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)
_FIRST_ID = "SELECT coalesce(max(id), 0) + 1 FROM scope"


class Writer:
    """Owns the writing connection. ``submit`` and ``stop`` are called on the loop that built it."""

    def __init__(self, db: sqlite3.Connection, settings: SqliteSettings) -> None:
        self._db = db
        self._limit = settings.batch_limit
        self._max_pending = settings.max_pending_writes
        self._max_known = settings.revision_cache
        self._known: Known = {}
        self._next_id = int(db.execute(_FIRST_ID).fetchone()[0])
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="tornflow-sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> asyncio.Future[object]:
        """Queue one job. Raises: StorageUnavailable: closing, or too many are waiting."""
        if self._is_stopping:
            raise StorageUnavailable("the store is closed")
        if self._queue.qsize() >= self._max_pending:
            raise StorageUnavailable(f"{self._max_pending} writes wait for the disk (setting max_pending_writes)")
        future: asyncio.Future[object] = self._loop.create_future()
        self._queue.put((future, job))
        return future

    async def stop(self) -> None:
        """Finish what is queued, end the thread, close the connection."""
        if not self._is_stopping:
            self._is_stopping = True
            self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._db.close()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch = [item]
            is_last = self._drain_into(batch)
            results = self._write([job for _, job in batch])
            try:
                self._loop.call_soon_threadsafe(_resolve, batch, results)
            except RuntimeError:  # the loop was closed without close(): nobody is left to tell
                return
            if is_last:
                return

    def _drain_into(self, batch: list[_Item]) -> bool:
        """Return whether the stop mark was met."""
        try:
            while len(batch) < self._limit:
                item = self._queue.get_nowait()
                if item is None:
                    return True
                batch.append(item)
        except queue.Empty:
            pass
        return False

    def _write(self, jobs: Sequence[Job]) -> list[object]:
        try:
            return self._transaction(jobs)
        except StorageUnavailable as error:
            return [error for _ in jobs]
        except sqlite3.OperationalError as error:  # disk full, locked, read-only, I/O: nobody's write can pass now
            return [unavailable(error) for _ in jobs]
        except Exception as error:
            if len(jobs) == 1:
                return [translate(error)]
            return [self._write([job])[0] for job in jobs]  # one of them cannot be written; the others can

    def _transaction(self, jobs: Sequence[Job]) -> list[object]:
        batch = Batch(self._db, self._known, self._next_id)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results = batch.apply(jobs)
            _end(self._db)
        except BaseException:
            self._known.clear()
            self._roll_back()
            raise
        self._next_id = batch.next_id
        while len(self._known) > self._max_known:
            del self._known[next(iter(self._known))]
        return results

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite rolls back by itself after I/O errors; the first error is the one to tell


def _end(db: sqlite3.Connection) -> None:
    """Raises: StorageUnavailable: with ``is_unknown`` unless SQLite says that nothing has reached the disk.

    After an I/O error the frames of this transaction may lie complete in the WAL file. The next commit overwrites
    them; if the process dies before, whoever opens the file finds them and takes them for stored.
    """
    try:
        db.execute("COMMIT")
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_IOERR) & 0xFF
        raise unavailable(error, is_unknown=code not in _NOTHING_WRITTEN) from error


def unavailable(error: sqlite3.Error, *, is_unknown: bool = False) -> StorageUnavailable:
    cause = getattr(error, "sqlite_errorname", type(error).__name__)
    mistake = StorageUnavailable(f"SQLite: {error}", is_unknown=is_unknown, cause=cause)
    mistake.__cause__ = error
    return mistake


def translate(error: Exception) -> StorageError:
    """Our word for whatever went wrong in the driver: its own errors mean trouble with the file, others with a value
    (text that is not Unicode, a number beyond 64 bit)."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.DataError):
        return unavailable(error)
    mistake = StorageError(f"SQLite cannot store this: {error}")
    mistake.__cause__ = error
    return mistake


def _resolve(batch: Sequence[_Item], results: Sequence[object]) -> None:
    for (future, _), result in zip(batch, results, strict=True):
        if future.done():
            continue  # the caller was cancelled; the write stands
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
