"""Definite paths, the hot ones: names and single indexes as closures without any parsing left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tornflow.engine.jsonpath.steps import Index, Name, Names, Step

Walk = Callable[[Any], Any]


def compile_walk(steps: Sequence[Step], missing: Any) -> Walk:
    """Return a reader for definite steps; ``missing`` is its answer where nothing is.

    Names alone need no look at types: a string key fails on everything but an object. An index would also fit a
    string, so paths with indexes check.
    """
    if steps and isinstance(steps[-1], Names):
        return _merge(compile_walk(steps[:-1], missing), steps[-1].names, missing)
    keys = [step.name if isinstance(step, Name) else step.index for step in steps if isinstance(step, (Name, Index))]
    if not all(type(key) is str for key in keys):
        return _mixed(keys, missing)
    match keys:
        case []:
            return lambda document: document
        case [first]:
            return _one(first, missing)
        case [first, second]:
            return _two(first, second, missing)
        case [first, second, third]:
            return _three(first, second, third, missing)
        case _:
            return _many(tuple(keys), missing)


def _one(first: Any, missing: Any) -> Walk:
    def walk(document: Any) -> Any:
        try:
            return document[first]
        except (KeyError, TypeError):
            return missing

    return walk


def _two(first: Any, second: Any, missing: Any) -> Walk:
    def walk(document: Any) -> Any:
        try:
            return document[first][second]
        except (KeyError, TypeError):
            return missing

    return walk


def _three(first: Any, second: Any, third: Any, missing: Any) -> Walk:
    def walk(document: Any) -> Any:
        try:
            return document[first][second][third]
        except (KeyError, TypeError):
            return missing

    return walk


def _many(keys: tuple[Any, ...], missing: Any) -> Walk:
    def walk(document: Any) -> Any:
        try:
            for key in keys:
                document = document[key]
        except (KeyError, TypeError):
            return missing
        return document

    return walk


def _mixed(keys: Sequence[str | int], missing: Any) -> Walk:
    typed: tuple[tuple[Any, type[Any]], ...] = tuple((key, dict if type(key) is str else list) for key in keys)

    def walk(document: Any) -> Any:
        node = document
        try:
            for key, kind in typed:
                if not isinstance(node, kind):
                    return missing
                node = node[key]
        except (KeyError, IndexError):
            return missing
        return node

    return walk


def _merge(walk: Walk, names: tuple[str, ...], missing: Any) -> Walk:
    """``['a','b']`` at the end: an object with exactly these keys, null where it has none."""

    def merge(document: Any) -> Any:
        value = walk(document)
        return {name: value.get(name) for name in names} if isinstance(value, dict) else missing

    return merge
