"""One thread with a connection of its own, for reads that may take long."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tornflow.errors import StorageUnavailable
from tornflow_store_sqlite.writer import translate

T = TypeVar("T")


class Reader:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tornflow-sqlite-reader")
        self._is_stopping = False

    async def ask(self, question: Callable[..., T], *args: Any) -> T:
        """Raises: StorageUnavailable, StorageError."""
        if self._is_stopping:
            raise StorageUnavailable("the SQLite store is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, question, self._db, *args)
        except Exception as error:
            raise translate(error) from error

    async def stop(self) -> None:
        """Answer what was asked, then take no more."""
        self._is_stopping = True
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    def close(self) -> None:
        self._thread.shutdown()
        self._db.close()
