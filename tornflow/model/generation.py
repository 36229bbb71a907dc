"""Which run a scope belongs to."""

from __future__ import annotations

Generation = tuple[str | int, ...]
"""The life of the execution, then the attempt numbers of the foreach and choice tasks above the scope, outermost first.

An id that is used again has another life; after a redo a group has the same path as before, but other numbers. Whatever
an earlier generation still says changes nothing.
"""
