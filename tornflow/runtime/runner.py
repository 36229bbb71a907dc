"""The shell around ``step``: one lane per scope, save first, act second.

Events for one scope queue in its lane; what has gathered while the last commit was out is applied as one step and one
commit. Events for different scopes run side by side and share commits inside the store. Requests wait for the commit
that holds their effect; events of our own (answers, timers, messages) are kept and tried again until they are stored,
because losing one would leave a flow waiting for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import structlog

from tornflow.engine.commands import Command
from tornflow.engine.events import Event
from tornflow.engine.program import Program, Rules
from tornflow.engine.scope import Scope
from tornflow.engine.transition import apply
from tornflow.errors import ExecutionNotFound, RevisionConflict, StorageError, StorageUnavailable, TornflowError
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.runtime.codec import decode, decode_context, encode, mark_split
from tornflow.runtime.faults import Broken, try_to_apply, without_broken
from tornflow.runtime.lanes import Entry, Lane, Lanes, Waiter, answer
from tornflow.spi.storage import Storage

_log = structlog.get_logger("tornflow.runner")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_LAST_PAUSE_S = 0.5  # while draining: who must pause longer gives up
_BATCH = 256

ProgramSource = Callable[[ScopeState], Awaitable[Program]]


class Actor(Protocol):
    """Carries out what follows from a step."""

    def saved(self, scope: Scope) -> None:
        """A step of this scope is durable."""

    def act(self, scope: Scope, commands: list[Command]) -> None:
        """Carry out its commands; not called while draining, recovery will find the work."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    node_id: str
    cache_scopes: int = 2000
    cache_bytes: int = 64 << 20
    head_inline_limit_bytes: int = 16_384
    finished_retention_ms: int = 86_400_000


class Runner:
    """``actor`` is set by the wiring before the first event."""

    actor: Actor

    def __init__(self, storage: Storage, programs: ProgramSource, rules: Rules, settings: RunnerSettings) -> None:
        self._storage = storage
        self._programs = programs
        self._rules = rules
        self._settings = settings
        self._lanes = Lanes(settings.cache_scopes, settings.cache_bytes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self.commits = self.events = self.conflicts = 0
        self.trouble = ""  # why the store could not take the last write
        self._idle = asyncio.Event()
        self._idle.set()

    # --- intake

    async def create(
        self,
        state: ScopeState,
        program: Program,
        event: Event,
        *,
        is_fresh: bool = False,
        dropped_parts: frozenset[str] = frozenset(),
    ) -> None:
        """Store a new scope together with its first step and return once that is durable.

        ``state.revision`` is 0, or the revision of the finished scope that it takes the place of; then ``is_fresh``
        discards the whole old execution, ``dropped_parts`` only these parts of the old scope.

        Raises:
            RevisionConflict: the scope exists. DuplicateKey: the idempotency key is taken. Nothing was stored.
        """
        lane = self._lanes.use(state.key)
        while lane.is_running:  # only when the id of a finished execution is used again
            await asyncio.sleep(0.001)
            lane = self._lanes.use(state.key)
        lane.is_running = True
        try:
            scope = Scope(state, program, self._rules, is_new=True)
            commands: list[Command] = []
            apply(scope, event, commands)
            lane.scope = None
            await self._save(scope, is_fresh=is_fresh, dropped_parts=dropped_parts)
            lane.scope = scope
            self._act(scope, commands)
        finally:
            lane.is_running = False
            self._rest(lane)

    async def apply(self, key: ScopeKey, event: Event) -> None:
        """Apply an event on behalf of a request; return once it is durable.

        Raises:
            ExecutionNotFound, IllegalTransition, StorageError: nothing was changed.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(key, event, waiter)
        await waiter

    def post(self, key: ScopeKey, event: Event) -> None:
        """Apply an event of our own as soon as possible; it is never lost while the process lives."""
        self._put(key, event, None)

    async def view(self, key: ScopeKey) -> Scope | None:
        """Return a scope for reading only, as last committed; None if there is none.

        It is the live object where one is in memory: read it before the next ``await``. While the lane is at work, the
        answer comes at the end of its present turn; reading it from the store would cost as much as it is large.
        """
        lane = self._lanes.get(key)
        if lane is not None and lane.is_running:
            scope = await lane.look()
            if scope is not None:
                return scope
            lane = self._lanes.get(key)
        if lane is not None and lane.scope is not None and not lane.is_running:
            self._lanes.use(key)
            return lane.scope
        return await self._load(key)

    async def context(self, key: ScopeKey) -> dict[str, Any] | None:
        """Return a copy of the context of a scope as last committed; cheaper than ``view`` where it must be read."""
        if self._lanes.get(key) is not None:
            scope = await self.view(key)
            return None if scope is None else dict(scope.state.context)
        found = await self._storage.load(key)
        return None if found is None else decode_context(found)

    async def stored(self, key: ScopeKey) -> tuple[ScopeState, frozenset[str]] | None:
        """Return the state in the store and the names of its parts."""
        found = await self._storage.load(key)
        return None if found is None else (decode(found)[0], frozenset(found.parts))

    async def drain(self) -> None:
        """Stop acting on commands and return when every event in hand is stored.

        A store that stays away does not hold up the end: what cannot be stored within about a second is left to
        recovery, as after a crash.
        """
        self._is_draining = True
        while not self._lanes.are_at_rest:
            self._idle.clear()
            await self._idle.wait()

    @property
    def cached(self) -> int:
        return len(self._lanes)

    @property
    def cached_bytes(self) -> int:
        return self._lanes.bytes

    def forget(self, execution_id: str) -> None:
        """Drop what is cached of an execution that was deleted."""
        self._lanes.forget(execution_id)

    # --- lanes

    def _put(self, key: ScopeKey, event: Event, waiter: Waiter) -> None:
        lane = self._lanes.use(key)
        lane.queue.append((event, waiter))
        if not lane.is_running:
            self._wake(lane)

    def _wake(self, lane: Lane) -> None:
        lane.is_running = True
        task = asyncio.get_running_loop().create_task(self._run(lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _rest(self, lane: Lane) -> None:
        lane.show()
        if lane.queue:
            self._wake(lane)
            return
        self._lanes.settle(lane)
        self._idle.set()

    async def _run(self, lane: Lane) -> None:
        pause_s = _FIRST_PAUSE_S
        try:
            while lane.queue:
                try:
                    await self._turn(lane)
                    pause_s = _FIRST_PAUSE_S
                    if lane.viewers:
                        lane.show()
                        await asyncio.sleep(0)  # their turn to look, before the next step changes anything
                except RevisionConflict:
                    self.conflicts += 1
                    lane.scope = None  # another node was first: read again, apply again
                except Exception as error:  # anything: without a pause a bug here would turn without end
                    lane.scope = None
                    if not isinstance(error, StorageError):
                        _log.exception("a turn broke", execution_id=lane.key[0])
                    lane.refuse_requests(error if isinstance(error, TornflowError) else Broken(str(error)))
                    lane.show()
                    if self._is_draining and pause_s > _LAST_PAUSE_S:
                        _log.error("not stored before the end; recovery will do it again", execution_id=lane.key[0])
                        lane.queue.clear()
                    if lane.queue:
                        _log.warning("storage unavailable, will try again", execution_id=lane.key[0], reason=str(error))
                        await asyncio.sleep(pause_s)
                        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        finally:
            lane.is_running = False
            self._rest(lane)

    async def _turn(self, lane: Lane) -> None:
        """Apply what is queued, save it, act. Events leave the queue only when their fate is sealed."""
        scope = lane.scope or await self._load_for(lane)
        if scope is None:
            return
        commands: list[Command] = []
        batch = list(islice(lane.queue, 1 if lane.singles else _BATCH))
        self.events += len(batch)
        refusals: list[TornflowError | None] = [try_to_apply(scope, event, commands) for event, _ in batch]
        if any(isinstance(refusal, Broken) for refusal in refusals):
            lane.scope = None  # half applied by a bug: start over without the event that broke
            lane.queue = deque(without_broken(batch, refusals, list(lane.queue)[len(batch) :]))
            return
        if scope.is_dirty and not await self._save_or_blame(lane, scope, batch):
            return
        lane.singles = max(0, lane.singles - 1)
        for (_event, waiter), refusal in zip(batch, refusals, strict=True):
            lane.queue.popleft()
            answer(waiter, refusal)
        self._act(scope, commands)

    async def _save_or_blame(self, lane: Lane, scope: Scope, batch: list[Entry]) -> bool:
        """Save a step; when it can never be stored, find the event that is to blame, then do without it."""
        try:
            await self._save(scope)
        except (RevisionConflict, StorageUnavailable):
            raise
        except Exception as error:
            _log.exception("a step cannot be stored", execution_id=lane.key.execution_id, events=len(batch))
            lane.scope = None
            if len(batch) > 1:
                lane.singles = len(batch)
            else:
                broken: list[TornflowError | None] = [Broken(f"internal error: cannot be stored: {error}")]
                lane.queue = deque(without_broken(batch, broken, list(lane.queue)[1:]))
                lane.singles = max(0, lane.singles - 1)
            return False
        return True

    async def _load_for(self, lane: Lane) -> Scope | None:
        """Load the scope of a lane; when there is none to be had, refuse what is queued."""
        execution_id = lane.key.execution_id
        try:
            lane.scope = await self._load(lane.key)
        except StorageError:
            raise
        except Exception as error:
            _log.exception("an execution cannot be read", execution_id=execution_id)
            lane.refuse_all(Broken(f"execution {execution_id} cannot be read: {error}"))
            return None
        if lane.scope is None:
            lane.refuse_all(ExecutionNotFound(f"execution {execution_id} not found", execution_id=execution_id))
        return lane.scope

    def _act(self, scope: Scope, commands: list[Command]) -> None:
        if not commands or self._is_draining:
            return
        try:
            self.actor.act(scope, commands)
        except Exception:
            # A bug; the step is stored and its work is marked as in hand, so a restart takes it up.
            _log.exception("commands were left behind", execution_id=scope.state.key.execution_id)

    async def _save(
        self, scope: Scope, *, is_fresh: bool = False, dropped_parts: frozenset[str] = frozenset()
    ) -> None:
        state = scope.state
        settings = self._settings
        if state.finished_at is not None and state.expires_at is None:
            state.expires_at = state.finished_at + settings.finished_retention_ms
        write = encode(scope, settings.node_id, settings.head_inline_limit_bytes, is_fresh=is_fresh)
        if dropped_parts:
            write = replace(write, parts={**dict.fromkeys(dropped_parts), **write.parts})
        try:
            await self._storage.commit(write)
        except StorageUnavailable as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        self.commits += 1
        scope.saved()
        self.actor.saved(scope)

    async def _load(self, key: ScopeKey) -> Scope | None:
        stored = await self._storage.load(key)
        if stored is None:
            return None
        state, is_split = decode(stored)
        scope = Scope(state, await self._programs(state), self._rules)
        scope.saved_bytes = len(stored.head) + sum(map(len, stored.parts.values()))
        if is_split:
            mark_split(scope)
        return scope
