"""What a seed stands for: the settings of a world, its flows, and a schedule of what clients do and what breaks.

A plan is data, so that it can be printed, and made smaller while a failure stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.simulation.flows import Draw, Flow
from tests.simulation.store import Habits
from tornflow.engine.program import Rules
from tornflow.runtime.engine import EngineSettings


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a client does. ``salt`` decides everything that is not said."""

    at: float
    kind: str
    salt: int


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    kind: str
    node: int
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: str
    nodes: int
    is_shared: bool
    lasts_s: float
    habits: Habits
    pace_s: float
    flows: tuple[Flow, ...]
    children: tuple[Flow, ...]
    actions: tuple[Action, ...]
    faults: tuple[Fault, ...]
    skews_ms: tuple[int, ...]
    tuning: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> EngineSettings:
        return EngineSettings(rules=Rules(**self.rules), **self.tuning)

    def lines(self) -> list[str]:
        """Return the plan in words, for whoever reads a failure."""
        lines = [f"seed {self.seed}: {self.nodes} node(s), shared={self.is_shared}, {self.lasts_s:.0f} s"]
        lines.append(str(self.habits))
        lines += [f"settings {self.tuning} {self.rules} skews {self.skews_ms} executors {self.pace_s} s"]
        lines += [f"flow {flow.text()}" for flow in (*self.flows, *self.children)]
        timed = [*self.actions, *self.faults]
        return lines + [f"{one.at:8.3f} {one}" for one in sorted(timed, key=lambda one: one.at)]


_CLIENT_KINDS = (
    "finish", "finish", "late", "late", "wakeup", "wakeup", "raise", "raise", "pause", "pause", "resume", "terminate",
    "terminate", "purge", "purge", "redo", "redo", "degrade", "complete", "restart", "restart", "look", "look", "again",
    "alter",
)  # fmt: skip
_FAULT_KINDS = ("crash", "crash", "freeze", "cut", "away", "jump", "leave")


def draw_plan(seed: str, *, nodes: int = 0, has_clients: bool = True, has_faults: bool = True) -> Plan:
    """``nodes`` 0: as many as the seed says. One node may have its store for itself; several share it."""
    dice = Random(f"plan/{seed}")
    nodes = nodes or dice.choice([1, 1, 2, 2, 3, 4])
    is_shared = nodes > 1 or dice.random() < 0.3
    lasts_s = dice.choice([5.0, 20.0, 60.0])
    children, flows = _draw_flows(seed)
    moment = _draw_moments(dice, lasts_s)
    has_faults = has_faults and dice.random() < 0.8
    return Plan(
        seed=seed,
        nodes=nodes,
        is_shared=is_shared,
        lasts_s=lasts_s,
        habits=_draw_habits(dice, has_faults),
        pace_s=dice.choice([0.01, 0.1, 1.0]),
        flows=flows,
        children=children,
        actions=_draw_actions(dice, moment, has_clients and dice.random() < 0.8),
        faults=_draw_faults(dice, nodes, moment) if has_faults else (),
        skews_ms=tuple(dice.choice([0, 0, 1500, -3000]) if has_faults else 0 for _ in range(nodes)),
        tuning={
            "cache_scopes": dice.choice([1, 3, 2000]),
            "head_inline_limit_bytes": dice.choice([0, 300, 16_384]),
            "finished_retention_s": dice.choice([15.0, 86_400.0, 86_400.0]),
            "timer_horizon_s": dice.choice([4.0, 60.0]),
        },
        rules={"inline_tasks_per_step": dice.choice([1, 2, 64]), "event_buffer": dice.choice([2, 1000])},
    )


def _draw_flows(seed: str) -> tuple[tuple[Flow, ...], tuple[Flow, ...]]:
    dice = Random(f"flows/{seed}")
    risk = dice.choice([0.2, 0.6])
    has_timeouts = dice.random() < 0.5
    children = []
    for number in range(2):  # the second may start the first
        known = tuple(flow.name for flow in children)
        draw = Draw(dice, known, risk, has_timeouts)
        tasks = draw.tasks(f"k{number}", depth=2, most=2)
        children.append(Flow(f"kid{number}", tasks))
    names = tuple(flow.name for flow in children)
    flows = [Draw(dice, names, risk, has_timeouts).flow(f"flow{number}") for number in range(dice.randint(1, 3))]
    return tuple(children), tuple(flows)


def _draw_habits(dice: Random, has_faults: bool) -> Habits:
    pace_s = dice.choice([0.0005, 0.005, 0.05])
    batch_s = dice.choice([0.0, 0.0, 0.004])
    if not has_faults:
        return Habits(pace_s, batch_s=batch_s)
    return Habits(
        pace_s,
        dice.choice([0.0, 0.02, 0.1]),
        dice.choice([0.2, 2.0]),
        dice.choice([0.0, 0.0, 0.05, 0.2]),
        dice.choice([0.0, 0.0, 0.05, 0.2]),
        batch_s,
    )


def _draw_moments(dice: Random, lasts_s: float) -> Callable[[], float]:
    """Spread what happens over the whole time, or put it together in a few places: races need company."""
    if dice.random() < 0.5:
        return lambda: dice.random() * lasts_s
    places = [dice.random() * lasts_s * 0.9 for _ in range(3)]
    reach_s = dice.choice([0.01, 0.1, 1.0])
    return lambda: dice.choice(places) + dice.random() * reach_s


def _draw_actions(dice: Random, moment: Callable[[], float], has_clients: bool) -> tuple[Action, ...]:
    kinds = ["submit", "submit", "start"]
    starts = [Action(moment() * 0.8, dice.choice(kinds), dice.getrandbits(30)) for _ in range(dice.randint(1, 6))]
    count = dice.choice([0, 3, 12, 30]) if has_clients else 0
    others = [Action(moment(), dice.choice(_CLIENT_KINDS), dice.getrandbits(30)) for _ in range(count)]
    return tuple(sorted([*starts, *others], key=lambda one: one.at))


def _draw_faults(dice: Random, nodes: int, moment: Callable[[], float]) -> tuple[Fault, ...]:
    faults = [
        Fault(moment(), dice.choice(_FAULT_KINDS), dice.randrange(nodes), dice.choice([0.05, 0.3, 3.0, 15.0]))
        for _ in range(dice.choice([1, 2, 5, 10]))
    ]
    return tuple(sorted(faults, key=lambda one: one.at))


def without(plan: Plan, **parts: Any) -> Plan:
    return dataclasses.replace(plan, **parts)
