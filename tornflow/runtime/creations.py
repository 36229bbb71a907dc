"""Bringing scopes into being: stored together with their first step, whatever becomes of whoever asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tornflow.engine.commands import Command
from tornflow.engine.events import Event
from tornflow.engine.program import Program
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import StorageError, StorageUnavailable
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.runtime.commits import Commits, NotStored, OutcomeLost
from tornflow.runtime.mailboxes import Mailboxes, answer
from tornflow.runtime.scopes import Scopes
from tornflow.runtime.tasks import Tasks
from tornflow.spi.storage import ScopeWrite, Version


class Creations:
    """``carry_out`` is called once for each scope that was stored; ``recover`` where others have gone on from there
    before we knew, so that our work in it must be named again."""

    def __init__(
        self,
        scopes: Scopes,
        commits: Commits,
        mailboxes: Mailboxes,
        carry_out: Callable[[Scope, list[Command]], None],
        recover: Callable[[ScopeKey], None],
    ) -> None:
        self._scopes = scopes
        self._commits = commits
        self._boxes = mailboxes
        self._carry_out = carry_out
        self._recover = recover
        self._tasks = Tasks()  # that find out what became of one

    async def join(self) -> None:
        """Return when nothing is left to find out."""
        await self._tasks.join()

    async def create(
        self,
        state: ScopeState,
        program: Program,
        event: Event,
        *,
        replaces: Version | None = None,
        is_fresh: bool = False,
        dropped_parts: frozenset[str] = frozenset(),
        is_patient: bool = False,
    ) -> None:
        """Store a new scope together with its first step and return once that is durable.

        ``state.revision`` is 0, or that of ``replaces``, the scope in whose place it is put; then ``is_fresh`` discards
        the whole old execution, ``dropped_parts`` only these parts of the old scope. A caller that is cancelled does
        not stop it. ``is_patient``: an outcome that is unknown is waited for, however long it takes.

        Raises:
            RevisionConflict: the scope exists, or was changed. DuplicateKey: the idempotency key is taken. Nothing was
                stored.
            StorageUnavailable: nothing was stored; with ``is_unknown`` it may stand, and if so it is carried out.
        """
        scope = self._scopes.new(state, program)
        commands: list[Command] = []
        apply(scope, event, commands)
        write = self._commits.prepare(scope, replaces=replaces, is_fresh=is_fresh, dropped_parts=dropped_parts)
        since = asyncio.get_running_loop().time()
        try:
            await self._commits.commit(write)
        except asyncio.CancelledError:
            self._begin_settling(scope, write, commands, since)
            raise
        except StorageUnavailable as error:
            if not error.is_unknown:
                raise
            outcome = self._begin_settling(scope, write, commands, since)
            await (outcome if is_patient else self._commits.within_patience(outcome, state.key))
        else:
            self._created(scope, commands)

    def _begin_settling(
        self, scope: Scope, write: ScopeWrite, commands: list[Command], since: float
    ) -> asyncio.Future[None]:
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks.start(self._settle, scope, write, commands, since, outcome)
        return outcome

    async def _settle(
        self, scope: Scope, write: ScopeWrite, commands: list[Command], since: float, outcome: asyncio.Future[None]
    ) -> None:
        """Find out what became of a creation, whether anybody still waits or not; if it stands, carry it out."""
        try:
            is_latest = await self._commits.find_out(write, since)
        except StorageError as error:
            if isinstance(error, OutcomeLost):  # it may have been ours, and others went on from there
                self._recover(write.key)
            is_certain = isinstance(error, NotStored)
            answer(outcome, StorageUnavailable(str(error)) if is_certain else error)
            outcome.exception()  # looked at, also when nobody waits any more
            return
        if is_latest:
            self._created(scope, commands)
        else:  # others have gone on from there: name our work in it again
            self._recover(write.key)
        answer(outcome, None)

    def _created(self, scope: Scope, commands: list[Command]) -> None:
        scope.saved()
        box = self._boxes.use(scope.state.key)
        box.epoch += 1
        if box.is_running:  # for an earlier life, or run of a group
            box.scope = None
        else:
            box.scope = scope
            self._boxes.settle(box)
        self._carry_out(scope, commands)
