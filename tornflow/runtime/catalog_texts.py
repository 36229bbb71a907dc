"""The texts of descriptors in the store, and how those that nothing uses go away.

Records (kind, key -> body):

    descriptor    md5                   -> text
    unused        md5:<moment>:<token>  -> the same text, set aside at this moment (ms) under a key of its own

A text that no version names and no execution runs is first **set aside**: copied, then taken out of its place. Who
reads it finds the copy and puts it back, so a wrong or overtaken judgement costs two reads and loses nothing. A copy is
removed after ``kept_ms``, when the text is still unused. Any number of nodes may collect at once, and die anywhere:

* A copy is removed by nothing but its age, so each collector's copy outlives its own removal of the text.
* A new execution runs a text that was seen in its place within the last ``trust_ms`` (a quarter of ``kept_ms``). So
  the execution is stored long before a copy that was made since then is judged again, and is found by it.
* What is added is put in its place before anything names it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tornflow.spi.storage import ExecutionQuery, Record, Storage

_PLACE, _ASIDE = "descriptor", "unused"
_PAGE = 25  # a text has up to 1 MiB
_KEYS_PAGE = 1000
_MOST_SILENT = 1000


@dataclass(slots=True)
class Collected:
    """How many texts one round has set aside, removed for good, and put back because they are in use."""

    set_aside: int = 0
    removed: int = 0
    put_back: int = 0


class Texts:
    """``kept_ms``: how long an unused text is kept; ``pause_ms``: how long to wait between rounds."""

    def __init__(
        self, storage: Storage, clock: Callable[[], int], token: Callable[[], str], kept_ms: int
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._token = token
        self._kept_ms = kept_ms
        self.trust_ms = kept_ms // 4
        self.pause_ms = kept_ms // 24

    async def put(self, md5: str, text: bytes) -> None:
        await self._storage.put_record(_PLACE, md5, text)

    async def get(self, md5: str) -> bytes | None:
        """Return a text; one that was set aside is put back."""
        text = await self._storage.get_record(_PLACE, md5)
        if text is not None:
            return text
        found = await self._storage.list_records(_ASIDE, f"{md5}:", limit=1)
        if not found:
            return None
        await self.put(md5, found[0].body)
        return found[0].body

    async def collect(self) -> Collected:
        """Do one round over all texts, in pages; none while executions of an older form do not say what they run.

        Raises:
            StorageUnavailable: the round ends early; the next one goes on.
        """
        done = Collected()
        if await self._has_untold_uses():
            return done
        # What is named from now on is put in its place first: an old list of names is safe.
        named = {key.rpartition(":")[2] async for key in self._keys("version")}
        async for copy in self._all(_ASIDE):
            await self._judge_copy(copy, named, done)
        async for record in self._all(_PLACE):
            if record.key not in named and not await self._is_run(record.key):
                done.set_aside += await self._set_aside(record)
        return done

    async def _set_aside(self, record: Record) -> bool:
        moment = self._clock()
        await self._storage.put_record(_ASIDE, f"{record.key}:{moment:015d}:{self._token()}", record.body)
        if not 0 <= self._clock() - moment < self.trust_ms:
            return False  # this process was held up, or the clock was set: the copy may not outlive what follows
        return await self._storage.delete_record(_PLACE, record.key)

    async def _judge_copy(self, copy: Record, named: set[str], done: Collected) -> None:
        md5, moment, _ = copy.key.split(":")
        if self._clock() - int(moment) < self._kept_ms:  # also when its clock ran ahead of ours
            return
        if md5 in named or await self._is_run(md5):
            done.put_back += await self._put_back(md5, copy.body)
            await self._storage.delete_record(_ASIDE, copy.key)
            return
        await self._storage.delete_record(_ASIDE, copy.key)
        if await self._is_run(md5):
            done.put_back += await self._put_back(md5, copy.body)
        elif await self._storage.get_record(_PLACE, md5) is None:
            done.removed += 1

    async def _put_back(self, md5: str, text: bytes) -> bool:
        if await self._storage.get_record(_PLACE, md5) is not None:
            return False
        await self.put(md5, text)
        return True

    async def _is_run(self, md5: str) -> bool:
        return bool(await self._storage.executions(ExecutionQuery(descriptor_md5=md5), limit=1))

    async def _has_untold_uses(self) -> bool:
        """Say whether there are executions that run a text without naming it, as versions before wrote them.

        An instance of a workflow that nobody registered names no text either, but has no business.
        """
        silent = await self._storage.executions(ExecutionQuery(descriptor_md5=""), limit=_MOST_SILENT)
        return len(silent) == _MOST_SILENT or any(one.business for one in silent)

    async def _keys(self, kind: str) -> AsyncIterator[str]:
        async for record in self._all(kind, _KEYS_PAGE):
            yield record.key

    async def _all(self, kind: str, size: int = _PAGE) -> AsyncIterator[Record]:
        after = ""
        while page := await self._storage.list_records(kind, after=after, limit=size):
            for record in page:
                yield record
            if len(page) < size:
                return
            after = page[-1].key
