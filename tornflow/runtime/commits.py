"""Storing one step, and finding out what became of one whose answer was lost.

Every write carries a name of its own (``ScopeState.last_write``), stored with the state. After an unknown outcome the
scope is read: if the write's name stands there, it was stored; if the state before it stands there, the very same write
is sent again, and comparing revisions lets it take effect once; if another state stands there, nobody can tell.

The first write of an execution is sent again only while the other nodes cannot have given this one up: after that,
where nothing is found, it may have been stored, run to its end by another node, and been deleted, and a life must not
begin twice. It may also still arrive, so it is looked for.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from tornflow.engine.scope import Scope
from tornflow.errors import DuplicateKey, RevisionConflict, StorageError, StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.model.status import FlowStatus
from tornflow.runtime.codec import encode, written_by
from tornflow.runtime.histogram import Histogram
from tornflow.spi.storage import ScopeWrite, Storage, Version

_log = structlog.get_logger("tornflow.commits")
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_LATEST_S = 900.0  # far beyond what any store may keep a write on its way


class OutcomeLost(RevisionConflict):
    """Others have changed the scope since; whether our write was stored before that cannot be told."""


class NotStored(StorageError):
    """A write of unknown outcome has not arrived, and none so old ever will."""


@dataclass(frozen=True, slots=True)
class CommitSettings:
    """``patience_s``: how long a request waits for an outcome that is unknown, before it is told so. ``resend_s``: how
    long the first write of an execution may be sent again on a shared store."""

    head_inline_limit_bytes: int = 16_384
    succeeded_retention_ms: int = 86_400_000
    failed_retention_ms: int = 7 * 86_400_000
    patience_s: float = 10.0
    resend_s: float = 10.0


class Commits:
    """All writes of scopes of one node. ``trouble`` says why the last one could not be stored, "" when it was.
    ``seconds`` measures how long they take."""

    def __init__(
        self, storage: Storage, settings: CommitSettings, tag: str, seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._tag = tag
        self._seconds = seconds
        self._numbers = itertools.count(1)
        self.count = 0
        self.times = Histogram()
        self.trouble = ""
        self.is_draining = False

    def prepare(
        self,
        scope: Scope,
        *,
        replaces: Version | None = None,
        is_fresh: bool = False,
        dropped_parts: frozenset[str] = frozenset(),
    ) -> ScopeWrite:
        """Return the write that stores what the last step changed."""
        state, settings = scope.state, self._settings
        if state.finished_at is not None and state.expires_at is None:
            is_good = state.status is FlowStatus.SUCCEED
            kept_ms = settings.succeeded_retention_ms if is_good else settings.failed_retention_ms
            state.expires_at = state.finished_at + kept_ms
        state.last_write = f"{self._tag}.{next(self._numbers):x}"
        write = encode(scope, settings.head_inline_limit_bytes, replaces=replaces, is_fresh=is_fresh)
        if dropped_parts:
            write = replace(write, parts={**dict.fromkeys(dropped_parts), **write.parts})
        return write

    async def commit(self, write: ScopeWrite) -> None:
        """Raises: RevisionConflict, DuplicateKey, StorageUnavailable."""
        begun = self._seconds()
        try:
            await self._storage.commit(write)
        except StorageUnavailable as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        self.count += 1
        self.times.observe(self._seconds() - begun)

    async def find_out(self, write: ScopeWrite, since: float | None = None) -> bool:
        """Return when the write stands, sending it again if need be; False: others have changed the scope since.

        ``since``: when it was sent first, on the clock of the event loop.

        Raises:
            RevisionConflict, DuplicateKey, NotStored: it does not stand, and never will.
            OutcomeLost
            StorageUnavailable: the server is stopping.
        """
        pause_s, loop, resend_s = _FIRST_PAUSE_S, asyncio.get_running_loop(), self._settings.resend_s
        began_at = loop.time() if since is None else since
        while True:
            try:
                # First a write that passes: after a failed flush a store may show what never reached its disk.
                await self._storage.ping()
                age_s = loop.time() - began_at
                is_latest = await self._stands(write, may_begin=not self._storage.is_shared or age_s < resend_s)
                if is_latest is not None:
                    return is_latest
            except StorageUnavailable as error:
                self.trouble = str(error)
            if self.is_draining and pause_s > _LONGEST_PAUSE_S / 4:
                raise StorageUnavailable("the server is stopping", is_unknown=True)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            if _begins_execution(write) and loop.time() - began_at > _LATEST_S:
                raise NotStored(f"{write.key.execution_id}: it did not arrive")

    async def _stands(self, write: ScopeWrite, *, may_begin: bool) -> bool | None:
        """Return None where it must be looked at again. ``may_begin``: an execution may be begun now."""
        found = await self._storage.load(write.key)
        if found is not None and written_by(found) == written_by(write):
            self.trouble = ""
            return True
        begins_life = _begins_execution(write) or (not write.key.path and write.replaces is not None)
        if begins_life and found is not None and found.life == write.life:
            self.trouble = ""
            return False  # nobody else could have begun this life
        if found is None and _begins_execution(write) and not may_begin:
            return None
        if found is None and write.key.path and not await self._has_root(write):
            raise RevisionConflict(f"{write.key.execution_id}: the execution of this group is gone")
        now = None if found is None else Version(found.life, found.revision)
        before = Version(write.life if write.replaces is None else write.replaces, write.expected_revision)
        if now != (before if write.expected_revision else None):
            raise OutcomeLost(f"{write.key.execution_id}: the outcome of a write is unknown")
        try:
            await self.commit(write)
        except RevisionConflict:
            return None  # it arrived between the look and this; look again
        except DuplicateKey as duplicate:
            if duplicate.details["execution_id"] != write.key.execution_id:
                raise
            return None
        return True

    async def _has_root(self, write: ScopeWrite) -> bool:
        root = await self._storage.version(ScopeKey(write.key.execution_id))
        return root is not None and root.life == write.life

    @contextmanager
    def patience(self, tell: Callable[[StorageUnavailable], None], key: ScopeKey) -> Iterator[None]:
        """Tell those who wait when it takes too long, and whoever has come since, that the outcome is unknown."""
        loop, patience_s = asyncio.get_running_loop(), self._settings.patience_s
        handle: asyncio.TimerHandle

        def wait() -> None:
            nonlocal handle
            handle = loop.call_later(patience_s, say)

        def say() -> None:
            tell(_unknown(key))
            wait()

        wait()
        try:
            yield
        finally:
            handle.cancel()

    async def within_patience(self, outcome: asyncio.Future[None], key: ScopeKey) -> None:
        """Wait until it is found out, but not for ever.

        Raises:
            RevisionConflict, DuplicateKey
            StorageUnavailable: unknown still.
        """
        await asyncio.wait({outcome}, timeout=self._settings.patience_s)
        if not outcome.done():
            raise _unknown(key)
        outcome.result()


def _begins_execution(write: ScopeWrite) -> bool:
    return not write.key.path and write.expected_revision == 0


def _unknown(key: ScopeKey) -> StorageUnavailable:
    return StorageUnavailable(
        "the store does not say whether it was stored", is_unknown=True, execution_id=key.execution_id
    )
