"""What the nodes said: how often each warning or error came, and one whole example of each error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

EXAMPLE_CHARS = 3000


def said(files: Iterable[Path]) -> tuple[dict[str, int], dict[str, str]]:
    """Return counts by level and event, and for errors the first line as it was written."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for file in files:
        if not file.exists():
            continue
        for line in file.read_text("utf-8", "replace").splitlines():
            entry = _entry(line)
            if entry is None:
                counts["not JSON"] += 1
                examples.setdefault("not JSON", line[:EXAMPLE_CHARS])
                continue
            name = f"{entry.get('level')}: {entry.get('event')}"
            counts[name] += 1
            if entry.get("level") not in ("debug", "info", "warning"):
                examples.setdefault(name, line[:EXAMPLE_CHARS])
    return dict(counts.most_common(50)), examples


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
