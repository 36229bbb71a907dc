"""Settings that no longer exist. A configuration that still names one works for a year; a warning says what to do."""

from __future__ import annotations

from collections.abc import Mapping

RETIRED: Mapping[str, str] = {
    "expressions.wall_ms": "scripts are limited by expressions.steps alone, so that a busy machine changes no result",
}
"""Path -> what replaces it."""

RETIRED_ENVIRON: Mapping[str, str] = {f"TORNFLOW_{path.replace('.', '_').upper()}": path for path in RETIRED}


def warning(path: str, place: str) -> str:
    return f"{place}: {path}: has no effect any more: {RETIRED[path]}"
