"""Finding one text in another in linear time, and what that costs.

Python's own search is linear, but not for long parts in texts of less than 30,000 characters: there it may compare
every character with every other (0.2 seconds for one search). Behind padding the same search takes the linear way.
"""

from __future__ import annotations

_LONG_PART = 100
_PADDING = "\0" * 30_000
_SHORT_TEXT = 2_500


def search_steps(whole: str, part: str) -> int:
    """What all searches of ``whole`` for ``part`` from left to right cost together, without the matches."""
    size, length = len(whole), len(part)
    if length == 1:
        return size >> 9
    if length < _LONG_PART:
        return (size >> 7) + (min(size, _SHORT_TEXT) * length >> 10)
    return (size + length + len(_PADDING)) >> 7


def padded(whole: str, part: str) -> str:
    """Return what ``find_from`` has to look through."""
    return whole + _PADDING if len(part) >= _LONG_PART and len(part) <= len(whole) else whole


def find_from(text: str, size: int, part: str, start: int) -> int:
    """Return the place of ``part`` in the first ``size`` characters of the padded ``text``, or -1."""
    # The first match is the real one if there is any: only later ones reach into the padding.
    place = text.find(part, start)
    return place if place + len(part) <= size else -1
