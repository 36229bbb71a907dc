"""Delivers the messages that lie in the outboxes of scopes.

A message stays in its outbox until it is delivered, so it is sent again after a crash; receivers know what they have
seen. What is told is read from the sender at once, right after the commit that posted the message: a later step, stored
or not, cannot change it. Messages of one execution never wait for those of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, assert_never

import structlog

from tornflow.engine.events import (
    ChildEnded,
    Controlled,
    Delivered,
    Event,
    EventHandedOver,
    EventReturned,
    GroupEnded,
    Terminated,
    WaiterArrived,
)
from tornflow.engine.scope import Scope
from tornflow.errors import RequestError, TornflowError
from tornflow.model.execution import Mark, ParentLink, ScopeKey
from tornflow.model.generation import Generation
from tornflow.model.jsontext import dumps, loads
from tornflow.model.messages import (
    AwaitEvent,
    ConfirmParent,
    ControlGroups,
    GroupReport,
    HandOver,
    Message,
    SendCallback,
    StopChild,
    StopGroups,
    TellParent,
)
from tornflow.model.names import instance_name, split_route
from tornflow.model.status import FlowStatus, TaskStatus
from tornflow.runtime.attempts import attempt_key
from tornflow.runtime.callbacks import Callbacks
from tornflow.runtime.clock import Clock
from tornflow.runtime.retrying import while_unavailable
from tornflow.runtime.runner import Runner
from tornflow.runtime.tasks import Tasks
from tornflow.spi.storage import Storage

_log = structlog.get_logger("tornflow.outbox")
_PAGE = 200
_AT_ONCE = 64


class OutboxRelay:
    def __init__(self, storage: Storage, runner: Runner, callbacks: Callbacks, clock: Clock) -> None:
        self._storage = storage
        self._runner = runner
        self._callbacks = callbacks
        self._clock = clock
        self._tasks = Tasks()
        self._in_hand: set[tuple[ScopeKey, str]] = set()

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    def deliver(self, scope: Scope, message_id: str) -> None:
        """Begin to carry one message; afterwards ``Delivered`` (or ``EventReturned``) takes it off the outbox."""
        key = scope.state.key
        posted = scope.state.outbox.get(message_id)
        if posted is None or (key, message_id) in self._in_hand:
            return
        self._in_hand.add((key, message_id))
        work, arguments = self._work(scope, posted.message)
        task = self._tasks.start(self._carry, key, message_id, work, arguments)
        if task is not None:
            task.add_done_callback(lambda _: self._in_hand.discard((key, message_id)))

    async def close(self) -> None:
        """Stop; what is not delivered stays in its outbox."""
        await self._tasks.close()

    async def _carry(self, key: ScopeKey, message_id: str, work: Any, arguments: tuple[Any, ...]) -> None:
        was_taken = True
        try:
            was_taken = await work(*arguments) is not False
        except Exception:
            # A bug, which would strike again: a message that nobody can carry must not stay for ever.
            _log.exception("a message was given up", execution_id=key.execution_id, message=message_id)
        at = self._clock.wall_ms()
        self._runner.post(key, Delivered(at, message_id) if was_taken else EventReturned(at, message_id))

    def _work(self, scope: Scope, message: Message) -> tuple[Any, tuple[Any, ...]]:
        """Return who carries a message and all that it needs; reads the scope, so it must not wait."""
        state, at = scope.state, self._clock.wall_ms()
        key = state.key
        match message:
            case TellParent():
                return self._tell, self._end_of_child(scope, message)
            case ConfirmParent():
                return self._confirm_parent, (key, state.parent)
            case StopChild():
                name = attempt_key(key, state.generation, message.task, message.attempt)
                return self._stop_child, (message.child_id, child_key(name, state.life))
            case SendCallback():
                return self._callbacks.send, (self._callbacks.prepare(scope, message.number),)
            case GroupReport(status=status, code=code, msg=msg, ext=ext):
                path, task, index = split_route(key.path)
                event = GroupEnded(at, task, state.generation, index, status, code, msg, ext)
                return self._tell, (ScopeKey(key.execution_id, path), event)
            case StopGroups():
                route = instance_name(key.path, message.task) + "_"
                return self._stop_groups, (key.execution_id, route, message.generation, message.indices)
            case ControlGroups():
                return self._control_groups, (list(_controlled(scope, at)),)
            case AwaitEvent(task=task, names=names, since=since):
                arrived = WaiterArrived(at, key.path, task, names, since, state.generation)
                return self._tell, (ScopeKey(key.execution_id), arrived)
            case HandOver():
                handed = EventHandedOver(at, message.task, message.number, message.payload, message.generation)
                return self._hand_over, (ScopeKey(key.execution_id, message.path), handed)
        assert_never(message)

    async def _tell(self, key: ScopeKey | None, event: Event) -> None:
        """Where it is refused, nobody is left to tell."""
        if key is not None:
            await self._send(key, event)

    async def _hand_over(self, key: ScopeKey, event: EventHandedOver) -> bool:
        """Return whether the suspense task took the event."""
        return await self._send(key, event)

    async def _send(self, key: ScopeKey, event: Event) -> bool:
        """Return whether an event was accepted; waits until the store answers."""
        try:
            await self._runner.send(key, event)
        except TornflowError as error:
            if not isinstance(error, RequestError):  # a bug over there, or damage; it was logged
                _log.warning("a message was refused", execution_id=key.execution_id, scope=key.path, reason=str(error))
            return False
        return True

    # --- parents and children

    def _end_of_child(self, scope: Scope, message: TellParent) -> tuple[ScopeKey | None, ChildEnded | None]:
        state, parent = scope.state, scope.state.parent
        if parent is None:
            return None, None
        status, code, msg, ext = message.status, message.code, message.msg, message.ext
        if status is FlowStatus.NOT_STARTED:  # of form 1, which did not say
            status, code, msg, ext = state.status, state.code, state.msg, state.ext
        event = ChildEnded(
            self._clock.wall_ms(), parent.task, parent.attempt, state.key.execution_id,
            status, loads(dumps(state.context)), code, msg, ext, parent.generation,
        )  # fmt: skip
        return ScopeKey(parent.execution_id, parent.path), event

    async def _confirm_parent(self, child: ScopeKey, parent: ParentLink | None) -> None:
        """Stop a sub-flow whose task was stopped while the sub-flow came into being, and could not know it."""
        if parent is None:
            return
        scope = await while_unavailable(
            partial(self._runner.view, ScopeKey(parent.execution_id, parent.path))
        )
        if scope is None or not _waits_for(scope, parent, child.execution_id):
            await self._send(child, Terminated(self._clock.wall_ms()))

    async def _stop_child(self, child_id: str | None, key: str) -> None:
        """Without an id the start is under way: either it is stored by now, or it will ask (``ConfirmParent``)."""
        if child_id is None:
            child_id = await while_unavailable(partial(self._storage.execution_for_key, key))
        if child_id is not None:
            await self._send(ScopeKey(child_id), Terminated(self._clock.wall_ms()))

    # --- groups

    async def _stop_groups(
        self, execution_id: str, route: str, run: Generation, indices: Sequence[int] | None
    ) -> None:
        event = Terminated(self._clock.wall_ms(), run)
        if indices is not None:
            await self._send_to_all((ScopeKey(execution_id, f"{route}{index}"), event) for index in indices)
            return
        after = ""
        while True:
            keys = await while_unavailable(partial(self._storage.children, execution_id, route, after, _PAGE))
            await self._send_to_all((key, event) for key in keys)
            if len(keys) < _PAGE:
                return
            after = keys[-1].path

    async def _control_groups(self, told: Sequence[tuple[ScopeKey, Controlled]]) -> None:
        await self._send_to_all(told)

    async def _send_to_all(self, told: Iterable[tuple[ScopeKey, Event]]) -> None:
        page: list[tuple[ScopeKey, Event]] = []
        for one in told:
            page.append(one)
            if len(page) == _AT_ONCE:
                await asyncio.gather(*(self._send(*entry) for entry in page))
                page = []
        await asyncio.gather(*(self._send(*entry) for entry in page))


def child_key(attempt: str, life: str) -> str:
    """Return the idempotency key under which an attempt of a life starts its sub-flow.

    Clients' keys have another name space. Executions of the version before lives (life "") had none.
    """
    return f"child:{attempt}" if life else attempt


def _waits_for(scope: Scope, parent: ParentLink, child_id: str) -> bool:
    state, task = scope.state, scope.peek(parent.task)
    if state.generation != parent.generation or state.status.is_completed:
        return False
    if task is None or task.attempt != parent.attempt:
        return False
    is_waiting = task.status in (TaskStatus.RUNNING, TaskStatus.KEY_SUCCEED)
    return is_waiting and (task.is_in_flight or task.child_id == child_id)


def _controlled(scope: Scope, at: int) -> Iterable[tuple[ScopeKey, Controlled]]:
    """What holds now, for each group that may run; members of a failed one go on (rill-dsl 4.4)."""
    state = scope.state
    degrade = {name: list(flags) for name, flags in state.degrade.items()}
    for name, task in state.tasks.items():
        if task.groups is None:
            continue
        route = instance_name(state.key.path, name)
        event = Controlled(at, (*state.generation, task.attempt), state.control, state.is_paused, degrade)
        for index, mark in enumerate(task.groups.marks):
            if mark in (Mark.RUNNING, Mark.FAILED):
                yield ScopeKey(state.key.execution_id, f"{route}_{index}"), event
