"""What the directed scenarios are told with: a calm world to begin with, and a few words for what clients do."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.simulation.clients import Request
from tests.simulation.flows import Flow, Task
from tests.simulation.plan import Plan
from tests.simulation.store import Habits
from tests.simulation.world import Outcome, Story, World, run
from tornflow.model.execution import ScopeKey, ScopeState


def calm_plan(*tasks: Task, nodes: int = 1, pace_s: float = 0.01, **more: Any) -> Plan:
    """Return a plan in which nothing happens by itself, with one flow of these tasks."""
    return Plan(
        **{
            "seed": "story",
            "nodes": nodes,
            "is_shared": nodes > 1,
            "lasts_s": 1.0,
            "habits": Habits(pace_s=0.001),
            "pace_s": pace_s,
            "flows": (Flow("flow0", tasks),),
            "children": (Flow("kid0", (Task("k0", "sync"),)), Flow("kid1", (Task("k1", "suspense"),))),
            "actions": (),
            "faults": (),
            "skews_ms": (0,) * nodes,
            **more,
        }
    )


def play(plan: Plan, story: Story) -> Outcome:
    """Play a story and fail with its schedule where anything was wrong."""
    outcome = run(plan, story)
    assert not outcome.problems, "\n".join([*outcome.problems, *plan.lines(), *outcome.lines])
    return outcome


async def start(world: World, name: str = "one") -> Request:
    mark = world.outside._mark(world.plan.flows[0])
    request = await world.outside.ask(
        Random(mark), "start", name,
        lambda engine: engine.service.start_workflow(
            "sim:flow0", instance_id=name, raw_input=f'{{"mark": "{mark}"}}', component="dapr"
        ),
        mark=mark,
    )  # fmt: skip
    if request.may_have_happened:
        world.outside._note_start(request, name)
    return request


async def do(world: World, kind: str, execution_id: str = "one", *args: Any, **more: Any) -> Request:
    return await world.outside._simple(Random(0), kind, execution_id, *args, **more)


async def finish(world: World, task: str, execution_id: str = "one") -> Request:
    """Complete a task by hand."""
    nonce = world.nonce("h")
    return await world.outside.ask(
        Random(0), "finish", execution_id,
        lambda engine: engine.service.finish(execution_id, task, {"v": nonce, "nonce": nonce}, success=True),
        task=task, nonce=nonce,
    )  # fmt: skip


def state(world: World, execution_id: str = "one", path: str = "") -> ScopeState:
    found = world.disk.state(ScopeKey(execution_id, path))
    assert found is not None
    return found
