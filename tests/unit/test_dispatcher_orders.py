"""The dispatcher under any order of what can happen to it, one turn of the event loop at a time.

Hypothesis draws what happens and when the loop may take a turn, so that a cancellation meets an attempt before its
first step, between answer and report, or after it. At the end everything that is still wanted has been reported once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.dispatch_world import TARGETS, World, command_of, scope_of
from tornflow.engine.scope import Scope
from tornflow.model.execution import ScopeKey
from tornflow.spi.task_type import Answered, Failed

LIMITS = {"max_in_flight": 4, "per_target": 2, "per_flow": 3, "callbacks": 4, "callbacks_waiting": 3, "room": 2}
FLOWS = ("one", "two", "three")
OUTCOMES = (Answered({"v": 1}), Failed("no", "http_500"), RuntimeError("boom"), "not an outcome")


class Orders(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.problems: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.world = World(LIMITS, is_open=False)
        self.dispatcher = self.world.dispatcher
        self.wanted: dict[ScopeKey, tuple[Scope, str]] = {}  # dispatched, not abandoned, dropped or reported
        self.world.on_report = lambda key, _: self.heard(key)
        self.callbacks: list[asyncio.Task[Any]] = []
        self.rooms: list[tuple[str, asyncio.Task[None]]] = []
        self.number = 0
        self.is_closed = False

    def heard(self, key: ScopeKey) -> None:
        """Reported once, and only what is wanted. An assertion in here would end in the dispatcher's log."""
        if self.wanted.pop(key, None) is None:
            self.problems.append(f"{key} was not wanted")

    # --- what can happen

    @precondition(lambda self: not self.is_closed)
    @rule(flow=st.sampled_from(FLOWS), to=st.sampled_from(TARGETS), count=st.integers(1, 4))
    def dispatch(self, flow: str, to: str, count: int) -> None:
        for _ in range(count):
            self.number += 1
            scope = scope_of(self.number, flow=flow, target=to)
            self.wanted[scope.state.key] = scope, to
            self.act(self.dispatcher.dispatch, scope, command_of(to))

    @precondition(lambda self: self.wanted and not self.is_closed)
    @rule(data=st.data())
    def dispatch_again(self, data: st.DataObject) -> None:
        scope, to = self.wanted[data.draw(st.sampled_from(list(self.wanted)))]
        self.act(self.dispatcher.dispatch, scope, command_of(to))

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        scope, to = self.wanted.pop(data.draw(st.sampled_from(list(self.wanted))))
        self.act(self.dispatcher.abandon, scope.state.key, scope.state.generation, to, 1)

    @precondition(lambda self: self.world.puppet.running)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def end(self, data: st.DataObject, outcome: Any) -> None:
        key = data.draw(st.sampled_from(list(self.world.puppet.running)))
        self.act(self.answer, key, outcome)

    @rule()
    def be_stubborn(self) -> None:
        self.world.puppet.is_stubborn = not self.world.puppet.is_stubborn

    @rule(to=st.sampled_from(TARGETS))
    def call_back(self, to: str) -> None:
        self.number += 1
        attempt = self.dispatcher.callback_attempt(f"demo:one_c_{self.number}", f"test://{to}/cb", {}, {}, ("l",), 1)
        self.callbacks.append(self.loop.create_task(self.dispatcher.call_back(attempt)))

    @precondition(lambda self: self.callbacks)
    @rule(data=st.data())
    def cancel_a_callback(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.callbacks)).cancel()

    @precondition(lambda self: not self.is_closed)
    @rule(flow=st.sampled_from(FLOWS))
    def ask_for_room(self, flow: str) -> None:
        self.rooms.append((f"demo:{flow}", self.loop.create_task(self.dispatcher.room(f"demo:{flow}"))))

    @rule()
    def open(self) -> None:
        self.act(self.dispatcher.open)

    @precondition(lambda self: not self.is_closed)
    @rule()
    def be_declared_dead(self) -> None:
        for key in [key for key, (_, to) in self.wanted.items() if not self.has_started(key, to)]:
            del self.wanted[key]
        self.act(self.dispatcher.drop_waiting)

    @rule(count=st.integers(1, 4))
    def turn(self, count: int) -> None:
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    # --- what must hold

    @invariant()
    def limits_hold(self) -> None:
        attempts, callbacks = self.dispatcher._attempts, self.dispatcher._callbacks
        assert attempts.in_flight <= 4 and callbacks.in_flight <= 4
        assert all(load.in_flight <= 2 for load in attempts.targets().values())
        assert all(load.in_flight <= 1 for load in callbacks.targets().values())
        assert all(load.waiting <= 3 for load in callbacks.targets().values())
        assert all(flow.in_flight <= 3 for flow in attempts._flows.values())

    @invariant()
    def what_is_wanted_is_in_hand(self) -> None:
        if not self.is_closed:
            held = {key for key, (scope, to) in self.wanted.items() if self.holds(key, scope, to)}
            assert held == set(self.wanted)
            assert len(self.dispatcher._jobs) == len(self.wanted)

    @invariant()
    def nothing_went_wrong_in_the_loop(self) -> None:
        assert self.problems == []

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self.finish())
        finally:
            self.loop.close()
        assert self.problems == []

    async def finish(self) -> None:
        """End everything that runs until nothing is left; then close."""
        self.world.puppet.is_stubborn = False
        self.dispatcher.open()
        for _ in range(10 * (self.number + 10)):
            await asyncio.sleep(0)
            for key in list(self.world.puppet.running):
                self.answer(key, OUTCOMES[0])
        assert not self.wanted, "everything that was still wanted has been reported"
        assert all(call.done() for call in self.callbacks)
        assert all(room.done() for _, room in self.rooms)
        self.check_empty()
        await self.dispatcher.close(0)
        self.check_empty()

    def check_empty(self) -> None:
        dispatcher = self.dispatcher
        assert (dispatcher.in_flight, dispatcher.waiting, dispatcher.callbacks_waiting) == (0, 0, 0)
        assert dispatcher.targets() == {}
        assert not (dispatcher._jobs or dispatcher._running or dispatcher._room)

    # --- helpers

    def act(self, do: Any, *args: Any) -> None:
        """Call from within the loop, as the shell does, without letting anything else run."""
        asyncio.events._set_running_loop(self.loop)
        try:
            do(*args)
        finally:
            asyncio.events._set_running_loop(None)

    def answer(self, key: str, outcome: Any) -> None:
        future = self.world.puppet.running[key]
        if future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def holds(self, key: ScopeKey, scope: Scope, to: str) -> bool:
        return self.dispatcher.holds(key, scope.state.generation, to, 1)

    def has_started(self, key: ScopeKey, to: str) -> bool:
        scope, _ = self.wanted[key]
        job = self.dispatcher._jobs[key, scope.state.generation, to, 1]
        return job.handle is not None


class Closings(Orders):
    """The same with an end at any moment."""

    @precondition(lambda self: not self.is_closed)
    @rule(grace_s=st.sampled_from([0, 0.001]))
    def close(self, grace_s: float) -> None:
        self.world.puppet.is_stubborn = False
        self.is_closed = True
        self.loop.run_until_complete(self.dispatcher.close(grace_s))
        self.wanted.clear()
        for _, room in self.rooms:
            room.cancel()

    async def finish(self) -> None:
        if self.is_closed:
            for _ in range(5):
                await asyncio.sleep(0)
            assert all(call.done() for call in self.callbacks)
            self.check_empty()
        else:
            await super().finish()


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestClosings = Closings.TestCase
TestClosings.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
