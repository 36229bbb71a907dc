"""Documents under a number of their own, as records of the store: task templates, triggers.

A number is made of the wall clock and chance, so that two nodes need not ask each other: it is never given again, later
ones are larger, and it stays below 2^53, which is what a browser can count to. Every read asks the store: what one node
has answered holds on all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from tornflow.errors import LimitExceeded
from tornflow.model.jsontext import dumps, loads
from tornflow.spi.storage import Storage

Document = dict[str, Any]

_PAGE = 500
_DIGITS = 16
_PER_MS = 1000
_LIMIT_BYTES = 1024 * 1024  # of a record (tornflow.spi.storage)


class NumberedRecords:
    """Documents of one ``kind`` by number. ``change`` keeps changes of this process apart; two nodes that change the
    same document at one moment: the later one wins."""

    def __init__(self, storage: Storage, kind: str, clock: Callable[[], int], chance: Callable[[], float]) -> None:
        self._storage = storage
        self._kind = kind
        self._clock = clock
        self._chance = chance
        self.change = asyncio.Lock()

    async def add(self, document: Mapping[str, Any]) -> int:
        """Store a new document durably and return its number.

        Raises:
            LimitExceeded, StorageUnavailable
        """
        while True:
            number = self._clock() * _PER_MS + int(self._chance() * _PER_MS)
            if await self.get(number) is None:
                await self.put(number, document)
                return number

    async def put(self, number: int, document: Mapping[str, Any]) -> None:
        body = dumps(document)
        if len(body) > _LIMIT_BYTES:
            raise LimitExceeded(
                f"{self._kind} too long: {len(body)} bytes, {_LIMIT_BYTES} are allowed",
                limit=self._kind, allowed=_LIMIT_BYTES, given=len(body),
            )  # fmt: skip
        await self._storage.put_record(self._kind, _key(number), body)

    async def get(self, number: int) -> Document | None:
        if not 0 <= number < 10**_DIGITS:
            return None
        body = await self._storage.get_record(self._kind, _key(number))
        return None if body is None else loads(body)

    async def remove(self, number: int) -> bool:
        """Return whether there was one."""
        return 0 <= number < 10**_DIGITS and await self._storage.delete_record(self._kind, _key(number))

    async def all(self) -> AsyncIterator[tuple[int, Document]]:
        """Yield (number, document) by ascending number."""
        after = ""
        while True:
            page = await self._storage.list_records(self._kind, after=after, limit=_PAGE)
            for record in page:
                yield int(record.key), loads(record.body)
            if len(page) < _PAGE:
                return
            after = page[-1].key


def _key(number: int) -> str:
    return f"{number:0{_DIGITS}d}"  # lists come in code point order
