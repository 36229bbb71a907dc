"""``string.*``. Patterns are Java-like (regex_syntax) and bounded; sizes are paid before a text is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornflow.engine.expressions.budget import Run
from tornflow.engine.expressions.errors import ExpressionError
from tornflow.engine.expressions.library_core import integer, text
from tornflow.engine.expressions.regex_machine import Found, find_all
from tornflow.engine.expressions.regex_program import Program
from tornflow.engine.expressions.regex_syntax import compile_pattern
from tornflow.engine.expressions.searching import find_from, padded, search_steps
from tornflow.engine.expressions.values import Function, elements, render


def _contains(run: Run, whole: Any, part: Any) -> bool:
    return _index_of(run, whole, part) >= 0


def _index_of(run: Run, whole: Any, part: Any) -> int:
    source, wanted = text(whole, "the string"), text(part, "the part")
    run.charge(search_steps(source, wanted))
    return find_from(padded(source, wanted), len(source), wanted, 0)


def _starts_with(run: Run, whole: Any, part: Any) -> bool:
    run.charge(len(text(part, "the prefix")) >> 10)
    return text(whole, "the string").startswith(part)


def _ends_with(run: Run, whole: Any, part: Any) -> bool:
    run.charge(len(text(part, "the suffix")) >> 10)
    return text(whole, "the string").endswith(part)


def _substring(run: Run, whole: Any, begin: Any, end: Any = None) -> str:
    size = len(text(whole, "the string"))
    first = integer(begin, "the begin")
    last = size if end is None else integer(end, "the end")
    if not 0 <= first <= last <= size:
        raise ExpressionError(f"{first} to {last} is out of range, the string has {size} characters")
    run.allocate(last - first)
    return text(whole)[first:last]


def _join(run: Run, collection: Any, separator: Any = "") -> str:
    between = text(separator, "the separator")
    parts: list[str] = []
    size = 0
    if collection is None:
        raise ExpressionError("cannot join nil")
    for member in elements(run, collection):
        parts.append(render(run, member))
        run.charge(1)
        size += len(parts[-1]) + len(between)
        run.allocate(size, len(parts[-1]) + len(between))
    return between.join(parts)


def _split(run: Run, whole: Any, pattern: Any, limit: Any = 0) -> list[str]:
    source = text(whole, "the string")
    most = integer(limit, "the limit")
    program = _program(run, pattern)
    parts: list[str] = []
    at = 0
    for start, end in _spans(run, program, source):
        if end == 0 or (most > 0 and len(parts) == most - 1):
            if end == 0:
                continue
            break
        parts.append(source[at:start])
        run.allocate(len(parts) * 8, len(parts[-1]) + 8)
        at = end
    parts.append(source[at:])
    run.allocate(len(parts[-1]))
    while most == 0 and len(parts) > 1 and not parts[-1]:
        # Java drops empty strings at the end.
        parts.pop()
    return parts


def _spans(run: Run, program: Program, source: str) -> Any:
    if not program.literal:
        return ((found.start, found.end) for found in find_all(run, program, source))
    return _literal_spans(run, program.literal, source)


def _literal_spans(run: Run, literal: str, source: str) -> Any:
    run.charge(search_steps(source, literal))
    size, source = len(source), padded(source, literal)
    at = find_from(source, size, literal, 0)
    while at >= 0:
        run.charge(1)
        yield at, at + len(literal)
        at = find_from(source, size, literal, at + len(literal))


def _replace_first(run: Run, whole: Any, pattern: Any, replacement: Any) -> str:
    return _replace(run, whole, pattern, replacement, 1)


def _replace_all(run: Run, whole: Any, pattern: Any, replacement: Any) -> str:
    return _replace(run, whole, pattern, replacement, -1)


def _replace(run: Run, whole: Any, pattern: Any, replacement: Any, most: int) -> str:
    source, new = text(whole, "the string"), text(replacement, "the replacement")
    program = _program(run, pattern)
    if program.literal and "$" not in new and "\\" not in new:
        return _replace_literal(run, source, program.literal, new, most)
    parts: list[str] = []
    at = size = 0
    for found in find_all(run, program, source):
        if most == 0:
            break
        most -= 1
        piece = _expand(run, new, found)
        run.charge(1)
        parts += (source[at : found.start], piece)
        grown = found.start - at + len(piece)
        size += grown
        run.allocate(size, grown)
        at = found.end
    run.allocate(size + len(source) - at, len(source) - at)
    return "".join(parts) + source[at:]


def _replace_literal(run: Run, source: str, old: str, new: str, most: int) -> str:
    parts: list[str] = []
    at = size = 0
    for start, end in _literal_spans(run, old, source):
        if most == 0:
            break
        most -= 1
        parts += (source[at:start], new)
        size += start - at + len(new)
        run.allocate(size, start - at + len(new))
        at = end
    run.allocate(size + len(source) - at, len(source) - at)
    return "".join(parts) + source[at:]


def _expand(run: Run, replacement: str, found: Found) -> str:
    """``$1`` is a group, ``\\`` takes the next character as it is."""
    if "$" not in replacement and "\\" not in replacement:
        return replacement
    run.charge(len(replacement) >> 1)
    parts: list[str] = []
    at = size = 0
    while at < len(replacement):
        char = replacement[at]
        following = replacement[at + 1 : at + 2]
        if char in "$\\" and not following:
            raise ExpressionError("the replacement ends in the middle of an escape")
        if char == "$":
            char = _group(found, following)
        elif char == "\\":
            char = following
        at += 2 if replacement[at] in "$\\" else 1
        parts.append(char)
        size += len(char)
        if len(char) > 1:
            run.allocate(size, len(char))
    return "".join(parts)


def _group(found: Found, digit: str) -> str:
    if not ("0" <= digit <= "9") or int(digit) * 2 >= len(found.slots):
        raise ExpressionError(f"no group ${digit} in the pattern")
    return found.group(int(digit)) or ""


def _program(run: Run, pattern: Any) -> Program:
    if isinstance(pattern, Program):
        return pattern
    source = text(pattern, "the pattern")
    program: Program | None = run.patterns.get(source)
    if program is None:
        run.charge(8 + 2 * len(source))
        program = compile_pattern(source, run.charge)
        run.patterns[source] = program
    return program


def _function(name: str, least: int, most: int, apply: Callable[..., Any]) -> tuple[str, Function]:
    return f"string.{name}", Function(f"string.{name}", least, most, apply)


TEXT = dict(
    (
        _function("length", 1, 1, lambda run, s: len(text(s, "the string"))),
        _function("contains", 2, 2, _contains),
        _function("startsWith", 2, 2, _starts_with),
        _function("endsWith", 2, 2, _ends_with),
        _function("substring", 2, 3, _substring),
        _function("indexOf", 2, 2, _index_of),
        _function("split", 2, 3, _split),
        _function("join", 1, 2, _join),
        _function("replace_first", 3, 3, _replace_first),
        _function("replace_all", 3, 3, _replace_all),
    )
)
