"""The closed loop: exactly N flows in flight, the next one begins when one is seen finished.

Load generator and executor are one program on one loop: it answers the dispatches itself and so knows without polling
when a flow ends.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from bench.rill import Refused, Rill
from bench.wire import Client, Request, answer, listen, query_value

CONTEXT = json.dumps(
    {"Bob": "bob", "Alice": "alice", "trace": "0123456789abcdef", "payload": {f"k{i}": "v" * 12 for i in range(9)}}
).encode()
"""What every flow is submitted with: 300 bytes, the same for both programs."""
REPLY = answer(b'{"ok":true,"greet":"hello Bob","score":42,"items":[{"x":1},{"x":2}]}')
DRAIN_S = 60.0


class Subject(Protocol):
    """A program under test, as the load generator sees it."""

    @property
    def finished(self) -> int:
        """Flows that were seen to end."""

    @property
    def submit_ms(self) -> list[float]:
        """How long each submission took to be answered."""

    async def flow(self) -> None:
        """Run one flow and return when it is seen finished."""


@dataclass(slots=True)
class Greeter:
    """The loopback executor of the two-task flow: answers at once and remembers whose second task came."""

    port: int = 0
    calls: int = 0
    repeated: int = 0
    ended: set[bytes] = field(default_factory=set)
    on_call: Callable[[bytes, bytes], None] | None = None
    """Called with (task, execution id) after the answer was written; for the latency figure."""
    _server: asyncio.Server | None = None
    _waiting: dict[bytes, asyncio.Future[None]] = field(default_factory=dict)

    async def start(self) -> None:
        self._server, self.port = await listen(self._handle)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def end_of(self, execution_id: bytes) -> asyncio.Future[None]:
        """A future that is done when the second task of this execution has been called."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if execution_id in self.ended:
            future.set_result(None)
        else:
            self._waiting[execution_id] = future
        return future

    def _handle(self, request: Request) -> None:
        self.calls += 1
        target = request.target
        request.connection.send(REPLY)
        execution_id = query_value(target, b"execution_id").replace(b"%3A", b":")
        task = query_value(target, b"user")
        if self.on_call is not None:
            self.on_call(task, execution_id)
        if task == b"Alice" and execution_id:
            self._note_end(execution_id)

    def _note_end(self, execution_id: bytes) -> None:
        if execution_id in self.ended:
            self.repeated += 1
            return
        self.ended.add(execution_id)
        future = self._waiting.pop(execution_id, None)
        if future is not None and not future.done():
            future.set_result(None)


class Product:
    """tornflow: the submission is answered when it is durable, the flow has ended when its second task is called."""

    def __init__(self, rill: Rill, greeter: Greeter) -> None:
        self._rill, self._greeter = rill, greeter
        self.submit_ms: list[float] = []
        self.accepted: list[str] = []

    @property
    def finished(self) -> int:
        return len(self._greeter.ended)

    async def flow(self) -> None:
        started = time.perf_counter()
        execution_id = await self._rill.submit("twoTasks", CONTEXT)
        self.submit_ms.append((time.perf_counter() - started) * 1e3)
        self.accepted.append(execution_id)
        await self._greeter.end_of(execution_id.encode())


class Bare:
    """The bare program: one POST runs one flow and is answered when it is done."""

    def __init__(self, port: int) -> None:
        self._client = Client(port)
        self.submit_ms: list[float] = []
        self.finished = 0

    async def flow(self) -> None:
        started = time.perf_counter()
        status, body = await self._client.post("/", CONTEXT)
        if status != 200:
            raise Refused(f"the bare program answered {status} {body[:200]!r}")
        self.submit_ms.append((time.perf_counter() - started) * 1e3)
        self.finished += 1

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between the end of the warm-up and the end of the measurement."""

    seconds: float
    flows: int
    submit_ms: list[float]
    cpu_s: dict[str, float]
    """CPU seconds of each process that was watched."""

    @property
    def flows_per_s(self) -> float:
        return self.flows / self.seconds

    def cpu_us_per_flow(self, name: str) -> float:
        return self.cpu_s[name] / max(1, self.flows) * 1e6


Watch = Callable[[], dict[str, float]]
"""Reads the CPU seconds of the processes to watch."""


async def drive(
    subject: Subject,
    watch: Watch,
    *,
    in_flight: int,
    warm_s: float,
    seconds: float,
    during: Callable[[], Awaitable[None]] | None = None,
) -> Window:
    """Keep ``in_flight`` flows going, measure for ``seconds`` after ``warm_s``, then let the last ones end.

    ``during`` is run beside the measurement (the profiler).

    Raises:
        Refused, Broken: from the first flow that failed.
        TimeoutError: the last flows did not end within ``DRAIN_S``.
    """
    is_over = asyncio.Event()
    slots = [asyncio.create_task(_slot(subject, is_over)) for _ in range(in_flight)]
    try:
        await _unless_failed(slots, warm_s)
        before, flows, submits, started = watch(), subject.finished, len(subject.submit_ms), time.perf_counter()
        beside = asyncio.create_task(_nothing() if during is None else _await(during))
        await _unless_failed(slots, seconds)
        took = time.perf_counter() - started
        after, done, latencies = watch(), subject.finished - flows, subject.submit_ms[submits:]
        is_over.set()
        await beside
        async with asyncio.timeout(DRAIN_S):
            await asyncio.gather(*slots)
    finally:
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
    return Window(took, done, latencies, {name: after[name] - before[name] for name in before})


async def _slot(subject: Subject, is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        await subject.flow()


async def _unless_failed(slots: list[asyncio.Task[None]], seconds: float) -> None:
    """Sleep; raise at once what a slot raised."""
    done, _ = await asyncio.wait(slots, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for slot in done:
        slot.result()


async def _nothing() -> None:
    return None


async def _await(during: Callable[[], Awaitable[None]]) -> None:
    await during()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the server says about the executions afterwards."""

    accepted: int
    succeeded: int
    wrong: list[str]
    by_status: dict[str, int]


async def verify(rill: Rill, accepted: list[str], *, sample: int = 100, patience_s: float = 15.0) -> Verdict:
    """Ask the server: no execution is left unfinished, and a sample has the right context."""
    by_status = await rill.count_by_status()
    end = time.monotonic() + patience_s
    while by_status.get("succeed", 0) < len(accepted) and time.monotonic() < end:
        await asyncio.sleep(0.1)  # the last step commits after the executor saw the last call
        by_status = await rill.count_by_status()
    wrong = []
    for execution_id in accepted[:: max(1, len(accepted) // sample)]:
        view = await rill.view(execution_id, brief=False)
        context = view.get("context", {})
        if view.get("dag_status") != "SUCCEED" or (context.get("score1"), context.get("greet")) != (42, "hello Bob"):
            wrong.append(f"{execution_id}: {view.get('dag_status')} {context.get('score1')!r} {context.get('greet')!r}")
    return Verdict(len(accepted), by_status.get("succeed", 0), wrong, by_status)
