"""Worlds drawn from fixed seeds: the same ones in every run. More of them by hand: ``python -m tests.simulation``."""

from __future__ import annotations

import pytest

from tests.simulation.plan import draw_plan
from tests.simulation.shrink import shrink
from tests.simulation.world import Outcome, run

_PER_TEST = 30


def report(outcome: Outcome) -> str:
    smallest = shrink(outcome, budget=60)
    again = f"PYTHONHASHSEED=0 python -m tests.simulation --replay {outcome.plan.seed} --nodes {outcome.plan.nodes}"
    shown = [*smallest.plan.lines(), *smallest.problems, *smallest.lines]
    return "\n".join([again, *outcome.problems, "smallest:", *shown])


@pytest.mark.parametrize("nodes", [1, 2, 3])
@pytest.mark.parametrize("block", range(5))
def test_every_world_comes_to_the_right_end(block: int, nodes: int) -> None:
    for number in range(block * _PER_TEST, (block + 1) * _PER_TEST):
        outcome = run(draw_plan(f"ci{number}", nodes=nodes))
        assert not outcome.problems, report(outcome)


def test_a_seed_always_gives_the_same_schedule() -> None:
    plan = draw_plan("same", nodes=2)
    assert run(plan).lines == run(plan).lines
