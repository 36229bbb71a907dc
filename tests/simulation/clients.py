"""Everybody outside who talks to the nodes: clients with their requests, executors with their callbacks.

Every request is written down with what came of it: done, refused with a reason, or unknown. What was not taken (nobody
listens, the store is away) is asked again elsewhere, as a client would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from tests.simulation.executors import token_of
from tests.simulation.flows import WORKSPACE, Flow
from tests.simulation.loop import OUTSIDE
from tests.simulation.node import NoAnswer, Node, NotTaken
from tests.simulation.plan import Action
from tornflow.descriptors import parse_descriptor
from tornflow.errors import RequestError, ServerNotReady, StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.model.names import instance_name
from tornflow.model.status import TaskStatus
from tornflow.spi.task_type import Attempt

if TYPE_CHECKING:
    from tests.simulation.world import World

OK, REFUSED, UNKNOWN, FAILED, NOWHERE = "ok", "refused", "unknown", "failed", "nowhere"
_INSTANCE_IDS = ("one", "two", "three")


@dataclass(slots=True)
class Request:
    kind: str
    execution_id: str
    facts: dict[str, Any]
    since: float
    until: float = 0.0
    outcome: str = ""
    error: Exception | None = None
    answer: Any = None

    @property
    def may_have_happened(self) -> bool:
        return self.outcome in (OK, UNKNOWN, "")


@dataclass(slots=True)
class Clients:
    world: World
    requests: list[Request] = field(default_factory=list)
    marks: dict[str, Flow] = field(default_factory=dict)
    open: set[asyncio.Task[Any]] = field(default_factory=set)
    latest: dict[str, Request] = field(default_factory=dict)
    """The last start of every execution id that somebody was told of, or may have been started."""

    def spawn(self, work: Awaitable[Any]) -> None:
        task: asyncio.Task[Any] = self.world.loop.create_task(work, context=OUTSIDE.copy())  # type: ignore[arg-type]
        self.open.add(task)
        task.add_done_callback(self._spawned, context=OUTSIDE.copy())

    def _spawned(self, task: asyncio.Task[Any]) -> None:
        self.open.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.world.loop.complaints.append(f"a client broke: {task.exception()!r}")
            raise task.exception()  # type: ignore[misc]

    # --- asking

    async def ask(
        self, dice: Random, kind: str, execution_id: str, work: Callable[[Any], Awaitable[Any]], **facts: Any
    ) -> Request:
        """Ask some node, others if that one takes nothing, and write down what came of it."""
        while True:
            request = Request(kind, execution_id, facts, self.world.loop.time())
            self.requests.append(request)
            await self._ask_once(request, dice.choice(self.world.nodes), work)
            if request.outcome not in (NOWHERE, FAILED) or self.world.is_over:
                return request
            await asyncio.sleep(dice.choice([0.05, 0.5, 2.0]))

    async def _ask_once(self, request: Request, node: Node, work: Callable[[Any], Awaitable[Any]]) -> None:
        try:
            request.answer = await node.ask(work)
            request.outcome = OK
        except NotTaken as error:
            request.outcome, request.error = NOWHERE, error
        except (NoAnswer, StorageUnavailable, ServerNotReady) as error:
            is_unknown = isinstance(error, NoAnswer) or getattr(error, "is_unknown", False)
            request.outcome, request.error = UNKNOWN if is_unknown else FAILED, error
        except RequestError as error:
            request.outcome, request.error = REFUSED, error
        except Exception as error:
            request.outcome, request.error = REFUSED, error
            self.world.problems.append(f"{request.kind} {request.execution_id}: {error!r}")
        request.until = self.world.loop.time()
        if request.outcome != NOWHERE:
            name = node.process.name
            self.world.trace(
                request.kind, name, request.execution_id, request.facts, request.outcome, str(request.error or "")
            )

    # --- executors

    def report(
        self, attempt: Attempt, token: str | None, payload: dict[str, Any], success: bool, delay: float, salt: float,
        *, is_made_up: bool = False,
    ) -> None:  # fmt: skip
        """Report the end of an attempt after a while; ``is_made_up``: by somebody who cannot know it."""
        self.spawn(self._report(attempt, token, payload, success, delay, Random(salt), is_made_up))

    async def _report(
        self, attempt: Attempt, token: str | None, payload: dict[str, Any], success: bool, delay: float, dice: Random,
        is_made_up: bool,
    ) -> None:  # fmt: skip
        await asyncio.sleep(delay)
        name = dice.choice(["finish", "trigger"])
        for _ in range(50):
            nonce = self.world.nonce("f")
            data = {**payload, "nonce": nonce}
            request = await self.ask(
                dice, "report", attempt.execution_id,
                lambda engine, data=data: _complete(engine, name, attempt, data, success, token),
                task=attempt.task_name, number=attempt.number, token=token, nonce=nonce, key=attempt.idempotency_key,
                is_made_up=is_made_up,
            )  # fmt: skip
            if request.outcome in (OK, REFUSED):
                return
            await asyncio.sleep(0.5)

    # --- clients

    async def act(self, action: Action) -> None:
        dice = Random(f"act/{self.world.seed}/{action.salt}")
        if action.kind == "submit":
            await self.submit(dice)
        elif action.kind in ("start", "restart"):
            await self.start(dice)
        else:
            target = self._some_execution(dice)
            if target is not None:
                await getattr(self, f"_{action.kind}")(dice, target)

    async def submit(self, dice: Random) -> None:
        flow = dice.choice(self.world.plan.flows)
        mark = self._mark(flow)
        key = f"key-{mark}" if dice.random() < 0.7 else None
        told = None if dice.random() < 0.7 else '{"resourceName": "sim://callback"}'
        first = ""
        for _ in range(20):
            request = await self.ask(
                dice, "submit", first,
                lambda engine: engine.service.submit(
                    flow.descriptor_id, {"mark": mark}, callback=told, idempotency_key=key
                ),
                mark=mark, key=key, told=told,
            )  # fmt: skip
            if request.outcome == OK:
                self._note_start(request, request.answer)
                if first and request.answer != first and first in self.world.disk.scopes:
                    self.world.problems.append(f"key {key} gave {first}, then {request.answer}")
                first = request.answer
                if key is None or dice.random() < 0.8:
                    return
            elif request.outcome == REFUSED:
                self.world.problems.append(f"submit of {flow.name} was refused: {request.error!r}")
                return
            elif key is None:
                return
            await asyncio.sleep(dice.choice([0.0, 0.3, 2.0]))

    async def start(self, dice: Random) -> None:
        flow, instance_id = dice.choice(self.world.plan.flows), dice.choice(_INSTANCE_IDS)
        mark = self._mark(flow)
        request = await self.ask(
            dice, "start", instance_id,
            lambda engine: engine.service.start_workflow(
                flow.descriptor_id, instance_id=instance_id, raw_input=f'{{"mark": "{mark}"}}', component="dapr"
            ),
            mark=mark,
        )  # fmt: skip
        if request.may_have_happened:
            self._note_start(request, instance_id)

    def _note_start(self, request: Request, execution_id: str) -> None:
        request.execution_id = execution_id
        self.latest[execution_id] = request

    def _mark(self, flow: Flow) -> str:
        mark = self.world.nonce("m")
        self.marks[mark] = flow
        return mark

    def _some_execution(self, dice: Random) -> str | None:
        known = sorted(self.latest)
        return dice.choice(known) if known else None

    async def _simple(self, dice: Random, kind: str, execution_id: str, *args: Any, **more: Any) -> Request:
        return await self.ask(
            dice, kind, execution_id, lambda engine: getattr(engine.service, kind)(execution_id, *args, **more),
            args=args, **more,
        )  # fmt: skip

    async def _pause(self, dice: Random, target: str) -> None:
        await self._simple(dice, "pause", target)
        if dice.random() < 0.7:
            await asyncio.sleep(dice.choice([0.0, 0.1, 3.0]))
            await self._simple(dice, "resume", target)

    async def _resume(self, dice: Random, target: str) -> None:
        await self._simple(dice, "resume", target)

    async def _terminate(self, dice: Random, target: str) -> None:
        await self._simple(dice, "terminate", target)

    async def _purge(self, dice: Random, target: str) -> None:
        await self._simple(dice, "purge", target)

    async def _complete(self, dice: Random, target: str) -> None:
        await self._simple(dice, "complete", target, success=dice.random() < 0.5)

    async def _redo(self, dice: Random, target: str) -> None:
        state = self.world.disk.state(ScopeKey(target))
        names = sorted(state.tasks) if state is not None else []
        chosen = [dice.choice(names)] if names and dice.random() < 0.5 else []
        await self._simple(dice, "redo", target, chosen, {})

    async def _degrade(self, dice: Random, target: str) -> None:
        state = self.world.disk.state(ScopeKey(target))
        flow = None if state is None else self.world.flow_of(state)
        if flow is not None:
            task = dice.choice([one.name for one in flow.everything()])
            await self._simple(dice, "degrade", target, task, current=True, followings=dice.random() < 0.5)

    async def _raise(self, dice: Random, target: str) -> None:
        await self.raise_event(dice, target)

    async def raise_event(self, dice: Random, target: str) -> None:
        nonce = self.world.nonce("e")
        await self.ask(
            dice, "raise", target, lambda engine: engine.service.raise_event(target, "go", {"v": nonce}), nonce=nonce
        )

    async def _wakeup(self, dice: Random, target: str) -> None:
        found = self.world.waiting_suspenses(target)
        if found:
            await self.wake(dice, target, dice.choice(found))

    async def wake(self, dice: Random, target: str, name: str) -> None:
        nonce = self.world.nonce("w")
        data = {"v": nonce, "event": {"v": nonce}}
        await self.ask(
            dice, "wakeup", target, lambda engine: engine.service.wakeup(target, name, data), nonce=nonce, task=name
        )

    async def _finish(self, dice: Random, target: str) -> None:
        """Complete a task by hand, without a token: the attempt that runs is meant."""
        names = [
            instance_name(scope.key.path, task.name)
            for scope in self.world.states_of(target)
            for task in scope.tasks.values()
            if task.status is TaskStatus.RUNNING and task.groups is None
        ]
        if names:
            name, nonce = dice.choice(sorted(names)), self.world.nonce("h")
            data = {"v": nonce, "nonce": nonce}
            await self.ask(
                dice, "finish", target,
                lambda engine: engine.service.finish(target, name, data, success=True), nonce=nonce, task=name,
            )  # fmt: skip

    async def _late(self, dice: Random, target: str) -> None:
        """Repeat a callback that an executor may have sent long ago."""
        calls = [
            call.attempt
            for calls in self.world.executors.calls.values()
            for call in calls
            if call.attempt.execution_id == target and call.attempt.pattern == "task_async"
        ]
        if calls:
            attempt = dice.choice(calls)
            token, success = token_of(attempt.callback_url), dice.random() < 0.5
            self.report(attempt, token, {"v": "late"}, success, 0.0, dice.random(), is_made_up=True)

    async def store_flow(self, flow: Flow, dice: Random | None = None) -> Request:
        text = flow.text(self.world.nonce("v"))
        md5 = parse_descriptor(text).md5
        return await self.ask(
            dice or Random(0), "alter", "",
            lambda engine: engine.catalog.add(text, business=WORKSPACE, feature=flow.name, alias="release"),
            flow=flow.name, md5=md5,
        )  # fmt: skip

    async def _alter(self, dice: Random, _target: str) -> None:
        """Store a new version of a flow: another text that does the same."""
        request = await self.store_flow(dice.choice(self.world.plan.flows), dice)
        if request.outcome == OK and dice.random() < 0.7:
            await self.submit(dice)

    async def _look(self, dice: Random, target: str) -> None:
        await self.ask(dice, "look", target, lambda engine: _look_at(engine, target))

    async def _again(self, dice: Random, target: str) -> None:
        """Start the same instance once more, as soon as it may have ended."""
        if target in _INSTANCE_IDS:
            await self._simple(dice, "terminate", target)
            await self.start(dice)


async def _look_at(engine: Any, target: str) -> Any:
    shown = await engine.service.snapshot(target)
    if shown is None:
        return None
    state = shown.state
    return state.generation[:1], state.revision, state.status


async def _complete(
    engine: Any, name: str, attempt: Attempt, data: dict[str, Any], success: bool, token: str | None
) -> None:
    method = getattr(engine.service, name)
    await method(attempt.execution_id, attempt.task_name, data, success=success, token=token)
