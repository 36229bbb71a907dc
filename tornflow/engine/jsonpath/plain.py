"""The plain subset, names and single indexes, parsed by jsonpath-ng.

Its tree is turned into our steps; whatever it refuses or reads in another way than ``rill-dsl`` 6 (its keywords such
as ``where``, unions, quoted ``*``) is left to our own parser. Both must agree here: a property test compares them.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.jsonpath import Child, Fields, Index, Root
from jsonpath_ng.parser import JsonPathParser

from tornflow.engine.jsonpath import steps

_PLAIN = re.compile(r"\$(?:\.[A-Za-z_][A-Za-z0-9_]*|\.?\['[A-Za-z0-9_. -]+'\]|\[-?[0-9]{1,9}\])*")

_parser: JsonPathParser | None = None
# One parser is kept, because building one costs twice a parse; it holds state while it parses.
_lock = threading.Lock()


def parse_plain(text: str) -> tuple[steps.Step, ...] | None:
    """Return the steps, or None when the text is not plain or jsonpath-ng does not read it our way."""
    if _PLAIN.fullmatch(text) is None:
        return None
    try:
        return _steps(_tree(text))
    except JSONPathError:
        return None


def _tree(text: str) -> Any:
    global _parser
    with _lock:
        if _parser is None:
            _parser = JsonPathParser()
        return _parser.parse(text)


def _steps(tree: Any) -> tuple[steps.Step, ...] | None:
    backwards: list[steps.Step] = []
    while isinstance(tree, Child):
        step = _step(tree.right)
        if step is None:
            return None
        backwards.append(step)
        tree = tree.left
    return tuple(reversed(backwards)) if isinstance(tree, Root) else None


def _step(node: Any) -> steps.Step | None:
    if isinstance(node, Fields) and len(node.fields) == 1:
        return steps.Name(node.fields[0])
    if isinstance(node, Index) and len(node.indices) == 1:
        return steps.Index(node.indices[0])
    return None
