"""Two real nodes on one real mongod under a mixed load; nodes are killed: nothing accepted is lost, doubled or stuck.

The long runs are ``python -m bench failures``; this is the shortest of them.
"""

from __future__ import annotations

import os
import sys

import pytest

from bench.failures.run import Plan, run
from bench.failures.scenarios import SCENARIOS
from bench.lab import open_lab
from bench.processes import REPO
from tornflow.testing.replica_set import NoMongod

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="watches processes through /proc"),
    pytest.mark.timeout(400),
]


async def test_nothing_accepted_is_lost_doubled_or_stuck_when_nodes_are_killed() -> None:
    (scenario,) = (one for one in SCENARIOS if one.name == "kill-nodes-2")
    try:
        with open_lab(python=sys.executable, bare_home=REPO) as lab:
            row, raw = await run(lab, scenario, Plan(minutes=0.2, seed=2, rate=8.0))
    except NoMongod as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no MongoDB: {error}")
    assert raw["complaints"] == []
    assert raw["unrecovered"] == []
    assert row["blows"] >= 1
    assert row["accepted"] == row["finished"] >= 10
    assert row["late callbacks refused"] >= 1, "callbacks of attempts that had failed were sent, and refused"
