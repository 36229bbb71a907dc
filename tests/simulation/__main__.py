"""``python -m tests.simulation --seeds 1000``: play many worlds and say which seeds go wrong."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.plan import draw_plan
from tests.simulation.shrink import kind_of, shrink
from tests.simulation.world import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="number of the first one")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long, whatever --seeds says")
    parser.add_argument("--nodes", type=int, default=0, choices=range(5), help="always so many nodes")
    parser.add_argument("--replay", help="play one seed and print what is wrong")
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--no-clients", action="store_true")
    parser.add_argument("--shrink", action="store_true", help="make a failing world smaller")
    parser.add_argument("--verbose", action="store_true", help="print the plan and the schedule")
    given = parser.parse_args()
    seeds = [given.replay] if given.replay else [str(n) for n in range(given.start, given.start + given.seeds)]
    kinds: dict[str, list[str]] = {}
    started, bad, simulated, count = time.monotonic(), [], 0.0, 0
    for seed in seeds:
        if given.minutes and time.monotonic() - started > given.minutes * 60:
            break
        plan = draw_plan(seed, nodes=given.nodes, has_faults=not given.no_faults, has_clients=not given.no_clients)
        outcome = run(plan)
        count += 1
        simulated += outcome.simulated_s
        if outcome.problems:
            bad.append(seed)
            kinds.setdefault(kind_of(outcome.problems[0]), []).append(seed)
            print(f"seed {seed}: {outcome.digest} nodes={plan.nodes}", flush=True)
            for problem in outcome.problems[:8]:
                print(f"    {problem[:600]}", flush=True)
        if given.shrink and outcome.problems:
            outcome = shrink(outcome)
            print("smallest:", *outcome.plan.lines(), *outcome.problems[:5], *outcome.lines, sep="\n    ", flush=True)
        elif given.verbose:
            print("\n".join([*plan.lines(), *outcome.lines]))
        if given.replay:
            print(f"seed {seed}: digest {outcome.digest}, {outcome.simulated_s:.0f} s, {outcome.steps} steps")
    spent = time.monotonic() - started
    print(f"{count} worlds, {simulated:.0f} simulated s in {spent:.0f} s; {len(bad)} bad")
    for kind, of_kind in sorted(kinds.items(), key=lambda one: -len(one[1])):
        print(f"KIND {len(of_kind)} x {kind}: {' '.join(of_kind[:12])}")
    return 1 if bad else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of texts must keep their order from run to run
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main())
