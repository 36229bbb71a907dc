"""Which statements there are, and the draw."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.operators import mutations

ROOMS = ("tornflow/runtime", "storage", "tornflow/engine")
RUNTIME = ROOMS[0]
RUNTIME_AT_LEAST = 25
_SILENT = ("_log", "log", "logger", "warnings")


@dataclass(frozen=True, slots=True)
class Place:
    """One statement. ``function`` is the first line of the innermost function around it (decorators count), 0: none."""

    file: str
    line: int
    column: int
    function: int


@dataclass(frozen=True, slots=True)
class Mutant:
    """``number`` counts among the ways to break the statement."""

    place: Place
    number: int
    what: str


def places(root: Path) -> list[Place]:
    """Return every statement of the rooms that can be broken, in a fixed order."""
    found: list[Place] = []
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            found += _statements(tree, str(path.relative_to(root)))
    return found


def draw(root: Path, seed: int, count: int) -> list[Mutant]:
    """Draw so many places, at least 25 of 60 in the runtime, and for each one way to break it."""
    chance = random.Random(seed)
    all_places = places(root)
    in_runtime = [one for one in all_places if one.file.startswith(RUNTIME)]
    first = chance.sample(in_runtime, min(len(in_runtime), max(1, count * RUNTIME_AT_LEAST // 60)))
    taken = set(first)
    rest = chance.sample([one for one in all_places if one not in taken], max(0, count - len(first)))
    return [_mutant(root, chance, place) for place in first + rest][:count]


def statement_at(tree: ast.Module, place: Place) -> ast.stmt:
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and (node.lineno, node.col_offset) == (place.line, place.column):
            return node
    raise LookupError(f"no statement at {place}")


def _mutant(root: Path, chance: random.Random, place: Place) -> Mutant:
    tree = ast.parse((root / place.file).read_text("utf-8"))
    ways = mutations(statement_at(tree, place))
    number = chance.randrange(len(ways))
    return Mutant(place, number, ways[number][0])


def _statements(tree: ast.Module, file: str) -> Iterator[Place]:
    def visit(body: Sequence[ast.AST], function: int) -> Iterator[Place]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                yield from visit(node.body, first)
            elif isinstance(node, ast.stmt):
                if not _is_silent(node) and mutations(node):
                    yield Place(file, node.lineno, node.col_offset, function)
                if not _is_for_types(node):
                    yield from visit(list(_inner(node)), function)

    return visit(tree.body, 0)


def _inner(node: ast.stmt) -> Iterator[ast.AST]:
    for name in ("body", "orelse", "finalbody"):
        yield from getattr(node, name, [])
    for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
        yield from part.body


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_silent(node: ast.stmt) -> bool:
    """Log lines, assertions, texts, imports: what no behaviour hangs on."""
    if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom | ast.ClassDef) or _is_for_types(node):
        return True
    if not isinstance(node, ast.Expr):
        return False
    call = node.value
    if isinstance(call, ast.Constant):
        return True
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
        return call.func.id == "assert_never"
    name = call.func.value if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None
    return isinstance(name, ast.Name) and name.id in _SILENT
