"""YAML text -> a tree of raw scalars with places.

Built from parser events instead of a loader's objects, because string-typed fields need the raw text of a scalar
(``rill-dsl`` 1.1 item 4), every problem needs its line, and a loop over events can be bounded: recursion cannot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from tornflow.descriptors.limits import DescriptorLimits
from tornflow.errors import InvalidDescriptor, Problem

PARSE_ERROR = 30402


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both from 1; 0 when unknown."""

    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Scalar:
    text: str
    is_plain: bool
    tag: str | None
    place: Place


@dataclass(slots=True)
class ListNode:
    place: Place
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MapNode:
    """``entries`` keeps the last value of a repeated key; ``repeated`` names them for `lint`."""

    place: Place
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)


Node = Scalar | ListNode | MapNode

# What libyaml refuses but JSON writers produce for characters beyond 16 bits.
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def compose(text: str, limits: DescriptorLimits) -> tuple[Node, list[Problem]]:
    """Return the root of the first document, and one problem for every alias in it (read as null).

    Raises:
        InvalidDescriptor: not YAML, no document, too deep or too many nodes; one problem, code 30402.
    """
    try:
        return _Composer(limits).compose(text)
    except yaml.YAMLError as error:
        if "Unicode character escape" in str(error) and (joined := _SURROGATES.sub(_join, text)) != text:
            return compose(joined, limits)
        raise InvalidDescriptor([_syntax_problem(error)]) from error


def _join(match: re.Match[str]) -> str:
    high, low = int(match[1], 16), int(match[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
    if mark is None:
        return Problem(PARSE_ERROR, f"not YAML: {what}")
    line, column = mark.line + 1, mark.column + 1
    return Problem(PARSE_ERROR, f"not YAML: {what} (line {line}, column {column})", line=line, column=column)


class _Composer:
    """Turns events into nodes with an explicit stack."""

    def __init__(self, limits: DescriptorLimits) -> None:
        self._limits = limits
        self._stack: list[ListNode | MapNode] = []
        self._keys: list[tuple[str, Place] | None] = []
        self._count = 0
        self._problems: list[Problem] = []
        self._root: Node | None = None

    def compose(self, text: str) -> tuple[Node, list[Problem]]:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentEndEvent):
                break  # later documents are not read, not even for errors (rill-dsl 1.1 item 1)
            self._take(event)
        if self._root is None:
            raise InvalidDescriptor([Problem(PARSE_ERROR, "the text holds no document")])
        return self._root, self._problems

    def _take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place()
        match event:
            case yaml.ScalarEvent():
                self._add(Scalar(event.value, bool(event.implicit[0]), event.tag, place))
            case yaml.AliasEvent():
                message = f"alias *{event.anchor} is not supported: write the value out"
                self._note(message, place)
                self._add(Scalar("", True, None, place))
            case yaml.SequenceStartEvent():
                self._open(ListNode(place))
            case yaml.MappingStartEvent():
                self._open(MapNode(place))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._stack.pop()
                self._keys.pop()
            case _:
                pass  # starts and ends of the stream and the document carry nothing

    def _open(self, node: ListNode | MapNode) -> None:
        self._add(node)
        if len(self._stack) >= self._limits.depth:
            raise self._fatal(f"nested deeper than {self._limits.depth} levels", node.place)
        self._stack.append(node)
        self._keys.append(None)

    def _add(self, node: Node) -> None:
        self._count += 1
        if self._count > self._limits.nodes:
            raise self._fatal(f"more than {self._limits.nodes} values", node.place)
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if isinstance(parent, ListNode):
            parent.items.append(node)
        else:
            self._add_to_map(parent, node)

    def _add_to_map(self, parent: MapNode, node: Node) -> None:
        key = self._keys[-1]
        if key is None:
            if not isinstance(node, Scalar):
                raise self._fatal("a key must be text", node.place)
            self._keys[-1] = (node.text, node.place)
            return
        self._keys[-1] = None
        name, place = key
        if name in parent.entries:
            parent.repeated.append(name)
        parent.entries[name] = node
        parent.keys[name] = place

    def _note(self, message: str, place: Place) -> None:
        if len(self._problems) < self._limits.problems:
            self._problems.append(Problem(PARSE_ERROR, message, line=place.line, column=place.column))

    @staticmethod
    def _fatal(message: str, place: Place) -> InvalidDescriptor:
        return InvalidDescriptor([Problem(PARSE_ERROR, message, line=place.line, column=place.column)])
