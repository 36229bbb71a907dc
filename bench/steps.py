"""Runs a flow in the pure engine alone and times every step. A script of its own, so that nothing else is measured.

``python -P steps.py TASK.json`` with ``{"text": descriptor, "repeats": int, "together": [int, ...]}`` prints JSON: the
milliseconds of parsing and compiling, and for each number of answers that share a turn what the turns took.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tornflow.descriptors import DescriptorLimits, parse_descriptor
from tornflow.engine.commands import Command, Continue, DispatchTask
from tornflow.engine.events import AttemptEnded, Continued, Event, Submitted
from tornflow.engine.program import Program, Rules, compile_program
from tornflow.engine.scope import Scope
from tornflow.engine.transition import step
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.model.status import FlowStatus
from tornflow.runtime.codec import encode

INLINE_LIMIT_BYTES = 16_384
_SOME_TIME = 1_750_000_000_000
_GENERATION = ("bench",)


def main(task: dict[str, Any]) -> dict[str, Any]:
    """The shortest of the repeats counts, for each turn by itself: the machine adds, it never takes away.

    The collector is set as the server sets it once it has started.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    started = time.perf_counter()
    descriptor = parse_descriptor(task["text"], DescriptorLimits(size_bytes=len(task["text"]) + 1))
    parsed = time.perf_counter()
    program = compile_program(descriptor, _no_transform)
    compiled = time.perf_counter()
    found: dict[str, Any] = {"parse ms": (parsed - started) * 1e3, "compile ms": (compiled - parsed) * 1e3}
    found["turns"] = {str(together): _fastest(program, task["repeats"], together) for together in task["together"]}
    return found


def _fastest(program: Program, repeats: int, together: int) -> dict[str, float]:
    runs = [_run(program, together) for _ in range(repeats)]
    if len({len(run) for run in runs}) != 1:
        raise RuntimeError("the same events did not lead to the same number of steps")
    steps = [min(took) for took in zip(*([took for took, _ in run] for run in runs), strict=True)]
    codes = [min(took) for took in zip(*([took for _, took in run] for run in runs), strict=True)]
    return {
        "count": len(steps),
        "longest step ms": max(steps) * 1e3,
        "longest step of any run ms": max(took for run in runs for took, _ in run) * 1e3,
        "longest with encoding ms": max(a + b for a, b in zip(steps, codes, strict=True)) * 1e3,
        "steps in all ms": sum(steps) * 1e3,
        "encoding in all ms": sum(codes) * 1e3,
    }


def _run(program: Program, together: int) -> list[tuple[float, float]]:
    """Return the seconds of applying and of encoding, turn by turn."""
    state = ScopeState(ScopeKey("bench:steps_c_1"), program.descriptor.md5, generation=_GENERATION)
    state.context = {"a": 1}
    scope = Scope(state, program, Rules(), is_new=True)
    took: list[tuple[float, float]] = []
    queue: deque[Command] = deque(_turn(scope, [Submitted(_SOME_TIME)], took))
    while queue:
        answered = [queue.popleft() for _ in range(min(together, len(queue)))]
        events = [event for one in answered if (event := _answer(one)) is not None]
        if events:
            queue.extend(_turn(scope, events, took))
    if state.status is not FlowStatus.SUCCEED or len(state.tasks) != len(program.root.tasks):
        raise RuntimeError(f"the flow ended as {state.status} after {len(state.tasks)} tasks: {state.msg}")
    return took


def _turn(scope: Scope, events: Sequence[Event], took: list[tuple[float, float]]) -> list[Command]:
    started = time.perf_counter()
    commands = step(scope, events)
    stepped = time.perf_counter()
    encode(scope, INLINE_LIMIT_BYTES)
    took.append((stepped - started, time.perf_counter() - stepped))
    scope.saved()
    return commands


def _answer(command: Command) -> Event | None:
    match command:
        case DispatchTask(task=name, attempt=attempt):
            return AttemptEnded(_SOME_TIME, name, attempt, _GENERATION, {"a": 1})
        case Continue():
            return Continued(_SOME_TIME)
        case _:
            return None


def _no_transform(text: str) -> Any:
    raise ValueError(f"this flow needs no transform: {text}")


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
