"""One world: nodes on one store, executors and clients, a schedule of faults, and an end at which all is checked."""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.simulation import logs
from tests.simulation.clients import Clients
from tests.simulation.disk import Disk
from tests.simulation.executors import Executors
from tests.simulation.flows import Flow
from tests.simulation.loop import OUTSIDE, Livelock, SimulatedLoop
from tests.simulation.node import NoAnswer, Node, NotTaken
from tests.simulation.plan import Fault, Plan
from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.model.names import instance_name
from tornflow.model.status import TaskStatus

_SETTLE_S = 900.0
_ROUND_S = 2.0
_DEAD_S = 150.0
_QUIET_S = 70.0


Story = Callable[["World"], Awaitable[None]]


@dataclass(slots=True)
class World:
    plan: Plan
    loop: SimulatedLoop
    disk: Disk = field(default_factory=Disk)
    nodes: list[Node] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    is_troubled: bool = False
    is_store_away: bool = False
    is_over: bool = False
    executors: Executors = field(init=False)
    outside: Clients = field(init=False)
    flows: dict[str, Flow] = field(init=False)
    _nonces: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self.executors = Executors(self, self.plan.pace_s)
        self.outside = Clients(self)
        self.flows = {flow.name: flow for flow in (*self.plan.flows, *self.plan.children)}

    @property
    def seed(self) -> str:
        return self.plan.seed

    def nonce(self, letter: str) -> str:
        self._nonces += 1
        return f"~{letter}{self._nonces}~"

    def trace(self, *facts: Any) -> None:
        line = f"{self.loop.time():9.4f} {' '.join(map(str, facts))}"
        self.lines.append(line)
        self._digest.update(line.encode())

    @property
    def digest(self) -> str:
        return str(self._digest.hexdigest()[:16])

    # --- the story

    async def play(self, story: Story | None) -> None:
        self.nodes = [Node(self, number, self.plan.skews_ms[number]) for number in range(self.plan.nodes)]
        for node in self.nodes:
            node.boot()
        await self._until_up(self.nodes[0])
        await self._store_flows()
        started = self.loop.time()
        self._trouble(self.plan.habits.lost_share > 0 or self.plan.habits.unknown_share > 0 or bool(self.plan.faults))
        for action in self.plan.actions:
            self.loop.call_at(started + action.at, self._start_action, action, context=OUTSIDE)
        for fault in self.plan.faults:
            self.loop.call_at(started + fault.at, self._start_fault, fault, context=OUTSIDE)
        if story is not None:
            await story(self)
        await asyncio.sleep(self.plan.lasts_s)
        await self._settle()

    def _start_action(self, action: Any) -> None:
        self.outside.spawn(self.outside.act(action))

    def _start_fault(self, fault: Fault) -> None:
        if not self.is_over:
            self.outside.spawn(self._break(fault, self.nodes[fault.node]))

    async def _until_up(self, node: Node) -> None:
        while not node.is_up and self.loop.time() < _SETTLE_S:
            await asyncio.sleep(0.01)

    async def _store_flows(self) -> None:
        for flow in self.flows.values():
            self.outside.spawn(self.outside.store_flow(flow))
        while self.outside.open:
            await asyncio.sleep(0.01)

    def _trouble(self, is_on: bool) -> None:
        self.is_troubled = is_on
        for node in self.nodes:
            node.store.is_troubled = is_on

    # --- faults

    def strike(self, kind: str, node: int, lasts_s: float) -> None:
        """Let a fault happen now."""
        self._start_fault(Fault(self.loop.time(), kind, node, lasts_s))

    async def _break(self, fault: Fault, node: Node) -> None:
        self.trace("fault", fault.kind, node.process.name, fault.lasts_s)
        await getattr(self, f"_{fault.kind}")(fault, node)

    async def _crash(self, fault: Fault, node: Node) -> None:
        if node.is_alive:
            process = node.process
            node.crash()
            await asyncio.sleep(fault.lasts_s)
            if node.process is process:
                node.boot()

    async def _freeze(self, fault: Fault, node: Node) -> None:
        process = node.process
        if node.is_alive and not process.is_frozen:
            self.loop.freeze(process)
            await asyncio.sleep(fault.lasts_s)
            self.loop.thaw(process)
            self.trace("thaw", process.name)

    async def _cut(self, fault: Fault, node: Node) -> None:
        store = node.store
        store.is_cut = True
        await asyncio.sleep(fault.lasts_s)
        store.is_cut = self.is_store_away
        self.trace("joined", node.process.name)

    async def _away(self, fault: Fault, _node: Node) -> None:
        self.is_store_away = True
        for node in self.nodes:
            node.store.is_cut = True
        await asyncio.sleep(fault.lasts_s)
        self.is_store_away = False
        for node in self.nodes:
            node.store.is_cut = False
        self.trace("store is back")

    async def _jump(self, fault: Fault, node: Node) -> None:
        """Set the clock on the wall an hour wrong, or right again."""
        was_ms, right_ms = node.skew_ms, self.plan.skews_ms[node.number]
        wrong_ms = right_ms + (3_600_000 if int(fault.at * 1000) % 2 else -3_600_000)
        node.skew_ms = wrong_ms if was_ms == right_ms else right_ms
        by_ms = node.skew_ms - was_ms
        node.clock.skew_ms += by_ms

    async def _leave(self, fault: Fault, node: Node) -> None:
        if node.is_alive and node.is_up and not node.process.is_frozen:
            process = node.process
            await node.leave(min(fault.lasts_s, 5.0))
            await asyncio.sleep(fault.lasts_s)
            if node.process is process:
                node.boot()

    # --- the end

    async def _settle(self) -> None:
        """Let everything work, help what waits for somebody, and wait until nothing moves any more."""
        self._trouble(False)
        self.executors.is_moody = False
        deadline = self.loop.time() + self._patience_s()
        self.trace("settle")
        while True:
            await asyncio.sleep(_ROUND_S)
            if not await self._help() and not self._what_is_left():
                break
            if self.loop.time() > min(deadline, self._dead_since() + _DEAD_S):
                self.problems.append(f"it does not come to an end: {self._what_is_left()}")
                break
        self.is_over = True
        await asyncio.sleep(_QUIET_S)

    def _dead_since(self) -> float:
        """Return since when nothing was stored, unless something waits for a timer: nobody needs to wait longer."""
        if any(stored.due_at is not None for stored in self.disk.all()):
            return self.loop.time()
        return self.disk.last_commit_at

    def _patience_s(self) -> float:
        """A node that starts after somebody has set its clock counts from that time: waits may be an hour longer."""
        kinds = {fault.kind for fault in self.plan.faults}
        return _SETTLE_S + (3600.0 if "jump" in kinds and kinds & {"crash", "leave"} else 0.0)

    def _what_is_left(self) -> list[str]:
        left = [f"client {_where(task)}" for task in self.outside.open]
        if not any(node.is_alive for node in self.nodes):
            left.append("no node is alive")
        for node in self.nodes:
            if not node.is_alive:
                continue
            if not node.is_up:
                left.append(f"{node.process.name} does not start")
                continue
            dispatcher = node.engine.dispatcher
            if dispatcher.in_flight or dispatcher.waiting:
                left.append(f"{node.process.name}: {dispatcher.in_flight} in flight, {dispatcher.waiting} waiting")
        for stored in self.disk.all():
            state = self.disk.state(stored.key)
            if state is None:
                continue
            is_root_over = self._is_root_over(stored.key.execution_id)
            if not (state.status.is_completed or (stored.key.path and is_root_over)) or state.outbox or stored.owners:
                tasks = {name: (task.status.value, task.timer) for name, task in state.tasks.items()}
                left.append(f"{tuple(stored.key)} {state.status} {stored.owners} {list(state.outbox)} {tasks}")
        return left

    def _is_root_over(self, execution_id: str) -> bool:
        root = self.disk.state(ScopeKey(execution_id))
        return root is None or root.status.is_completed

    async def _help(self) -> bool:
        """Resume what is paused, give events and wake what waits; return whether there was anything to do."""
        dice = Random(f"help/{self.seed}/{self.loop.time()}")
        has_helped = False
        for execution_id in sorted(self.disk.scopes):
            root = self.disk.state(ScopeKey(execution_id))
            if root is None or root.status.is_completed or self._is_orphan(root):
                continue
            if root.is_paused:
                has_helped = True
                await self.outside._resume(dice, execution_id)
            waiting = self.waiting_suspenses(execution_id)
            if waiting and dice.random() < 0.5:
                has_helped = True
                await self.outside.raise_event(dice, execution_id)
            for name in waiting:
                has_helped = True
                await self.outside.wake(dice, execution_id, name)
        return has_helped

    def _is_orphan(self, state: ScopeState) -> bool:
        """Say whether nobody waits for this sub-flow any more: then it must end without help."""
        link = state.parent
        if link is None:
            return False
        parent = self.disk.state(ScopeKey(link.execution_id, link.path))
        root = self.disk.state(ScopeKey(link.execution_id))
        if any(one.kind == "finish" and one.execution_id == link.execution_id for one in self.outside.requests):
            return False  # completed by hand: the sub-flow goes its own way
        if parent is None or root is None or root.status.is_completed:
            return True
        task = parent.tasks.get(link.task)
        return task is None or task.status is not TaskStatus.RUNNING or task.attempt != link.attempt

    # --- looking

    def flow_of(self, state: ScopeState) -> Flow | None:
        return self.flows.get(state.dag_name)

    def states_of(self, execution_id: str) -> list[ScopeState]:
        keys = [ScopeKey(execution_id, path) for path in self.disk.scopes.get(execution_id, {})]
        return [state for state in map(self.disk.state, keys) if state is not None]

    def waiting_suspenses(self, execution_id: str) -> list[str]:
        found = []
        for state in self.states_of(execution_id):
            flow = self.flow_of(state)
            kinds = {task.name: task.kind for task in flow.everything()} if flow is not None else {}
            if not state.status.is_completed:
                found += [
                    instance_name(state.key.path, task.name)
                    for task in state.tasks.values()
                    if task.status is TaskStatus.RUNNING and kinds.get(task.name) == "suspense"
                ]
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Outcome:
    plan: Plan
    problems: list[str]
    digest: str
    simulated_s: float
    steps: int
    lines: list[str]


def run(plan: Plan, story: Story | None = None) -> Outcome:
    """Play a plan, or a story of a test besides, to its end and return what was wrong."""
    from tests.simulation.checker import check

    loop = SimulatedLoop(plan.seed)
    world = World(plan, loop)
    logs.watch(world.problems, world.trace)
    try:
        story = loop.create_task(world.play(story), context=OUTSIDE.copy())
        loop.run_until_complete(story)
        check(world)
        loop.run_until_complete(loop.create_task(_close(world), context=OUTSIDE.copy()))
    except (Livelock, NotTaken, NoAnswer, StorageUnavailable) as error:
        world.problems.append(f"{type(error).__name__}: {error}")
    finally:
        logs.watch(None, None)
        _bury(world)
    problems = [*world.problems, *world.disk.problems, *world.executors.problems, *loop.complaints]
    return Outcome(plan, list(dict.fromkeys(problems)), world.digest, loop.time(), loop.steps, world.lines)


async def _close(world: World) -> None:
    for node in world.nodes:
        if node.is_alive and node.is_up:
            await node.leave(1.0)


def _bury(world: World) -> None:
    for node in world.nodes:
        if node.is_alive:
            node.crash()
        for process in node.past:
            world.loop.bury(process)
    for task in world.outside.open:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    world.loop.close()
    gc.collect(0)


def _where(task: asyncio.Task[Any]) -> str:
    coro: Any = task.get_coro()
    names = []
    while coro is not None and hasattr(coro, "cr_frame") and coro.cr_frame is not None:
        names.append(f"{coro.cr_code.co_name}:{coro.cr_frame.f_lineno}")
        coro = coro.cr_await
    return " > ".join(names)
