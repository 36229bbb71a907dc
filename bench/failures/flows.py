"""The flows of the failure runs, and what each must have become.

Every task sends what the task before it left in the context: a value ``v`` and a ``stamp``. The executor answers with
``v * 7 + number`` and a stamp that no other call gets. So the end of an execution shows which call's answer was taken
at each task, and the request of the next task shows which one was taken at that time: both must be the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MODULUS = 1_000_003
GATE = "gate"
_BUSINESS = "bench"


@dataclass(frozen=True, slots=True)
class Kind:
    """``weight``: its share of the load. ``tasks`` are those with an answer of the executor, in their order."""

    name: str
    weight: int
    text: Callable[[str], str]
    """Returns the descriptor for a base URL of the executor."""
    tasks: tuple[str, ...]
    wake: str = ""
    """How its suspense is woken: ``wakeup`` or ``event``."""
    is_loop: bool = False


def value_after(steps: int, number: int, start: int) -> int:
    """Return ``v`` after so many tasks."""
    value = start
    for _ in range(steps):
        value = (value * 7 + number) % MODULUS
    return value


def items(number: int) -> list[dict[str, int]]:
    """Return what a loop runs over: mostly a handful, now and then forty."""
    count = 40 if number % 10 == 0 else 3 + number % 6
    return [{"number": number, "v": number * 100 + place} for place in range(count)]


def context_of(kind: Kind, number: int) -> dict[str, Any]:
    """Return what an execution is submitted with."""
    more: dict[str, Any] = {"items": items(number)} if kind.is_loop else {}
    return {"number": number, "v": number, "s0": "start", **more}


def draw(chance: random.Random) -> Kind:
    return chance.choices(KINDS, [kind.weight for kind in KINDS])[0]


def check(kind: Kind, number: int, context: dict[str, Any]) -> str:
    """Return what is wrong with a final context; empty when nothing is."""
    if kind.is_loop:
        wanted = [value_after(2, number, item["v"]) for item in items(number)]
        if context.get("vs") != wanted:
            return f"results {context.get('vs')}, wanted {wanted}"
        stamps = context.get("stamps") or []
        return "" if len(set(stamps)) == len(stamps) == len(wanted) else f"stamps of the items: {stamps}"
    steps = len(kind.tasks)
    wanted_value = value_after(steps, number, number)
    if context.get("v") != wanted_value:
        return f"v is {context.get('v')}, wanted {wanted_value}"
    if kind.wake and context.get("go") != f"go-{number}":
        return f"go is {context.get('go')!r}"
    missing = [task for task in kind.tasks if not (context.get("stamps") or {}).get(task)]
    return f"no stamp of {missing}" if missing else ""


def descriptor(name: str, tasks: str) -> str:
    return f"version: 1.0.0\nworkspace: {_BUSINESS}\ndagName: {name}\ntype: flow\ntasks:\n{tasks}\n"


def _call(url: str, name: str, mode: str, *, after: str = "s0", next: str = "", more: str = "") -> str:
    """One task: ``mode`` says how the executor behaves; ``after`` is the task whose stamp is sent."""
    sent = "$.context.s0" if after == "s0" else f"$.context.stamps.{after}"
    pattern = "task_async" if mode.startswith("async") else "task_sync"
    link = f'next: "{next}", ' if next else ""
    return (
        f"  - {{category: function, name: {name}, {link}pattern: {pattern}, "
        f'resourceName: "{url}/{mode}", {more}\n'
        f"     inputMappings: [{{source: $.context.number, target: $.input.number}}, "
        f"{{source: $.context.v, target: $.input.v}}, {{source: {sent}, target: $.input.prev}}],\n"
        f"     outputMappings: [{{source: $.output.v, target: $.context.v}}, "
        f"{{source: $.output.stamp, target: $.context.stamps.{name}}}]}}"
    )


def _chain(url: str) -> str:
    return "\n".join([
        _call(url, "a", "sync", next="b"),
        _call(url, "b", "slow", after="a", next="c"),
        _call(url, "c", "sync", after="b"),
    ])  # fmt: skip


def _called_back(url: str) -> str:
    return "\n".join([
        _call(url, "a", "sync", next="b"),
        _call(url, "b", "async", after="a", next="c", more="retry: {maxRetryTimes: 1, intervalInSeconds: 0},"),
        _call(url, "c", "sync", after="b"),
    ])  # fmt: skip


def _retried(url: str) -> str:
    return "\n".join([
        _call(url, "a", "flaky", next="b", more="retry: {maxRetryTimes: 2, intervalInSeconds: 1},"),
        _call(url, "b", "sync", after="a"),
    ])  # fmt: skip


def _timed(url: str) -> str:
    return "\n".join([
        _call(url, "a", "sync", next="b"),
        _call(url, "b", "later", after="a", next="c", more="timeline: {suspenseIntervalSeconds: 2},"),
        _call(url, "c", "sync", after="b"),
    ])  # fmt: skip


def _woken(url: str) -> str:
    gate = (
        f"  - {{category: suspense, name: {GATE}, next: b, conditions: [$.input.go],\n"
        "     inputMappings: [{source: $.context.go, target: $.input.go}],\n"
        "     outputMappings: [{source: $.output.go, target: $.context.go}]}"
    )
    return "\n".join([_call(url, "a", "sync", next=GATE), gate, _call(url, "b", "sync", after="a")])


def _event(url: str) -> str:
    gate = (
        f"  - {{category: suspense, name: {GATE}, next: b, event: Go,\n"
        "     outputMappings: [{source: $.output.event.go, target: $.context.go}]}"
    )
    return "\n".join([_call(url, "a", "slow", next=GATE), gate, _call(url, "b", "sync", after="a")])


def _loop(url: str) -> str:
    def inner(name: str, mode: str, source: str, prev: str, next: str) -> str:
        pattern = "task_async" if mode == "async" else "task_sync"
        link = f"next: {next}, " if next else ""
        return (
            f"      - {{category: function, name: {name}, {link}pattern: {pattern}, "
            f'resourceName: "{url}/{mode}", retry: {{maxRetryTimes: 1, intervalInSeconds: 0}},\n'
            f"         inputMappings: [{{source: $.context.x.number, target: $.input.number}}, "
            f"{{source: {source}, target: $.input.v}}, {{source: {prev}, target: $.input.prev}}],\n"
            f"         outputMappings: [{{source: $.output.v, target: $.context.w}}, "
            f"{{source: $.output.stamp, target: $.context.st}}]}}"
        )

    return "\n".join([
        "  - category: foreach\n"
        "    name: each\n"
        "    inputMappings: [{source: $.context.items, target: $.input.items}]\n"
        "    iterationMapping: {collection: $.input.items, item: x}\n"
        "    synchronization: {maxConcurrency: 4}\n"
        '    outputMappings: [{source: "$.output.sub_context[*].w", target: $.context.vs},\n'
        '                     {source: "$.output.sub_context[*].st", target: $.context.stamps}]\n'
        "    tasks:",
        inner("p", "sync", "$.context.x.v", "$.context.x.v", "q"),
        inner("q", "async", "$.context.w", "$.context.st", ""),
    ])  # fmt: skip


def _parent(url: str) -> str:
    sub = (
        "  - {category: function, name: sub, next: c, pattern: flow_sync,\n"
        f'     resourceName: "rillflow://{_BUSINESS}:child",\n'
        "     inputMappings: [{source: $.context.number, target: $.input.number},\n"
        "                     {source: $.context.v, target: $.input.v},\n"
        "                     {source: $.context.stamps.a, target: $.input.s0}],\n"
        "     outputMappings: [{source: $.output.v, target: $.context.v},\n"
        "                      {source: $.output.stamps.x, target: $.context.stamps.x},\n"
        "                      {source: $.output.stamps.y, target: $.context.stamps.y}]}"
    )
    return "\n".join([_call(url, "a", "sync", next="sub"), sub, _call(url, "c", "sync", after="y")])


def _child(url: str) -> str:
    retry = "retry: {maxRetryTimes: 1, intervalInSeconds: 0},"
    return "\n".join([_call(url, "x", "slow", next="y"), _call(url, "y", "async", after="x", more=retry)])


KINDS = (
    Kind("chain", 4, lambda url: descriptor("chain", _chain(url)), ("a", "b", "c")),
    Kind("calledBack", 4, lambda url: descriptor("calledBack", _called_back(url)), ("a", "b", "c")),
    Kind("retried", 2, lambda url: descriptor("retried", _retried(url)), ("a", "b")),
    Kind("timed", 2, lambda url: descriptor("timed", _timed(url)), ("a", "b", "c")),
    Kind("woken", 2, lambda url: descriptor("woken", _woken(url)), ("a", "b"), wake="wakeup"),
    Kind("event", 2, lambda url: descriptor("event", _event(url)), ("a", "b"), wake="event"),
    Kind("loop", 2, lambda url: descriptor("loop", _loop(url)), (), is_loop=True),
    Kind("parent", 3, lambda url: descriptor("parent", _parent(url)), ("a", "x", "y", "c")),
)


def child(url: str) -> str:
    return descriptor("child", _child(url))
