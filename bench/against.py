"""Two checkouts in turn: flows per second of this one as a share of another's, taken within each round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.flows import Rhythm, run_server
from bench.lab import Lab
from bench.load import Verdict, Window
from bench.report import Figure, median, say

GOALS = {"memory": 0.95, "sqlite": 0.95, "mongodb": 0.85}
"""Share of the other checkout's flows/s; on MongoDB freshness costs reads."""


async def measure(lab: Lab, other: Path, stores: Sequence[str], rhythm: Rhythm) -> Figure:
    """Every round runs both; who begins changes from round to round."""
    rows, verdicts, raw = [], [], []
    for kind in stores:
        pairs, found = [], []
        for number in range(1, rhythm.rounds + 1):
            order: list[Path | None] = [None, other] if number % 2 else [other, None]
            windows: dict[Path | None, tuple[Window, Verdict]] = {}
            for repo in order:
                windows[repo] = await run_server(lab, kind, rhythm, repo)
            (ours, verdict), (theirs, _) = windows[None], windows[other]
            pairs.append((ours, theirs))
            found.append(verdict)
            raw.append({"store": kind, "round": number, "ours": _raw(ours), "theirs": _raw(theirs)})
            _tell(kind, number, ours, theirs)
        rows.append(_row(kind, pairs))
        verdicts += _verdicts(kind, rows[-1]["ratio"], found)
    more = {"other": str(other), "raw": raw, "busy": lab.busy_starts}
    title = f"Two-task flows per second beside another checkout, {rhythm.in_flight} in flight, one core"
    return Figure("against", title, rows, verdicts, more)


def _row(kind: str, pairs: Sequence[tuple[Window, Window]]) -> dict[str, Any]:
    ratios = [ours.flows_per_s / theirs.flows_per_s for ours, theirs in pairs]
    row = {
        "store": kind,
        "other flows/s": median([theirs.flows_per_s for _, theirs in pairs]),
        "flows/s": median([ours.flows_per_s for ours, _ in pairs]),
        "ratio": median(ratios),
        "ratio per round": " ".join(f"{one:.2f}" for one in ratios),
        "ratio by CPU": median([_cpu(theirs) / _cpu(ours) for ours, theirs in pairs]),
        "other CPU us/flow": median([_cpu(theirs) for _, theirs in pairs]),
        "CPU us/flow": median([_cpu(ours) for ours, _ in pairs]),
    }
    if "mongod" in pairs[0][0].cpu_s:
        row["other mongod us/flow"] = median([theirs.cpu_us_per_flow("mongod") for _, theirs in pairs])
        row["mongod us/flow"] = median([ours.cpu_us_per_flow("mongod") for ours, _ in pairs])
    return row


def _verdicts(kind: str, ratio: float, found: Sequence[Verdict]) -> list[tuple[bool, str]]:
    accepted, succeeded = sum(one.accepted for one in found), sum(one.succeeded for one in found)
    wrong = [text for one in found for text in one.wrong]
    text = f"{kind}: {ratio:.2f} of the other checkout's flows/s, at least {GOALS[kind]:.2f} asked"
    return [
        (ratio >= GOALS[kind], text),
        (accepted == succeeded and not wrong, f"{kind}: {accepted} accepted, {succeeded} SUCCEED; wrong: {wrong[:3]}"),
    ]


def _cpu(window: Window) -> float:
    """What a flow costs the server, in us: on a busy machine the steadier figure."""
    return window.cpu_us_per_flow("server")


def _raw(window: Window) -> dict[str, Any]:
    return {"flows": window.flows, "seconds": window.seconds, "cpu_s": window.cpu_s}


def _tell(kind: str, number: int, ours: Window, theirs: Window) -> None:
    say(
        f"{kind} round {number}: {ours.flows_per_s:,.0f}/s {ours.cpu_us_per_flow('server'):,.0f} us, "
        f"other {theirs.flows_per_s:,.0f}/s {theirs.cpu_us_per_flow('server'):,.0f} us, "
        f"ratio {ours.flows_per_s / theirs.flows_per_s:.3f}"
    )
