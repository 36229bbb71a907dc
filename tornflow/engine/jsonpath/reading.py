"""Paths as closures: read mode (missing leaf is null) and match mode (is anything there) (rill-dsl 6.1, 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tornflow.engine.jsonpath.errors import MatchError, Mistyped
from tornflow.engine.jsonpath.look import MISSING, Look
from tornflow.engine.jsonpath.parsing import parse
from tornflow.engine.jsonpath.steps import is_definite
from tornflow.engine.jsonpath.visiting import compile_value
from tornflow.engine.jsonpath.walking import compile_walk

Reader = Callable[[Any], Any]
Matcher = Callable[[Any], bool]

_TOO_DEEP = "the document is nested too deeply for this path"


@lru_cache(maxsize=1024)
def compile_read(text: str) -> Reader:
    """Return a reader: document to value, None where nothing is.

    An indefinite path gives a new list; every other result is part of the document, not a copy. The reader of a
    definite path never raises; others raise MatchError beyond ``limits.MAX_WORK``.

    Raises:
        PathSyntaxError: at once, never from the reader.
    """
    path = parse(text)
    last = len(path.steps) - 1
    if all(is_definite(step, place == last) for place, step in enumerate(path.steps)):
        return compile_walk(path.steps, None)
    value_of = compile_value(path, fills=True)

    def read(document: Any) -> Any:
        try:
            value = value_of(document, Look(document))
        except Mistyped:
            return None
        except RecursionError:
            raise MatchError(_TOO_DEEP) from None
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
        return lambda document: False
    last = len(path.steps) - 1
    if all(is_definite(step, place == last) for place, step in enumerate(path.steps)):
        walk = compile_walk(path.steps, MISSING)
        return lambda document: walk(document) is not MISSING

    def match(document: Any) -> bool:
        try:
            value = value_of(document, Look(document))
        except RecursionError:
            raise MatchError(_TOO_DEEP) from None
        return value is not MISSING and bool(value)

    return match
