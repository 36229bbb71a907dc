"""Figure 8: what a mapping costs beside closures written by hand for the same paths."""

from __future__ import annotations

from pathlib import Path

from bench.lab import Lab
from bench.processes import run_alone
from bench.report import Figure, median, say

RATIO_GOAL = 5.0
ROUNDS = 10
SCRIPT = Path(__file__).with_name("closures.py")


async def measure(lab: Lab, evaluations: int) -> Figure:
    """Per kind of mapping: ``evaluations`` passes of three reads and three writes, in turn with the closures."""
    await lab.settle()
    given = {"evaluations": evaluations, "rounds": ROUNDS}
    found = await run_alone(lab.python, lab.repo, SCRIPT, given, lab.folder("mappings"))
    rows, verdicts = [], []
    for kind, took in found.items():
        ratio = median([ours / theirs for ours, theirs in zip(took["mapped"], took["by hand"], strict=True)])
        ours, theirs = median(took["mapped"]), median(took["by hand"])
        rows.append({"mapping": kind, "us mapped": ours, "us by hand": theirs, "ratio": ratio})
        say(f"{kind}: {ours:.2f} us, by hand {theirs:.2f} us")
        verdicts.append((ratio <= RATIO_GOAL, f"{kind}: {ratio:.1f} times the closures, at most {RATIO_GOAL:g} asked"))
    title = f"A mapping of three reads and three writes, {evaluations:,} evaluations of each kind"
    return Figure("mappings", title, rows, verdicts, {"rounds": found, "busy": lab.busy_starts})
