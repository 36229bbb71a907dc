"""Text to syntax tree (rill-dsl 6.1, 6.3).

A name behind a dot ends at ``.``, ``[``, ``(`` or a blank; inside a filter also at an operator. ``.[`` is the same
as ``[``. A function ends its path.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tornflow.engine.jsonpath.cursor import Cursor
from tornflow.engine.jsonpath.errors import PathSyntaxError
from tornflow.engine.jsonpath.functions import FUNCTIONS
from tornflow.engine.jsonpath.limits import MAX_PATH_CHARACTERS, MAX_STEPS
from tornflow.engine.jsonpath.plain import parse_plain
from tornflow.engine.jsonpath.steps import (
    All,
    Call,
    Compare,
    Either,
    Exists,
    Index,
    Indexes,
    Literal,
    Name,
    Names,
    Not,
    Operand,
    Path,
    Pattern,
    Scan,
    Slice,
    Step,
    Test,
    Where,
    Wildcard,
)

_OUTER_NAME = re.compile(r"[^.\[(\s]+")
_INNER_NAME = re.compile(r"[^.\[(\s\])},=!<>~&|]+")
_SYMBOLS = ("===", "!==", "==", "!=", "<=", ">=", "=~", "<", ">")
_WORDS = ("contains", "subsetof", "noneof", "anyof", "empty", "size", "type", "all", "nin", "in")
_OPERATOR_WORD = re.compile(r"[A-Za-z]+")
_PATTERN = re.compile(r"/((?:[^/\\]|\\.)*)/([A-Za-z]*)", re.DOTALL)


@lru_cache(maxsize=1024)
def parse(text: str) -> Path:
    """Return the tree of a path; a missing leading ``$.`` is added.

    Raises:
        PathSyntaxError: not a path, or beyond the bounds in ``limits``.
    """
    path = text.strip()
    if len(path) > MAX_PATH_CHARACTERS:
        raise PathSyntaxError(f"the path is longer than {MAX_PATH_CHARACTERS} characters", MAX_PATH_CHARACTERS)
    if not path:
        raise PathSyntaxError("the path is empty")
    shift = len(text) - len(text.lstrip())
    if not path.startswith("$"):
        path, shift = "$." + path, shift - 2
    plain = parse_plain(path)
    if plain is None:
        return _parse_shifted(path, shift)
    if len(plain) > MAX_STEPS:
        raise PathSyntaxError(f"more than {MAX_STEPS} steps")
    return Path(plain)


def _parse_shifted(path: str, shift: int) -> Path:
    """Parse what was trimmed or prefixed; columns are those of the text as it was given."""
    try:
        return parse_own(path)
    except PathSyntaxError as error:
        raise PathSyntaxError(error.reason, max(1, error.column + shift)) from None


def parse_own(text: str) -> Path:
    """Parse the whole dialect with our own parser alone. Raises PathSyntaxError."""
    cursor = Cursor(text)
    path = _path(cursor, is_inner=False)
    if not cursor.is_at_end():
        cursor.fail(f"unexpected {cursor.text[cursor.position]!r}")
    return path


def _path(cursor: Cursor, is_inner: bool) -> Path:
    is_relative = is_inner and cursor.takes("@")
    if not is_relative:
        cursor.expect("$")
    steps: list[Step] = []
    while cursor.sees(".") or cursor.sees("["):
        if len(steps) >= MAX_STEPS:
            cursor.fail(f"more than {MAX_STEPS} steps")
        if cursor.takes(".."):
            steps.append(Scan())
            step = _bracket(cursor) if cursor.sees("[") else _dotted(cursor, is_inner)
            if isinstance(step, Call):
                cursor.fail("a function cannot stand behind '..'")
        elif cursor.takes("."):
            step = _bracket(cursor) if cursor.sees("[") else _dotted(cursor, is_inner)
        else:
            step = _bracket(cursor)
        steps.append(step)
        if isinstance(step, Call):
            break
    return Path(tuple(steps), is_relative)


def _dotted(cursor: Cursor, is_inner: bool) -> Step:
    if cursor.takes("*"):
        return Wildcard()
    start = cursor.position
    name = cursor.match(_INNER_NAME if is_inner else _OUTER_NAME)
    if name is None:
        cursor.fail("expected a name; other names than words need brackets and quotes")
    if not cursor.sees("("):
        return Name(name)
    if name not in FUNCTIONS:
        cursor.fail(f"there is no function {name!r}, only {', '.join(sorted(FUNCTIONS))}", start)
    return Call(name, _arguments(cursor))


def _arguments(cursor: Cursor) -> tuple[Operand, ...]:
    cursor.expect("(")
    cursor.enter()
    arguments: list[Operand] = []
    cursor.blanks()
    while not cursor.takes(")"):
        if arguments:
            cursor.expect(",")
            cursor.blanks()
        arguments.append(_operand(cursor))
        cursor.blanks()
    cursor.leave()
    return tuple(arguments)


def _bracket(cursor: Cursor) -> Step:
    cursor.expect("[")
    cursor.blanks()
    step: Step
    if cursor.takes("*"):
        step = Wildcard()
    elif cursor.takes("?"):
        step = _where(cursor)
    elif cursor.sees("'") or cursor.sees('"'):
        step = _names(cursor)
    else:
        step = _places(cursor)
    cursor.blanks()
    cursor.expect("]")
    return step


def _names(cursor: Cursor) -> Step:
    names = [cursor.string()]
    cursor.blanks()
    while cursor.takes(","):
        cursor.blanks()
        if not (cursor.sees("'") or cursor.sees('"')):
            cursor.fail("expected a quoted name")
        names.append(cursor.string())
        cursor.blanks()
    return Name(names[0]) if len(names) == 1 else Names(tuple(names))


def _places(cursor: Cursor) -> Step:
    if cursor.takes(":"):
        cursor.blanks()
        return Slice(None, cursor.integer())
    indexes = [cursor.integer()]
    cursor.blanks()
    if cursor.takes(":"):
        cursor.blanks()
        return Slice(indexes[0], None if cursor.sees("]") else cursor.integer())
    while cursor.takes(","):
        cursor.blanks()
        indexes.append(cursor.integer())
        cursor.blanks()
    return Index(indexes[0]) if len(indexes) == 1 else Indexes(tuple(indexes))


def _where(cursor: Cursor) -> Where:
    cursor.blanks()
    cursor.expect("(")
    cursor.enter()
    test = _either(cursor)
    cursor.blanks()
    cursor.expect(")")
    cursor.leave()
    return Where(test)


def _either(cursor: Cursor) -> Test:
    parts = [_all(cursor)]
    cursor.blanks()
    while cursor.takes("||"):
        parts.append(_all(cursor))
        cursor.blanks()
    return parts[0] if len(parts) == 1 else Either(tuple(parts))


def _all(cursor: Cursor) -> Test:
    parts = [_test(cursor)]
    cursor.blanks()
    while cursor.takes("&&"):
        parts.append(_test(cursor))
        cursor.blanks()
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _test(cursor: Cursor) -> Test:
    cursor.blanks()
    if cursor.takes("!"):
        cursor.blanks()
        is_grouped = cursor.sees("(")
        cursor.enter()
        test = _test(cursor)
        cursor.leave()
        if isinstance(test, Compare) and not is_grouped:
            # ``!@.a == 1`` reads as (not @.a) == 1 to some and as not (@.a == 1) to others.
            cursor.fail("put what '!' denies into parentheses")
        return Not(test)
    if cursor.takes("("):
        cursor.enter()
        test = _either(cursor)
        cursor.blanks()
        cursor.expect(")")
        cursor.leave()
        return test
    return _comparison(cursor)


def _comparison(cursor: Cursor) -> Test:
    start = cursor.position
    left = _operand(cursor)
    operator = _operator(cursor)
    if operator is None:
        if isinstance(left, Path):
            return Exists(left)
        cursor.fail("a value alone is not a test", start)
    cursor.blanks()
    right = _operand(cursor)
    if operator == "=~" and isinstance(left, Pattern) == isinstance(right, Pattern):
        cursor.fail("'=~' needs a pattern on one side", start)
    if operator != "=~" and (isinstance(left, Pattern) or isinstance(right, Pattern)):
        cursor.fail("a pattern needs '=~'", start)
    return Compare(left, operator, right)


def _operator(cursor: Cursor) -> str | None:
    cursor.blanks()
    for symbol in _SYMBOLS:
        if cursor.takes(symbol):
            return symbol
    start = cursor.position
    word = cursor.match(_OPERATOR_WORD)
    if word is None:
        return None
    if word.lower() not in _WORDS:
        cursor.fail(f"there is no operator {word!r}", start)
    return word.lower()


def _operand(cursor: Cursor) -> Operand:
    if cursor.sees("@") or cursor.sees("$"):
        return _path(cursor, is_inner=True)
    if cursor.sees("/"):
        return _pattern(cursor)
    return Literal(cursor.literal())


def _pattern(cursor: Cursor) -> Pattern:
    match = _PATTERN.match(cursor.text, cursor.position)
    if match is None:
        cursor.fail("this pattern has no end")
    cursor.position = match.end()
    return Pattern(match.group(1), match.group(2))
