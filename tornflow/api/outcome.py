"""What the edges say when the store failed: whether something may have happened, and how to find out."""

from __future__ import annotations

from tornflow.errors import StorageUnavailable

_LOOK = "look whether it took effect before you try again"


def storage_text(error: StorageUnavailable, look: str = "") -> str:
    """Return the message. ``look`` says how to find out, as an imperative."""
    if error.is_unknown:
        return f"storage unavailable: {error.message}; outcome unknown: {look or _LOOK}"
    return f"storage unavailable: {error.message}; nothing was stored, try again"
