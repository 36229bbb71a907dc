"""How a scope lies in a store: what a shorter run finds of a longer one before it."""

from __future__ import annotations

import json

from tests.unit.engine_world import World
from tests.unit.test_engine_stops import function, loop, scope_at, settle
from tests.unit.test_engine_worlds import CHILDREN, bring_to_the_end, compiled, flow_of
from tornflow.engine.events import Redone
from tornflow.engine.program import Rules
from tornflow.model.execution import ScopeKey
from tornflow.runtime.codec import decode


def test_a_redo_over_fewer_elements_is_not_judged_by_marks_of_the_longer_run() -> None:
    world = World(CHILDREN, 0, Rules())
    source = [{"source": "$.context.items", "target": "$.input.l"}]
    root = ScopeKey(world.start(compiled(flow_of("ex", [loop(function("in", "task_sync"), inputMappings=source)])), {}))
    world.send(root, Redone(world.now, ("loop",), {"items": [7] * 1100}))
    settle(world)
    assert {"g:loop:0", "g:loop:1"} <= set(world.saved[root].parts)
    world.send(root, Redone(world.now, ("loop",), {"items": [7] * 2}))
    world.crash(0)
    groups = decode(world.saved[root])[0].tasks["loop"].groups
    assert groups is not None and (groups.total, len(groups.marks)) == (2, 2)
    bring_to_the_end(world)
    assert scope_at(world, root).state.status == "SUCCEED"


def test_a_wait_without_end_fits_the_columns_of_a_store() -> None:
    world = World(CHILDREN, 0, Rules())
    far = function("far", timeline={"suspenseIntervalSeconds": 10**30}, next="")
    root = ScopeKey(world.start(compiled(flow_of("ex", [far])), {}))
    due_at = world.saved[root].due_at
    assert due_at is not None and due_at < 2**63
    assert json.loads(world.saved[root].head)["status"] == "RUNNING"
