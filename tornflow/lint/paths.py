"""Paths as the checks look at them: parsed once, errors with their column, and what a path reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from tornflow.engine.jsonpath import Path, PathSyntaxError, compile_target, parse
from tornflow.engine.jsonpath.steps import All, Compare, Either, Exists, Name, Names, Not, Test, Where
from tornflow.lint.page import Page, shown

_FIXES = (
    (re.compile(r"^\$(?=[A-Za-z_])"), "a path starts with `$.`"),
    (re.compile(r"\band\b"), "write && for and"),
    (re.compile(r"\bor\b"), "write || for or"),
    (re.compile(r"\bnot\b"), "write !(...) for not"),
    (re.compile(r"(?<![=!<>])=(?![=~])"), "compare with =="),
    (re.compile(r"\?[^(]"), "a filter is written [?( ... )]"),
    (re.compile(r"[\]\[.]\s*$|\[[^\]]*$"), "close every bracket"),
    (re.compile(r"\s"), "names with blanks need brackets and quotes: ['a b']"),
)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Path | PathSyntaxError:
    try:
        return parse(text)
    except PathSyntaxError as error:
        return error


def read_path(page: Page, path: str, text: str, what: str) -> Path | None:
    """Return the parsed path, or None after a remark."""
    found = _parsed(text)
    if isinstance(found, Path):
        return found
    message = f"{what} {shown(text)!r} is not a path: {found.reason}"
    page.note("path-syntax", path, message, _advice(text), within=text, at=(1, found.column))
    return None


def sound_path(text: str) -> Path | None:
    found = _parsed(text)
    return found if isinstance(found, Path) else None


def _advice(text: str) -> str:
    return next((advice for pattern, advice in _FIXES if pattern.search(text.strip())), "")


def root_of(path: Path) -> str:
    """Return the name of the first step, "" where it is no plain name (``$``, ``$..a``, ``$.*``)."""
    first = path.steps[0] if path.steps else None
    return first.name if isinstance(first, Name) else ""


def target_key(text: str) -> tuple[str, str] | None:
    """Return (root, first name below it) of a target that can be written, else None."""
    try:
        target = compile_target(text)
    except PathSyntaxError:
        return None
    return (target.root, str(target.steps[0])) if target.steps else None


def keys_read(path: Path) -> Iterator[str]:
    """Yield the first names below the root that a path needs: ``b`` of ``$.a.b[0]``, ``x`` of ``$.a[?(@.x > 1)]``."""
    if len(path.steps) < 2:
        return
    step = path.steps[1]
    if isinstance(step, Name):
        yield step.name
    elif isinstance(step, Names):
        yield from step.names
    elif isinstance(step, Where):
        yield from _named_in(step.test)


def _named_in(test: Test) -> Iterator[str]:
    match test:
        case Exists(inner):
            yield from _first(inner)
        case Compare(left, _, right):
            for operand in (left, right):
                if isinstance(operand, Path):
                    yield from _first(operand)
        case All(parts) | Either(parts):
            for part in parts:
                yield from _named_in(part)
        case Not():
            pass  # asks for what is not there


def _first(path: Path) -> Iterator[str]:
    steps = path.steps if path.is_relative else path.steps[1:]
    if steps and isinstance(steps[0], Name):
        yield steps[0].name
