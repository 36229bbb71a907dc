"""YAML text to documents whose parts know their line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

FILE_LIMIT_BYTES = 1024 * 1024
_LEVELS = 50
_NODES = 20_000


class Broken(Exception):
    """Something in a file cannot be used; ``line`` counts from 1, ``field`` is a path such as ``spec.type``."""

    def __init__(self, reason: str, line: int = 0, field: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.field = field


class _Loader(yaml.SafeLoader):
    """Moments stay texts, as in Dapr, where YAML is read as JSON."""


_Loader.yaml_implicit_resolvers = {
    char: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for char, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Part:
    """A value of a document with its place. ``field`` is its path, "" for the document itself."""

    __slots__ = ("_lines", "field", "line", "value")

    def __init__(self, value: Any, line: int, field: str, lines: Any = None) -> None:
        self.value = value
        self.line = line
        self.field = field
        self._lines = lines  # of the members: key or index -> (line, lines)

    def member(self, key: str) -> Part | None:
        """Return a member of a mapping; None if it is absent or null."""
        if not isinstance(self.value, dict) or self.value.get(key) is None:
            return None
        line, lines = self._place(key)
        return Part(self.value[key], line, f"{self.field}.{key}" if self.field else key, lines)

    def items(self) -> Iterator[Part]:
        """Yield the elements of a list."""
        for index, value in enumerate(self.value):
            line, lines = self._place(index)
            yield Part(value, line, f"{self.field}[{index}]", lines)

    def _place(self, key: str | int) -> tuple[int, Any]:
        # Keys that came by a merge have no line of their own.
        place: tuple[int, Any] = (self._lines or {}).get(key, (self.line, None))
        return place

    def broken(self, reason: str) -> Broken:
        return Broken(reason, self.line, self.field)

    # --- members of a kind; each raises Broken for one of another kind

    def text(self, key: str) -> str:
        """Return "" for an absent one."""
        found = self.member(key)
        if found is None:
            return ""
        if not isinstance(found.value, str):
            raise found.broken("must be a text")
        return found.value

    def flag(self, key: str) -> bool:
        found = self.member(key)
        if found is None:
            return False
        if not isinstance(found.value, bool):
            raise found.broken("must be true or false")
        return found.value

    def mapping(self, key: str) -> Part:
        """Return an empty one, at the line of its holder, for an absent one."""
        found = self.member(key)
        if found is None:
            return Part({}, self.line, f"{self.field}.{key}" if self.field else key, {})
        if not isinstance(found.value, dict):
            raise found.broken("must be a mapping")
        return found

    def list(self, key: str) -> list[Part]:
        found = self.member(key)
        if found is None:
            return []
        if not isinstance(found.value, list):
            raise found.broken("must be a list")
        return list(found.items())


def read_documents(text: str) -> Iterator[Part]:
    """Yield the documents of a file that are not empty.

    Raises:
        Broken: the text is no YAML, is too large, or has a key twice.
    """
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # ``check_node`` said so
            lines = _lines_of(node, 0, [_NODES])
            value = loader.construct_document(node)
            if value is not None:
                yield Part(value, node.start_mark.line + 1, "", lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise Broken(f"not YAML: {reason}", mark.line + 1 if mark else 0) from error
    except (ValueError, RecursionError, TypeError) as error:
        raise Broken(f"not YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _lines_of(node: yaml.Node, level: int, left: list[int]) -> Any:
    """Return member -> (line, lines of its members). Bounded: anchors are followed as often as they are used."""
    left[0] -= 1
    if level > _LEVELS or left[0] < 0:
        raise Broken("nested too deeply or too large", node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return {
            index: (one.start_mark.line + 1, _lines_of(one, level + 1, left)) for index, one in enumerate(node.value)
        }
    if not isinstance(node, yaml.MappingNode):
        return None
    found: dict[Any, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise Broken("a key must be a word", line)
        if key.value in found:
            raise Broken(f"the key {key.value!r} stands twice", line)
        found[key.value] = (line, _lines_of(value, level + 1, left))
    return found
