"""Flows drawn at random, small, of every category; what they do is a function of their text and their input.

Every task writes one context entry of its own name and reads only entries of tasks before it, so that branches that
run side by side cannot race for a value, and the model can say what must come out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

WORKSPACE = "sim"

_LEAVES = ("sync", "sync", "sync", "async", "async", "pass", "wait", "suspense", "child", "detached")
_BRANCHING = ("foreach", "foreach", "choice", "switch", "return")


@dataclass(frozen=True, slots=True)
class Task:
    """One task as drawn. Which fields count depends on ``kind``.

    ``fails``: so many attempts fail by plan; ``never``: so many get no answer until the timeout; ``is_shaky``: nobody
    can say how an attempt ends. ``is_on``: what the condition of a switch, return or choice branch gives.
    """

    name: str
    kind: str
    next: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    fails: int = 0
    never: int = 0
    is_shaky: bool = False
    retries: int = 0
    interval_s: int = 0
    timeout_s: int = 0
    is_tolerant: bool = False
    is_on: bool = True
    size: int = 0
    limit: int = 0
    has_event: bool = False
    child: str = ""
    bodies: tuple[tuple[Task, ...], ...] = ()

    @property
    def is_function(self) -> bool:
        return self.kind in ("sync", "async", "child", "detached")


@dataclass(frozen=True, slots=True)
class Flow:
    name: str
    tasks: tuple[Task, ...]
    timeout_s: int = 0
    has_callback: bool = False

    @property
    def descriptor_id(self) -> str:
        return f"{WORKSPACE}:{self.name}"

    def text(self, version: str = "1") -> str:
        document: dict[str, Any] = {
            "version": version,
            "workspace": WORKSPACE,
            "dagName": self.name,
            "type": "flow",
            "tasks": [document_of(task, is_inside=False) for task in self.tasks],
        }
        if self.timeout_s:
            document["timeline"] = {"timeoutInSeconds": str(self.timeout_s)}
        if self.has_callback:
            document["callback"] = {"resourceName": "sim://callback"}
        return json.dumps(document)

    def everything(self) -> list[Task]:
        return list(_walk(self.tasks))


def _walk(tasks: tuple[Task, ...]) -> Iterator[Task]:
    for task in tasks:
        yield task
        for body in task.bodies:
            yield from _walk(body)


# --- drawing


@dataclass(slots=True)
class Draw:
    """``kinds`` narrows what may be drawn; ``risk`` is the share of tasks with retries, timeouts or failures."""

    random: Random
    children: tuple[str, ...] = ()
    risk: float = 0.4
    has_timeouts: bool = True
    names: Iterator[int] = field(default_factory=itertools.count)

    def flow(self, name: str) -> Flow:
        dice = self.random
        tasks = self.tasks(name, depth=1, most=5)
        timeout_s = dice.choice([5, 40]) if self.has_timeouts and dice.random() < 0.1 else 0
        return Flow(name, tasks, timeout_s, dice.random() < 0.3)

    def tasks(self, prefix: str, depth: int, most: int) -> tuple[Task, ...]:
        """Edges only lead forward. In groups tasks form a chain: a failed one leaves nothing running beside it."""
        dice = self.random
        count = dice.randint(1, most)
        names = [f"{prefix}t{next(self.names)}" for _ in range(count)]
        following: list[list[str]] = [[] for _ in names]
        for number in range(count):
            for other in range(number + 1, count):
                is_linked = other == number + 1 if depth > 1 else dice.random() < 0.5
                if is_linked:
                    following[number].append(names[other])
        found = []
        for number, name in enumerate(names):
            before = tuple(names[other] for other in range(number) if name in following[other])
            found.append(self.task(name, tuple(following[number]), before, depth))
        return tuple(found)

    def task(self, name: str, following: tuple[str, ...], before: tuple[str, ...], depth: int) -> Task:
        dice = self.random
        kinds = _LEAVES + (_BRANCHING if depth < 3 else _BRANCHING[-2:])
        kind = dice.choice([k for k in kinds if self.children or k not in ("child", "detached")])
        common: dict[str, Any] = {"name": name, "kind": kind, "next": following, "before": before}
        match kind:
            case "sync" | "async":
                return Task(**common, **self.trouble(kind))
            case "child" | "detached":
                retries = dice.choice([0, 0, 1])
                timeout_s = dice.choice([0, 0, 6]) if kind == "child" and self.has_timeouts else 0
                is_tolerant = dice.random() < 0.3
                return Task(
                    **common, child=dice.choice(self.children), retries=retries, timeout_s=timeout_s,
                    is_tolerant=is_tolerant,
                )  # fmt: skip
            case "wait":
                return Task(**common, interval_s=dice.choice([1, 3, 10]))
            case "suspense":
                timeout_s = dice.choice([0, 0, 5]) if self.has_timeouts else 0
                return Task(**common, has_event=dice.random() < 0.6, timeout_s=timeout_s)
            case "switch" | "return":
                return Task(**common, is_on=dice.random() < 0.5)
            case "foreach":
                body = self.tasks(name, depth + 1, 2)
                timeout_s = dice.choice([0, 0, 0, 8]) if self.has_timeouts else 0
                return Task(
                    **common, size=dice.choice([0, 1, 2, 3, 5, 12]), limit=dice.choice([0, 0, 1, 2]), bodies=(body,),
                    timeout_s=timeout_s,
                )  # fmt: skip
            case "choice":
                bodies = tuple(self.tasks(f"{name}b{n}", depth + 1, 2) for n in range(dice.randint(1, 2)))
                return Task(**common, bodies=bodies, is_on=dice.random() < 0.8)
        return Task(**common)

    def trouble(self, kind: str) -> dict[str, Any]:
        dice = self.random
        if dice.random() > self.risk:
            return {}
        found: dict[str, Any] = {
            "fails": dice.choice([0, 1, 1, 2]),
            "retries": dice.choice([0, 1, 2, 3]),
            "interval_s": dice.choice([0, 0, 1, 4]),
            "is_tolerant": dice.random() < 0.3,
            "is_shaky": dice.random() < 0.15,
        }
        if kind == "async" and self.has_timeouts and dice.random() < 0.5:
            found |= {"never": dice.choice([0, 1]), "timeout_s": dice.choice([2, 5])}
        return found


# --- text


def document_of(task: Task, *, is_inside: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": task.name,
        "next": ",".join(task.next),
        "inputMappings": [_rule("$.context.mark", "$.input.mark"), *_reads(task, is_inside)],
        "outputMappings": [_rule("$.output.v", f"$.context.{task.name}")],
        "tolerance": task.is_tolerant,
    }
    if task.timeout_s:
        document["timeline"] = {"timeoutInSeconds": str(task.timeout_s)}
    return document | _OF_KIND[task.kind](task)


def _rule(source: str, target: str) -> dict[str, Any]:
    return {"source": source, "target": target}


def _reads(task: Task, is_inside: bool) -> list[dict[str, Any]]:
    rules = [_rule(f"$.context.{task.before[0]}", "$.input.x")] if task.before else []
    return [*rules, _rule("$.context.e", "$.input.e")] if is_inside else rules


def _function(task: Task) -> dict[str, Any]:
    plan = f"{task.name}-fail{task.fails}-never{task.never}-{'shaky' if task.is_shaky else 'firm'}"
    return {
        "category": "function",
        "pattern": "task_sync" if task.kind == "sync" else "task_async",
        "resourceName": f"sim://{plan}",
        "retry": {"maxRetryTimes": task.retries, "intervalInSeconds": task.interval_s},
    }


def _flow(task: Task) -> dict[str, Any]:
    return {
        "category": "function",
        "pattern": "flow_sync" if task.kind == "child" else "flow_async",
        "resourceName": f"rillflow://{WORKSPACE}:{task.child}",
        "retry": {"maxRetryTimes": task.retries, "intervalInSeconds": 1},
        "outputMappings": [_rule("$.output.mark", f"$.context.{task.name}")],
    }


def _pass(task: Task) -> dict[str, Any]:
    document: dict[str, Any] = {
        "category": "pass",
        "outputMappings": [_rule("$.output.mark", f"$.context.{task.name}")],
    }
    if task.kind == "wait":
        document["timeline"] = {"suspenseIntervalSeconds": str(task.interval_s)}
    return document


def _suspense(task: Task) -> dict[str, Any]:
    document: dict[str, Any] = {"category": "suspense", "interruptions": []}
    document["inputMappings"] = [_rule(f"$.context.{task.name}", "$.input.go")]
    if task.has_event:
        document["event"] = "go"
        document["outputMappings"] = [_rule("$.output.event.v", f"$.context.{task.name}")]
    document["conditions"] = ["$.input.go"]
    return document


def _constant(is_on: bool) -> list[dict[str, Any]]:
    return [_rule("1", "$.input.flag")] if is_on else []


def _switch(task: Task) -> dict[str, Any]:
    cases = [{"condition": "$.input.flag" if n == 0 else "default", "next": name} for n, name in enumerate(task.next)]
    return {
        "category": "switch", "switches": cases, "next": ",".join(task.next), "inputMappings": _constant(task.is_on),
        "outputMappings": [],
    }  # fmt: skip


def _return(task: Task) -> dict[str, Any]:
    return {
        "category": "return", "conditions": ["$.input.flag"], "inputMappings": _constant(task.is_on),
        "outputMappings": [],
    }  # fmt: skip


def _foreach(task: Task) -> dict[str, Any]:
    document: dict[str, Any] = {
        "category": "foreach",
        "inputMappings": [
            _rule("$.context.mark", "$.input.mark"),
            _rule(json.dumps(list(range(1, task.size + 1))), "$.input.l"),
        ],
        "iterationMapping": {"collection": "$.input.l", "item": "e", "index": "i"},
        "outputMappings": [_rule("$.output.sub_context", f"$.context.{task.name}")],
        "tasks": [document_of(one, is_inside=True) for one in task.bodies[0]],
    }
    if task.limit:
        document["synchronization"] = {"maxConcurrency": str(task.limit), "conditions": ["$.input.mark"]}
    return document


def _choice(task: Task) -> dict[str, Any]:
    """The first branch is taken when the task is on, the second one always."""
    conditions = ["$.input.flag", "$.input.mark"]
    names = [one.name for body in task.bodies for one in body]
    return {
        "category": "choice",
        "inputMappings": [_rule("$.context.mark", "$.input.mark"), *_constant(task.is_on)],
        "outputMappings": [_rule(f"$.output.{name}", f"$.context.{name}") for name in names],
        "choices": [
            {"condition": conditions[n], "tasks": [document_of(one, is_inside=True) for one in body]}
            for n, body in enumerate(task.bodies)
        ],
    }


_OF_KIND: dict[str, Any] = {
    "sync": _function,
    "async": _function,
    "child": _flow,
    "detached": _flow,
    "pass": _pass,
    "wait": _pass,
    "suspense": _suspense,
    "switch": _switch,
    "return": _return,
    "foreach": _foreach,
    "choice": _choice,
}
