"""The shell around ``step``: one mailbox per scope, save first, act second.

Events for one scope queue in its mailbox; what has gathered while the last commit was out is applied as one step and
one commit. Events for different scopes run side by side and share commits inside the store. Requests wait for the
commit that holds their effect; events of our own (answers, timers, messages) are kept and tried again until they are
stored, because losing one would leave a flow waiting for ever.

Where other nodes use the store too, a copy in memory may be old. A commit finds that out by itself; what ends without
one (a refusal, an event that changes nothing, a view) counts only once the version of the copy was checked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Any, Protocol

import structlog

from tornflow.engine.commands import Command
from tornflow.engine.events import Event, Recovered
from tornflow.engine.scope import Scope
from tornflow.errors import ExecutionNotFound, RevisionConflict, StorageError, StorageUnavailable, TornflowError
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.model.jsontext import dumps, loads
from tornflow.runtime.clock import Clock
from tornflow.runtime.codec import decode, decode_context
from tornflow.runtime.commits import Commits, OutcomeLost
from tornflow.runtime.creations import Creations
from tornflow.runtime.mailboxes import Entry, Mailbox, Mailboxes, answer
from tornflow.runtime.poison import Broken, try_to_apply, without_broken
from tornflow.runtime.scopes import Scopes, is_current
from tornflow.spi.storage import Storage, StoredScope

_log = structlog.get_logger("tornflow.runner")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_LAST_PAUSE_S = 0.5  # while draining: who must pause longer gives up
_BATCH = 256


class Actor(Protocol):
    """Carries out what follows from a step."""

    def on_committed(self, scope: Scope) -> None:
        """A step of this scope is durable, or has changed nothing."""

    def run_commands(self, scope: Scope, commands: list[Command]) -> None:
        """Carry out its commands; not called while draining, recovery will find the work."""


class Runner:
    """``actor`` is set by the wiring before the first event."""

    actor: Actor

    def __init__(
        self, storage: Storage, scopes: Scopes, clock: Clock, commits: Commits, mailboxes: Mailboxes
    ) -> None:
        self._storage = storage
        self._scopes = scopes
        self._clock = clock
        self._commits = commits
        self._boxes = mailboxes
        self._creations = Creations(scopes, commits, mailboxes, self._carry_out_creation, self._recover)
        self.create = self._creations.create
        self._running: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self.events = self.conflicts = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def node_id(self) -> str:
        return self._scopes.node_id

    @node_id.setter
    def node_id(self, node_id: str) -> None:
        self._scopes.node_id = node_id

    # --- intake

    async def apply(self, key: ScopeKey, event: Event) -> None:
        """Apply an event on behalf of a request; return once it is durable.

        Raises:
            ExecutionNotFound, IllegalTransition, StorageError: nothing was changed (but see
                ``StorageUnavailable.is_unknown``).
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(key, Entry(event, waiter, False))
        await waiter

    async def send(self, key: ScopeKey, event: Event) -> None:
        """Apply an event of our own, however long the store is away; return once it is durable.

        Raises:
            ExecutionNotFound, IllegalTransition: it was refused.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(key, Entry(event, waiter, True))
        await waiter

    def post(self, key: ScopeKey, event: Event) -> None:
        """Apply an event of our own as soon as possible; it is never lost while the process lives."""
        self._put(key, Entry(event, None, True))

    # --- looking

    async def view(self, key: ScopeKey) -> Scope | None:
        """Return a scope for reading only, no older than this call; None if there is none.

        It is the live object where one is in memory: read it before the next ``await``. While its mailbox is at work,
        the answer comes at the end of the present step; reading it from the store would cost as much as it is large.
        """
        version = await self._storage.version(key) if self._storage.is_shared else None
        if self._storage.is_shared and version is None:
            return None
        box = self._boxes.get(key)
        if box is not None and box.is_running and not box.is_settling:
            scope = await box.look()
            if scope is not None and is_current(scope, version):
                return scope
            box = self._boxes.get(key)
        if box is not None and box.scope is not None and not box.is_running and is_current(box.scope, version):
            self._boxes.use(key)
            return box.scope
        return await self._scopes.load(key)

    async def context(self, key: ScopeKey) -> dict[str, Any] | None:
        """Return a copy of the context of a scope as it is stored; cheaper than ``view`` where it must be read."""
        if not self._storage.is_shared and self._boxes.get(key) is not None:
            scope = await self.view(key)
            # A copy of all of it: its owner goes on changing what is inside.
            return None if scope is None else loads(dumps(scope.state.context))
        found = await self._storage.load(key)
        return None if found is None else decode_context(found)

    async def stored(self, key: ScopeKey) -> tuple[ScopeState, StoredScope] | None:
        """Return the state in the store, and as it lies there."""
        found = await self._storage.load(key)
        return None if found is None else (decode(found).state, found)

    async def drain(self) -> None:
        """Stop acting on commands and return when every event in hand is stored.

        A store that stays away does not hold up the end: what cannot be stored within about a second is left to
        recovery, as after a crash.
        """
        self._is_draining = self._commits.is_draining = True
        while not self._boxes.are_at_rest:
            self._idle.clear()
            await self._idle.wait()
        await self._creations.join()

    @property
    def cached(self) -> int:
        return len(self._boxes)

    @property
    def cached_bytes(self) -> int:
        return self._boxes.bytes

    @property
    def queued(self) -> bool:
        """Whether events wait or are being stored."""
        return not self._boxes.are_at_rest

    def forget(self, lives: Mapping[str, str]) -> None:
        """Drop what is cached of executions that were deleted: their lives by id."""
        self._boxes.forget(lives)

    # --- mailboxes

    def _put(self, key: ScopeKey, entry: Entry) -> None:
        box = self._boxes.use(key)
        box.queue.append(entry)
        if not box.is_running:
            self._wake(box)

    def _wake(self, box: Mailbox) -> None:
        box.is_running = True
        # Not by ``Tasks``: this is the hot path, ``_run`` logs what breaks, and it ends by itself.
        task = asyncio.get_running_loop().create_task(self._run(box))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _rest(self, box: Mailbox) -> None:
        box.show()
        if box.queue:
            self._wake(box)
            return
        self._boxes.settle(box)
        self._idle.set()

    async def _run(self, box: Mailbox) -> None:
        pause_s = _FIRST_PAUSE_S
        try:
            while box.queue:
                try:
                    await self._step(box)
                    pause_s = _FIRST_PAUSE_S
                    if box.viewers:
                        box.show()
                        await asyncio.sleep(0)  # their turn to look, before the next step changes anything
                except OutcomeLost as error:
                    self._take_up_again(box, error)
                except RevisionConflict:
                    self.conflicts += 1
                    box.scope = None  # another node was first: read again, apply again
                except Exception as error:  # anything: without a pause a bug here would turn without end
                    if await self._pause_after(box, error, pause_s):
                        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        finally:
            box.is_running = False
            self._rest(box)

    async def _pause_after(self, box: Mailbox, error: Exception, pause_s: float) -> bool:
        box.scope = None
        if not isinstance(error, StorageError):
            _log.exception("a step broke", execution_id=box.key.execution_id)
        box.refuse_requests(error if isinstance(error, TornflowError) else Broken(str(error)))
        box.show()
        if self._is_draining and pause_s > _LAST_PAUSE_S:
            _log.error("not stored before the end; recovery will do it again", execution_id=box.key.execution_id)
            box.refuse_all(StorageUnavailable("the server is stopping", is_unknown=True))
        if not box.queue:
            return False
        _log.warning("storage unavailable, will try again", execution_id=box.key.execution_id, reason=str(error))
        await asyncio.sleep(pause_s)
        return True

    def _take_up_again(self, box: Mailbox, error: OutcomeLost) -> None:
        """Whether a step of ours was stored before others wrote cannot be told: name all our work in this scope again
        (what is in hand is known and not done twice), and judge our events by what is stored now."""
        box.scope = None
        box.refuse_requests(StorageUnavailable(str(error), is_unknown=True))
        box.queue.appendleft(Entry(Recovered(self._clock.wall_ms(), self.node_id), None, True))

    async def _step(self, box: Mailbox) -> None:
        """Apply what is queued, save it, act. Events leave the queue only when their fate is sealed."""
        count, is_checked = min(len(box.queue), _BATCH), box.scope is None  # what is read now is new enough for these
        epoch = box.epoch
        scope = box.scope or await self._load_for(box, count)
        if scope is None:
            return
        self._scopes.begin_step(scope)
        commands: list[Command] = []
        batch = list(islice(box.queue, 1 if box.singles else count))
        refusals: list[TornflowError | None] = [try_to_apply(scope, entry.event, commands) for entry in batch]
        if any(isinstance(refusal, Broken) for refusal in refusals):
            box.scope = None  # half applied by a bug: start over without the event that broke
            box.queue = deque(without_broken(batch, refusals, list(box.queue)[len(batch) :]))
            return
        if scope.is_dirty:
            if not await self._save_or_blame(box, scope, batch):
                return
        elif box.epoch != epoch or (not is_checked and not await self._scopes.is_fresh(scope)):
            box.scope = None
            return
        self.events += len(batch)
        box.singles = max(0, box.singles - 1)
        self._answer(box, batch, refusals)
        self.actor.on_committed(scope)
        self._run_commands(scope, commands)

    def _answer(self, box: Mailbox, batch: list[Entry], refusals: list[TornflowError | None]) -> None:
        """Take the batch off the queue; requests among it may have been told that their outcome is unknown."""
        for entry, refusal in zip(batch, refusals, strict=True):
            if box.queue and box.queue[0] is entry:
                box.queue.popleft()
            answer(entry.waiter, refusal)

    async def _save_or_blame(self, box: Mailbox, scope: Scope, batch: list[Entry]) -> bool:
        """Save a step; when it can never be stored, find the event that is to blame, then do without it."""
        try:
            await self._save(box, scope)
        except (RevisionConflict, StorageUnavailable):
            raise
        except Exception as error:
            _log.exception("a step cannot be stored", execution_id=box.key.execution_id, events=len(batch))
            box.scope = None
            if len(batch) > 1:
                box.singles = len(batch)
            else:
                broken: list[TornflowError | None] = [Broken(f"internal error: cannot be stored: {error}")]
                box.queue = deque(without_broken(batch, broken, list(box.queue)[1:]))
                box.singles = max(0, box.singles - 1)
            return False
        return True

    async def _save(self, box: Mailbox, scope: Scope) -> None:
        write = self._commits.prepare(scope)
        try:
            await self._commits.commit(write)
        except StorageUnavailable as error:
            if not error.is_unknown:
                raise
            box.is_settling, box.scope = True, None
            box.show()
            try:
                with self._commits.patience(box.refuse_requests, box.key):
                    await self._commits.find_out(write)
            finally:
                box.is_settling = False
            box.scope = scope
        scope.saved()

    async def _load_for(self, box: Mailbox, count: int) -> Scope | None:
        """Load the scope of a mailbox; when there is none to be had, refuse the first ``count`` events."""
        execution_id = box.key.execution_id
        try:
            box.scope = await self._scopes.load(box.key)
        except StorageError:
            raise
        except Exception as error:
            _log.exception("an execution cannot be read", execution_id=execution_id)
            box.refuse_all(Broken(f"execution {execution_id} cannot be read: {error}"), count)
            return None
        if box.scope is None:
            box.refuse_all(ExecutionNotFound(f"execution {execution_id} not found", execution_id=execution_id), count)
        return box.scope

    def _carry_out_creation(self, scope: Scope, commands: list[Command]) -> None:
        self.actor.on_committed(scope)
        self._run_commands(scope, commands)

    def _recover(self, key: ScopeKey) -> None:
        """Name all our work in a scope again, because it cannot be told what of it was begun."""
        self.post(key, Recovered(self._clock.wall_ms(), self.node_id))

    def _run_commands(self, scope: Scope, commands: list[Command]) -> None:
        if not commands or self._is_draining:
            return
        try:
            self.actor.run_commands(scope, commands)
        except Exception:
            # A bug; the step is stored and its work is marked as in hand, so a restart takes it up.
            _log.exception("commands were left behind", execution_id=scope.state.key.execution_id)
