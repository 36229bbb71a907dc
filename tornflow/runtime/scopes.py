"""From what is stored to live scopes, and whether a live one is still what is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tornflow.engine.program import Program, Rules
from tornflow.engine.scope import Scope
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.runtime.clock import Clock
from tornflow.runtime.codec import decode, note_form
from tornflow.spi.storage import Storage, Version

ProgramSource = Callable[[ScopeState], Awaitable[Program]]


class Scopes:
    """Makes live scopes. ``node_id`` is the name under which work is taken in hand; it changes when the other nodes
    have given this one up."""

    def __init__(
        self, storage: Storage, programs: ProgramSource, rules: Rules, clock: Clock, node_id: str
    ) -> None:
        self._storage = storage
        self._programs = programs
        self._rules = rules
        self._clock = clock
        self.node_id = node_id

    def new(self, state: ScopeState, program: Program) -> Scope:
        """Return a scope that is not stored yet."""
        return self._made(state, program, is_new=True)

    async def load(self, key: ScopeKey) -> Scope | None:
        stored = await self._storage.load(key)
        if stored is None:
            return None
        decoded = decode(stored)
        scope = self._made(decoded.state, await self._programs(decoded.state), is_new=False)
        note_form(scope, stored, decoded)
        return scope

    def begin_step(self, scope: Scope) -> None:
        """Say who does what follows from the next step, and what time it is."""
        scope.node, scope.now, scope.drift = self.node_id, self._clock.steady_ms(), self._clock.drift_ms()

    async def is_fresh(self, scope: Scope) -> bool:
        """Whether a copy is what is stored now; nobody else writes to a store of our own."""
        if not self._storage.is_shared:
            return True
        version = await self._storage.version(scope.state.key)
        return version is not None and is_current(scope, version)

    def _made(self, state: ScopeState, program: Program, *, is_new: bool) -> Scope:
        now, drift = self._clock.steady_ms(), self._clock.drift_ms()
        return Scope(state, program, self._rules, node=self.node_id, now=now, drift=drift, is_new=is_new)


def is_current(scope: Scope, version: Version | None) -> bool:
    """Whether a copy is that version or, stored by us, a later one; ``version`` None: nobody else writes."""
    return version is None or (scope.state.life == version.life and scope.state.revision >= version.revision)
