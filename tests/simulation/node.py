"""One simulated node after another in the same place: process, clocks, identities, store client and a real Engine."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from tests.simulation.executors import SimulatedTaskType
from tests.simulation.loop import OUTSIDE, Process, SimulatedLoop
from tests.simulation.store import StoreClient
from tornflow.errors import StorageError
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.engine import Engine
from tornflow_task_subflow import SubflowTaskType

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
START_MS = 1_700_000_000_000
_CLIENT_PATIENCE_S = 40.0


class NotTaken(Exception):
    """Nobody listens there; the request was not even read."""


class NoAnswer(Exception):
    """The connection broke or the client lost patience: nobody knows what became of the request."""


@dataclass(slots=True)
class NodeClock:
    """``skew_ms`` is what the wall clock of this machine is wrong by; somebody may set it at any time."""

    loop: SimulatedLoop
    skew_ms: int = 0
    _shift_ms: int = 0

    def __post_init__(self) -> None:
        self._shift_ms = self.skew_ms

    def _elapsed_ms(self) -> int:
        return int(self.loop.time() * 1000)

    def wall_ms(self) -> int:
        return START_MS + self._elapsed_ms() + self.skew_ms

    def steady_ms(self) -> int:
        return START_MS + self._elapsed_ms() + self._shift_ms

    def drift_ms(self) -> int:
        return self.steady_ms() - self.wall_ms()

    def seconds(self) -> float:
        return self.loop.time()

    def shift(self, by_ms: int) -> None:
        self._shift_ms += by_ms


@dataclass(slots=True)
class SeededIdentities:
    """Ids that say where they come from; a name is never used twice in one world."""

    name: str
    random: Random
    count: int = 0

    def _next(self) -> str:
        self.count += 1
        return f"{self.count:06x}"

    def time_uuid(self) -> str:
        return f"{self._next()}-{self.name}"

    def instance_id(self) -> str:
        return f"{self._next()}-{self.name}"

    def life(self) -> str:
        return f"{self._next()}{self.name}"

    def node_id(self) -> str:
        self.count += 1
        return f"{self.name}-{self.count}".encode().hex()

    def chance(self) -> float:
        return self.random.random()


@dataclass(slots=True, eq=False)
class Node:
    """A place where a server runs; a restart puts a new process there."""

    world: World
    number: int
    skew_ms: int
    starts: int = 0
    is_up: bool = False
    process: Process = field(default_factory=lambda: Process("none", is_dead=True))
    engine: Any = None
    clock: Any = None
    store: Any = None
    open_requests: list[asyncio.Future[Any]] = field(default_factory=list)
    past: list[Process] = field(default_factory=list)
    booting: asyncio.Task[Any] | None = None

    @property
    def is_alive(self) -> bool:
        return not self.process.is_dead

    def boot(self) -> None:
        world = self.world
        self.starts += 1
        name = f"{'abcd'[self.number]}{self.starts}"
        self.process = Process(name)
        if self.store is not None and not world.plan.is_shared:
            self.store.is_gone = True  # what was on its way went with the process
        self.clock = NodeClock(world.loop, self.skew_ms)
        self.process.clock = self.clock
        self.store = StoreClient(
            world.loop, world.disk, self.process, world.plan.habits, world.seed, is_shared=world.plan.is_shared
        )
        self.store.is_troubled = world.is_troubled
        self.store.is_cut = world.is_store_away
        self.booting = self.process.run(world.loop.create_task, self._boot(self.process))
        world.trace("boot", name)

    async def _boot(self, process: Process) -> None:
        """Start as a supervisor would: again and again until the store is there."""
        task_type = SimulatedTaskType(self.world.executors, process)
        while True:
            self.engine = make_engine(self, task_type)
            try:
                await self.engine.start()
            except Exception as error:
                if not isinstance(error, StorageError) and not process.is_dead:
                    self.world.problems.append(f"start raised {error!r}")
                self.world.trace("boot failed", process.name, str(error))
                await asyncio.sleep(0.5)
                continue
            break
        self.is_up = True
        opener = getattr(self.engine.dispatcher, "open", None)
        if opener is not None:
            opened = opener()
            if inspect.isawaitable(opened):
                await opened
        self.world.trace("up", process.name)

    def crash(self) -> None:
        self.world.trace("crash", self.process.name)
        self.is_up = False
        self.world.loop.kill(self.process)
        self.past.append(self.process)
        for request in self.open_requests:
            if not request.done():
                request.set_exception(NoAnswer(f"{self.process.name} died"))
        self.open_requests.clear()

    async def leave(self, grace_s: float) -> None:
        """Stop as on SIGTERM; the process is gone when that is done."""
        process = self.process
        self.world.trace("leave", process.name)
        self.is_up = False
        closing = process.run(self.world.loop.create_task, self.engine.close(grace_s))
        done, _ = await asyncio.wait([closing], timeout=grace_s + 60)
        if self.process is not process or process.is_dead:
            return
        if not done:
            self.world.problems.append(f"{process.name}: close({grace_s}) does not end")
        elif closing.exception() is not None:
            self.world.problems.append(f"{process.name}: close raised {closing.exception()!r}")
        self.crash()

    async def ask(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Send a request and wait for its answer, as a client over the network would.

        Raises:
            NotTaken, NoAnswer, and whatever the service raises.
        """
        if not self.is_up or not self.is_alive:
            raise NotTaken(f"node {self.number} is down")
        answer: asyncio.Future[T] = self.world.loop.create_future()
        self.open_requests = [one for one in self.open_requests if not one.done()]
        self.open_requests.append(answer)
        task: asyncio.Task[T] = self.process.run(self.world.loop.create_task, work(self.engine))
        task.add_done_callback(lambda one: _pass_on(one, answer), context=OUTSIDE.copy())
        try:
            return await asyncio.wait_for(answer, _CLIENT_PATIENCE_S)
        except TimeoutError:
            raise NoAnswer("no answer in time") from None


def _pass_on(task: asyncio.Task[Any], answer: asyncio.Future[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if answer.done():
        return
    if task.cancelled():
        answer.set_exception(NoAnswer("the request was cancelled inside"))
    elif error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def make_engine(node: Node, task_type: SimulatedTaskType) -> Any:
    task_types = {"sim": task_type, "rillflow": SubflowTaskType()}
    plugins = Plugins(task_types=task_types, context_initialisers=(), loaded=(), failed=())
    name = f"{node.process.name}"
    identities = SeededIdentities(name, Random(f"ids/{node.world.seed}/{name}"))
    return Engine(
        node.store,
        plugins,
        node.world.plan.settings(),
        lambda *_args: {"told": True},
        clock=node.clock,
        identities=identities,
    )
