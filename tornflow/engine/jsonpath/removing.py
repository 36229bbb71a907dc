"""Taking nodes out of a document: what a foreach does with its collection (rill-dsl 7.1).

A filter or a deep scan takes out all of the definite path before it: what it would leave of a collection is of no use
to a group, and the point is that the collection is not copied into every one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tornflow.engine.jsonpath.errors import PathSyntaxError
from tornflow.engine.jsonpath.parsing import parse
from tornflow.engine.jsonpath.steps import Index, Indexes, Name, Names, Path, Slice, Step, Wildcard

Removal = Callable[[dict[str, Any]], dict[str, Any]]


def compile_removal(text: str) -> Removal:
    """Return a function that gives an object without the nodes that the path addresses.

    The given document is not changed; containers on the way are copied. A path that does not parse, or that is the
    root itself, takes nothing out.
    """
    try:
        steps = _plain(parse(text))
    except PathSyntaxError:
        steps = ()
    if not steps:
        return lambda document: document
    return lambda document: _without(document, steps)


def _plain(path: Path) -> tuple[Step, ...]:
    kept: list[Step] = []
    for step in path.nodes:
        if not isinstance(step, (Name, Names, Index, Indexes, Slice, Wildcard)):
            break
        kept.append(step)
    return tuple(kept)


def _without(node: Any, steps: Sequence[Step]) -> Any:
    if not isinstance(node, (dict, list)):
        return node
    places = _places(node, steps[0])
    if not places:
        return node
    copy: Any = node.copy()
    if len(steps) > 1:
        for place in places:
            copy[place] = _without(node[place], steps[1:])
        return copy
    for place in sorted(places, reverse=True) if isinstance(node, list) else places:
        del copy[place]
    return copy


def _places(node: dict[str, Any] | list[Any], step: Step) -> list[Any]:
    """Return the keys or indexes of ``node`` that a step addresses."""
    if isinstance(node, dict):
        match step:
            case Name(name=name):
                return [name] if name in node else []
            case Names(names=names):
                return [name for name in names if name in node]
            case Wildcard():
                return list(node)
            case _:
                return []
    size = len(node)
    match step:
        case Wildcard():
            return list(range(size))
        case Slice(start=start, stop=stop):
            return list(range(size)[start:stop])
        case Index(index=index):
            indexes: tuple[int, ...] = (index,)
        case Indexes(indexes=indexes):
            pass
        case _:
            return []
    return sorted({index % size for index in indexes if -size <= index < size}) if size else []
