"""Paths as closures: read mode (missing leaf is null) and match mode (is anything there) (rill-dsl 6.1, 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tornflow.engine.expressions.budget import Meter
from tornflow.engine.jsonpath.errors import MatchError, Mistyped
from tornflow.engine.jsonpath.look import MISSING, Look
from tornflow.engine.jsonpath.parsing import parse
from tornflow.engine.jsonpath.steps import Path, is_definite
from tornflow.engine.jsonpath.visiting import compile_value
from tornflow.engine.jsonpath.walking import compile_walk

Reader = Callable[..., Any]
"""``(document)``, for an indefinite path also ``(document, meter)``."""

Matcher = Callable[..., bool]
"""``(document)`` or ``(document, meter)``."""

_TOO_DEEP = "the document is nested too deeply for this path"


def is_definite_path(path: Path) -> bool:
    """Say whether the path leads to one node at most, without any search: its reader takes no meter."""
    last = len(path.steps) - 1
    return all(is_definite(step, place == last) for place, step in enumerate(path.steps))


@lru_cache(maxsize=1024)
def compile_read(text: str) -> Reader:
    """Return a reader: document to value, None where nothing is.

    An indefinite path gives a new list; every other result is part of the document, not a copy. The reader of a
    definite path never raises; others raise MatchError beyond ``limits.MAX_WORK``.

    Raises:
        PathSyntaxError: at once, never from the reader.
    """
    path = parse(text)
    if is_definite_path(path):
        return compile_walk(path.steps, None)
    value_of = compile_value(path, fills=True)

    def read(document: Any, meter: Meter | None = None) -> Any:
        look = Look(document, meter)
        try:
            value = value_of(document, look)
        except Mistyped:
            return None
        except RecursionError:
            raise MatchError(_TOO_DEEP) from None
        finally:
            look.settle()
        return None if value is MISSING else value

    return read


@lru_cache(maxsize=1024)
def compile_match(text: str) -> Matcher:
    """Return a test: does the path lead to at least one node? A path that ends in a function never does.

    The test raises MatchError for a filter applied to a scalar and beyond ``limits.MAX_WORK``.

    Raises:
        PathSyntaxError: at once, never from the test.
    """
    path = parse(text)
    value_of = compile_value(path, fills=False)
    if path.call is not None:
        return lambda document, meter=None: False
    if is_definite_path(path):
        walk = compile_walk(path.steps, MISSING)
        return lambda document, meter=None: walk(document) is not MISSING

    def match(document: Any, meter: Meter | None = None) -> bool:
        look = Look(document, meter)
        try:
            value = value_of(document, look)
        except RecursionError:
            raise MatchError(_TOO_DEEP) from None
        finally:
            look.settle()
        return value is not MISSING and bool(value)

    return match
