"""Group commit without a clock: what arrives while bulks are on their way becomes the next bulk.

Never two writes of one scope in the air at once, and none goes before an earlier one that had to wait, so their order
is the callers' order. An interrupted bulk is sent again as it is; a write that then seems to have lost is looked up by
its token, never guessed. A fresh start takes several round trips: it flies alone, beside the bulks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tornflow.errors import DuplicateKey, RevisionConflict, StorageError, StorageUnavailable
from tornflow.spi.storage import ScopeWrite
from tornflow_store_mongodb import removal
from tornflow_store_mongodb.documents import TOKEN_SLOTS, Update, update_of
from tornflow_store_mongodb.driver import BAD_VALUE, DUPLICATE, INTERRUPTED, NOT_SENT, REFUSED, Driver, translate
from tornflow_store_mongodb.settings import MongoSettings

_BULK_BYTES = 16 << 20  # MongoDB takes messages of 48 MB
_FRESH_IN_FLIGHT = 16
_TOO_LARGE = (10334, 17419, 17420)  # the document would pass 16 MB
_PAUSE_S = 0.1


class Op:
    """One write on its way. ``is_unsure``: an earlier sending may have arrived."""

    __slots__ = ("future", "is_unsure", "update")

    def __init__(self, update: Update, future: asyncio.Future[int]) -> None:
        self.update = update
        self.future = future
        self.is_unsure = False


class Writer:
    """``make_room(scope id)`` moves the log of a document out; called when a write does not fit into it."""

    def __init__(self, driver: Driver, settings: MongoSettings, make_room: Callable[[str], Awaitable[None]]) -> None:
        self._driver = driver
        self._limit = settings.batch_limit
        self._max_pending = settings.max_pending_writes
        self._retry_s = settings.retry_ms / 1000
        self._make_room = make_room
        self._free = settings.bulks_in_flight
        self._free_fresh = _FRESH_IN_FLIGHT
        self._loop = asyncio.get_running_loop()
        self._pending: deque[Op] = deque()
        self._in_air: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_scheduled = False
        self._is_stopping = False

    def submit(self, update: Update) -> asyncio.Future[int]:
        """Queue one write. Raises: StorageUnavailable: closing, or too many are waiting."""
        if self._is_stopping:
            raise StorageUnavailable("the store is closed")
        if len(self._pending) >= self._max_pending:
            raise StorageUnavailable(f"{self._max_pending} writes wait for MongoDB (setting max_pending_writes)")
        future: asyncio.Future[int] = self._loop.create_future()
        self._pending.append(Op(update, future))
        if self._free and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._pump)  # at the end of this turn of the loop: its other writes come along
        return future

    async def stop(self) -> None:
        """Finish what is queued."""
        self._is_stopping = True
        while self._pending or self._tasks:
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                await asyncio.sleep(0)

    def _pump(self) -> None:
        self._is_scheduled = False
        while self._free and self._pending:
            bulk, fresh = self._take()
            for op in fresh:
                self._free_fresh -= 1
                self._start(self._begin_afresh(op))
            if not bulk:
                return
            self._free -= 1
            self._start(self._carry_out(bulk))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self) -> tuple[list[Op], list[Op]]:
        """Return the next bulk, and the fresh starts before its end."""
        bulk: list[Op] = []
        fresh: list[Op] = []
        later: list[Op] = []
        waiting: set[str] = set()  # scopes of which a write stays behind: so must what comes after it
        size = 0
        while self._pending and len(bulk) < self._limit:
            op = self._pending.popleft()
            id_, is_fresh = op.update.id, op.update.write.is_fresh
            has_room = len(fresh) < self._free_fresh if is_fresh else not bulk or size + op.update.size <= _BULK_BYTES
            if id_ in self._in_air or id_ in waiting or not has_room:
                later.append(op)
                waiting.add(id_)
                continue
            self._in_air.add(id_)
            if is_fresh:
                fresh.append(op)
            else:
                bulk.append(op)
                size += op.update.size
        self._pending.extendleft(reversed(later))
        return bulk, fresh

    async def _carry_out(self, bulk: list[Op]) -> None:
        try:
            await self._store(bulk)
        except Exception as error:  # a caller must never wait for ever
            for op in bulk:
                _fail(op, translate(error, op.is_unsure))
        finally:
            self._free += 1
            self._in_air.difference_update([op.update.id for op in bulk])
            self._pump()

    async def _begin_afresh(self, op: Op) -> None:
        """One document changes atomically; what hung on the earlier generation goes before the caller is answered, and
        is unreachable from then on even if this process dies in between."""
        write = op.update.write
        try:
            replaced = await removal.replaced_generation(self._driver, write.key.execution_id)
            op.update = update_of(write, op.update.token, replaced)
            await self._store([op])
        except Exception as error:
            _fail(op, translate(error, op.is_unsure))
        finally:
            self._free_fresh += 1
            self._in_air.discard(op.update.id)
            self._pump()

    async def _store(self, bulk: list[Op]) -> None:
        try:
            answer = await self._send(bulk)
        except BAD_VALUE:
            if len(bulk) == 1:
                raise
            for op in bulk:  # one of them cannot be encoded; the others can
                await self._store_alone(op)
            return
        errors = {e["index"]: e for e in answer.get("writeErrors", ())}
        for index, op in enumerate(bulk):
            if index not in errors:
                await self._succeed(op)
        for index, refusal in errors.items():
            op = bulk[index]
            try:
                await self._settle(op, refusal)
            except StorageUnavailable as failure:  # without the look-up nobody knows what became of an earlier try
                _fail(op, translate(failure, op.is_unsure))
            except StorageError as failure:
                _fail(op, failure)

    async def _succeed(self, op: Op) -> None:
        write = op.update.write
        if write.is_fresh:
            try:
                await removal.purge(self._driver, write.key.execution_id)
            except StorageError as error:
                _fail(op, translate(error, is_unknown=True))
        if not op.future.done():
            op.future.set_result(write.expected_revision + 1)

    async def _store_alone(self, op: Op) -> None:
        try:
            await self._store([op])
        except (REFUSED, *BAD_VALUE, StorageError) as error:
            _fail(op, translate(error, op.is_unsure))

    async def _send(self, bulk: list[Op]) -> dict[str, Any]:
        command = {"update": "scopes", "updates": [op.update.statement for op in bulk], "ordered": False}
        deadline = self._loop.time() + self._retry_s
        while True:
            try:
                answer = await self._driver.send(command)
                if "writeConcernError" not in answer:
                    return answer
                reason = str(answer["writeConcernError"].get("errmsg"))
                has_arrived = True
            except INTERRUPTED as error:
                reason = str(error)
                has_arrived = not isinstance(error, NOT_SENT)
            for op in bulk:
                op.is_unsure = op.is_unsure or has_arrived
            is_unsure = any(op.is_unsure for op in bulk)
            if not is_unsure or self._loop.time() > deadline:
                raise StorageUnavailable(f"MongoDB: {reason}", is_unknown=is_unsure)
            await asyncio.sleep(_PAUSE_S)

    async def _settle(self, op: Op, error: dict[str, Any]) -> None:
        """Answer an operation that MongoDB says has failed."""
        update, write = op.update, op.update.write
        if error["code"] in _TOO_LARGE:
            await self._retry_with_room(op, error)
        elif error["code"] != DUPLICATE:
            raise StorageUnavailable(f"MongoDB: {error.get('errmsg')}", code=error["code"])
        elif op.is_unsure and await self._has_arrived(update):
            await self._succeed(op)
        elif "k" in error.get("keyPattern", {}) and write.idempotency_key is not None:
            await self._tell_holder(op, write.idempotency_key)
        elif not write.expected_revision and await removal.has_made_way(self._driver, write.key):
            await self._store([op])
        else:
            raise _conflict(write)

    async def _has_arrived(self, update: Update) -> bool:
        revision = update.write.expected_revision + 1
        found = await self._driver.find_one("scopes", update.id, {"r": 1, "h": 1})
        if found is None or found["r"] < revision:
            return False
        if found["r"] - revision >= TOKEN_SLOTS:
            raise StorageUnavailable("MongoDB: an interrupted write was overtaken by many others", is_unknown=True)
        return bool(found.get("h", {}).get(str(revision % TOKEN_SLOTS)) == update.token)

    async def _tell_holder(self, op: Op, key: str) -> None:
        found = await self._driver.find("scopes", {"k": key}, {"s.e": 1}, limit=1)
        if not found:  # deleted since: the key is free
            await self._store([op])
            return
        holder = found[0]["s"]["e"]
        if holder == op.update.write.key.execution_id:
            raise _conflict(op.update.write)
        raise DuplicateKey(f"idempotency key {key!r} is taken", execution_id=holder)

    async def _retry_with_room(self, op: Op, error: dict[str, Any]) -> None:
        await self._make_room(op.update.id)
        answer = await self._send([op])
        if (again := answer.get("writeErrors")) is None:
            await self._succeed(op)
        elif again[0]["code"] in _TOO_LARGE:
            raise StorageError(f"MongoDB: this scope does not fit into a document of 16 MB: {error.get('errmsg')}")
        else:
            await self._settle(op, again[0])


def _conflict(write: ScopeWrite) -> RevisionConflict:
    key, life = write.key, write.life if write.replaces is None else write.replaces
    return RevisionConflict(
        f"{key.execution_id} {key.path!r}: stored are not revision {write.expected_revision} and life {life!r}"
    )


def _fail(op: Op, error: StorageError) -> None:
    if not op.future.done():
        op.future.set_exception(error)
