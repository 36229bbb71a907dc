"""Group commit without a clock: what arrives while bulks are on their way becomes the next bulk.

Never two writes of one scope in the air at once, so their order is the callers' order. An interrupted bulk is sent
again as it is; a write that then seems to have lost is looked up by its token, never guessed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from tornflow.errors import DuplicateKey, RevisionConflict, StorageError, StorageUnavailable
from tornflow_store_mongodb.documents import TOKEN_SLOTS, Update
from tornflow_store_mongodb.driver import BAD_VALUE, DUPLICATE, INTERRUPTED, NOT_SENT, REFUSED, Driver, translate
from tornflow_store_mongodb.settings import MongoSettings

_BULK_BYTES = 16 << 20  # MongoDB takes messages of 48 MB
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
            bulk = self._take()
            if not bulk:
                return
            self._free -= 1
            task = self._loop.create_task(self._carry_out(bulk))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[Op]:
        bulk: list[Op] = []
        later: list[Op] = []
        size = 0
        while self._pending and len(bulk) < self._limit:
            op = self._pending.popleft()
            if op.update.id in self._in_air or (bulk and size + op.update.size > _BULK_BYTES):
                later.append(op)
                continue
            bulk.append(op)
            size += op.update.size
            self._in_air.add(op.update.id)
        self._pending.extendleft(reversed(later))
        return bulk

    async def _carry_out(self, bulk: list[Op]) -> None:
        try:
            await self._store(bulk)
        except Exception as error:  # a caller must never wait for ever
            for op in bulk:
                _fail(op, translate(error))
        finally:
            self._free += 1
            self._in_air.difference_update([op.update.id for op in bulk])
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
            if index not in errors and not op.future.done():
                op.future.set_result(op.update.write.expected_revision + 1)
        for index, refusal in errors.items():
            try:
                await self._settle(bulk[index], refusal)
            except StorageError as failure:
                _fail(bulk[index], failure)

    async def _store_alone(self, op: Op) -> None:
        try:
            await self._store([op])
        except (REFUSED, *BAD_VALUE, StorageError) as error:
            _fail(op, translate(error))

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
            is_unsure = bulk[0].is_unsure
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
            if not op.future.done():
                op.future.set_result(write.expected_revision + 1)
        elif "k" in error.get("keyPattern", {}) and write.idempotency_key is not None:
            await self._tell_holder(op, write.idempotency_key)
        else:
            raise RevisionConflict(
                f"{write.key.execution_id} {write.key.path!r}: stored revision is not {write.expected_revision}"
            )

    async def _has_arrived(self, update: Update) -> bool:
        revision = update.write.expected_revision + 1
        found = await self._driver.find_one("scopes", update.id, {"r": 1, "h": 1})
        if found is None or found["r"] < revision:
            return False
        if found["r"] - revision >= TOKEN_SLOTS:
            raise StorageUnavailable("MongoDB: an interrupted write was overtaken by many others", is_unknown=True)
        return bool(found["h"].get(str(revision % TOKEN_SLOTS)) == update.token)

    async def _tell_holder(self, op: Op, key: str) -> None:
        found = await self._driver.find("scopes", {"k": key}, {"s.e": 1}, limit=1)
        if not found:  # deleted since: the key is free
            await self._store([op])
            return
        raise DuplicateKey(f"idempotency key {key!r} is taken", execution_id=found[0]["s"]["e"])

    async def _retry_with_room(self, op: Op, error: dict[str, Any]) -> None:
        await self._make_room(op.update.id)
        answer = await self._send([op])
        if (again := answer.get("writeErrors")) is None:
            if not op.future.done():
                op.future.set_result(op.update.write.expected_revision + 1)
        elif again[0]["code"] in _TOO_LARGE:
            raise StorageError(f"MongoDB: this scope does not fit into a document of 16 MB: {error.get('errmsg')}")
        else:
            await self._settle(op, again[0])


def _fail(op: Op, error: StorageError) -> None:
    if not op.future.done():
        op.future.set_exception(error)
