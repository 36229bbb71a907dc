"""Figures for people (Markdown on standard output) and for programs (JSON under bench/results)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import machine

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. ``verdicts`` are lines that say what was asked and whether it was met."""

    name: str
    title: str
    rows: Sequence[Row]
    verdicts: Sequence[tuple[bool, str]] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool:
        return all(met for met, _ in self.verdicts)


def publish(figure: Figure, folder: Path) -> None:
    """Print a figure and write it to ``folder/<name>.json``."""
    print(f"\n## {figure.title}\n")
    print(table(figure.rows))
    for met, text in figure.verdicts:
        print(f"- {'met' if met else 'NOT MET'}: {text}")
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "figure": figure.name,
        "machine": machine(),
        "rows": list(figure.rows),
        "verdicts": [{"met": met, "text": text} for met, text in figure.verdicts],
        **figure.more,
    }
    (folder / f"{figure.name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table; the columns are the keys in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0 to 1) of all do not exceed; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def median(values: Sequence[float]) -> float:
    """0.0 of none."""
    return statistics.median(values) if values else 0.0


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
