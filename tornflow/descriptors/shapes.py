"""Kinds of fields: each reads a node into its JSON form and reports what has the wrong shape.

A kind returns None for null, and for what it has reported. Wrong shapes are code 30402 (``rill-dsl`` 3 check 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tornflow.descriptors import scalars
from tornflow.descriptors.nodes import PARSE_ERROR, ListNode, MapNode, Node, Place, Scalar
from tornflow.errors import Problem
from tornflow.model.descriptor import Json


@dataclass(frozen=True, slots=True)
class StrayKey:
    """A key that no field has, kept in the document; ``known`` are the fields it could have meant."""

    path: str
    key: str
    known: tuple[str, ...]
    place: Place
    is_repeated: bool = False


@dataclass(slots=True)
class Reading:
    """What is noted while a tree is read: problems in document order, and the place of every path."""

    max_problems: int
    problems: list[Problem] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    strays: list[StrayKey] = field(default_factory=list)

    def reject(self, node: Node, path: str, message: str, code: int = PARSE_ERROR) -> None:
        if len(self.problems) < self.max_problems:
            text = f"{path}: {message}" if path and code == PARSE_ERROR else message
            self.problems.append(Problem(code, text, path, node.place.line, node.place.column))

    def stray(self, path: str, key: str, known: tuple[str, ...], place: Place, *, is_repeated: bool = False) -> None:
        if len(self.strays) < self.max_problems:
            self.strays.append(StrayKey(path, key, known, place, is_repeated))


Kind = Callable[[Reading, Node, str], Any]


def text(reading: Reading, node: Node, path: str) -> str | None:
    """The raw text of a scalar, whatever YAML would make of it."""
    if not isinstance(node, Scalar):
        reading.reject(node, path, f"text is required, not {_described(node)}")
        return None
    return None if scalars.is_null(node) else node.text


def _typed(convert: Callable[[Scalar], Any], wanted: str) -> Kind:
    def read(reading: Reading, node: Node, path: str) -> Any:
        if not isinstance(node, Scalar):
            reading.reject(node, path, f"{wanted} is required, not {_described(node)}")
            return None
        if scalars.is_null(node):
            return None
        try:
            return convert(node)
        except ValueError as error:
            reading.reject(node, path, str(error))
            return None

    return read


boolean = _typed(scalars.boolean, "true or false")
integer = _typed(scalars.integer, "a number")
decimal = _typed(scalars.decimal, "a number")
_scalar = _typed(scalars.free_value, "a value")


def free(reading: Reading, node: Node, path: str) -> Any:
    """Any value. The depth of the tree is bounded, so recursion is safe."""
    match node:
        case Scalar():
            return _scalar(reading, node, path)
        case ListNode():
            return [free(reading, item, f"{path}[{index}]") for index, item in enumerate(node.items)]
        case MapNode():
            return {key: free(reading, item, f"{path}.{key}") for key, item in node.entries.items()}


def free_map(reading: Reading, node: Node, path: str) -> Json | None:
    mapping = as_map(reading, node, path)
    if mapping is None:
        return None
    reading.places.update({f"{path}.{key}": value.place for key, value in mapping.entries.items()})
    return {key: free(reading, value, f"{path}.{key}") for key, value in mapping.entries.items()}


def list_of(kind: Kind) -> Kind:
    """A list of one kind; null entries are reported."""

    def read(reading: Reading, node: Node, path: str) -> list[Any] | None:
        if isinstance(node, Scalar) and scalars.is_null(node):
            return None
        if not isinstance(node, ListNode):
            reading.reject(node, path, f"a list is required, not {_described(node)}")
            return None
        found = []
        for index, item in enumerate(node.items):
            value = _entry(reading, kind, item, f"{path}[{index}]")
            if value is not None:
                found.append(value)
        return found

    return read


def map_of(kind: Kind) -> Kind:
    """Free keys, values of one kind; null values are dropped."""

    def read(reading: Reading, node: Node, path: str) -> Json | None:
        mapping = as_map(reading, node, path)
        if mapping is None:
            return None
        read_values = {key: kind(reading, item, f"{path}.{key}") for key, item in mapping.entries.items()}
        return {key: value for key, value in read_values.items() if value is not None}

    return read


def shape(
    fields: Mapping[str, Kind],
    *,
    aliases: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Kind:
    """An object: known fields in the order given here, then unknown keys as written.

    ``aliases`` are other spellings of a field, ``defaults`` what always stands in the document.
    """

    def read(reading: Reading, node: Node, path: str) -> Json | None:
        mapping = as_map(reading, node, path)
        return None if mapping is None else read_fields(reading, mapping, path, fields, aliases or {}, defaults or {})

    return read


def read_fields(
    reading: Reading,
    node: MapNode,
    path: str,
    fields: Mapping[str, Kind],
    aliases: Mapping[str, str],
    defaults: Mapping[str, Any],
) -> Json:
    """Read one object; see ``shape``."""
    found: Json = {}
    strays: Json = {}
    for key, item in node.entries.items():
        name = aliases.get(key, key)
        place = f"{path}.{name}" if path else name
        reading.places[place] = item.place
        if (kind := fields.get(name)) is not None:
            found[name] = kind(reading, item, place)
        else:
            reading.stray(path, key, tuple(fields), node.keys[key])
            strays[key] = _lenient(item)
    for key in node.repeated:
        reading.stray(path, key, (), node.keys[key], is_repeated=True)
    document = {name: found.get(name) if found.get(name) is not None else defaults.get(name) for name in fields}
    return {name: value for name, value in document.items() if value is not None} | strays


def as_map(reading: Reading, node: Node, path: str) -> MapNode | None:
    """Return the mapping, or None for null and (reported) for anything else."""
    if isinstance(node, MapNode):
        return node
    if not (isinstance(node, Scalar) and scalars.is_null(node)):
        reading.reject(node, path, f"a mapping is required, not {_described(node)}")
    return None


def _entry(reading: Reading, kind: Kind, node: Node, path: str) -> Any:
    reading.places[path] = node.place
    before = len(reading.problems)
    value = kind(reading, node, path)
    if value is None and len(reading.problems) == before:
        reading.reject(node, path, "an empty entry is not allowed")
    return value


def _lenient(node: Node) -> Any:
    """An unknown key is kept, never judged: what has no JSON value stays text (``rill-dsl`` 1.1 item 1)."""
    match node:
        case Scalar():
            try:
                return scalars.free_value(node)
            except ValueError:
                return node.text
        case ListNode():
            return [_lenient(item) for item in node.items]
        case MapNode():
            return {key: _lenient(item) for key, item in node.entries.items()}


def _described(node: Node) -> str:
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
        case Scalar():
            shown = node.text if len(node.text) <= 40 else node.text[:40] + "..."
            return f'"{shown}"'
