"""Filter tests as closures ``(candidate node, look) -> bool`` (rill-dsl 6.3).

A missing operand acts as null; so does one that cannot be evaluated on this candidate (a function of the wrong type).
The compiler of inner paths is handed in, because paths and filters contain each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tornflow.engine.expressions.searching import find_from, padded, search_steps
from tornflow.engine.jsonpath.comparing import equals, equals_strictly, is_at_most, is_in, is_less
from tornflow.engine.jsonpath.errors import Mistyped
from tornflow.engine.jsonpath.limits import WORK_PER_STEP
from tornflow.engine.jsonpath.look import MISSING, Look
from tornflow.engine.jsonpath.patterns import compile_pattern
from tornflow.engine.jsonpath.steps import (
    All,
    Compare,
    Either,
    Exists,
    Index,
    Literal,
    Name,
    Not,
    Operand,
    Path,
    Pattern,
    Test,
)
from tornflow.engine.jsonpath.walking import compile_walk

Value = Callable[[Any, Look], Any]
ValueCompiler = Callable[[Path, bool], Value]
Check = Callable[[Any, Look], bool]
Comparison = Callable[[Any, Any, Look], bool]


def compile_test(test: Test, values: ValueCompiler) -> Check:
    """Raises PathSyntaxError for a pattern that is not one."""
    match test:
        case Exists(path):
            return _exists(path, values)
        case Compare():
            return _comparison(test, values)
        case Not(part):
            denied = compile_test(part, values)
            return lambda node, look: not denied(node, look)
        case All(parts):
            both = tuple(compile_test(part, values) for part in parts)
            return lambda node, look: all(check(node, look) for check in both)
        case Either(parts):
            either = tuple(compile_test(part, values) for part in parts)
            return lambda node, look: any(check(node, look) for check in either)


def weigh_test(test: Test) -> int:
    """What one candidate costs at most, in units of work, without what is paid while it runs."""
    match test:
        case Exists(path):
            return 3 + _weigh_operand(path)
        case Compare(left, operator, right):
            # The commonest filter has a short way; see _equals_literal.
            own = 2 if operator == "==" and isinstance(right, Literal) else 4
            return own + _weigh_operand(left) + _weigh_operand(right)
        case Not(part):
            return 1 + weigh_test(part)
        case All(parts) | Either(parts):
            return 5 + sum(2 + weigh_test(part) for part in parts)


def _weigh_operand(operand: Operand) -> int:
    if isinstance(operand, Literal):
        return 1
    if isinstance(operand, Pattern):
        return 4
    if all(isinstance(step, (Name, Index)) for step in operand.steps):
        return 2 + len(operand.steps) // 2
    return 10 + 2 * len(operand.steps)


def compile_operand(operand: Operand, values: ValueCompiler) -> Value:
    """Return the reader of one side; None where nothing is."""
    if isinstance(operand, Literal):
        value = operand.value
        return lambda node, look: value
    if isinstance(operand, Pattern):
        raise AssertionError("patterns stand beside =~ only; the parser sees to it")
    if all(isinstance(step, (Name, Index)) for step in operand.steps):
        walk = compile_walk(operand.steps, None)
        return (lambda node, look: walk(node)) if operand.is_relative else (lambda node, look: walk(look.root))
    value_of = values(operand, True)
    is_relative = operand.is_relative

    def read(node: Any, look: Look) -> Any:
        try:
            found = value_of(node if is_relative else look.root, look)
        except Mistyped:
            return None
        return None if found is MISSING else found

    return read


def _exists(path: Path, values: ValueCompiler) -> Check:
    value_of = values(path, False)
    is_relative = path.is_relative

    def check(node: Any, look: Look) -> bool:
        try:
            return value_of(node if is_relative else look.root, look) is not MISSING
        except Mistyped:
            return False

    return check


def _comparison(test: Compare, values: ValueCompiler) -> Check:
    if test.operator == "=~":
        return _pattern(test, values)
    left, right = compile_operand(test.left, values), compile_operand(test.right, values)
    if test.operator == "==" and isinstance(test.right, Literal) and isinstance(test.right.value, (str, int)):
        return _equals_literal(left, test.right.value)
    compare = _COMPARISONS[test.operator]
    return lambda node, look: compare(left(node, look), right(node, look), look)


def _equals_literal(left: Value, literal: str | int) -> Check:
    """The commonest filter: values of the literal's own type are compared at once."""
    kind = type(literal)

    def check(node: Any, look: Look) -> bool:
        value = left(node, look)
        return bool(value == literal) if type(value) is kind else equals(value, literal, look)

    return check


def _pattern(test: Compare, values: ValueCompiler) -> Check:
    pattern, operand = (test.right, test.left) if isinstance(test.right, Pattern) else (test.left, test.right)
    assert isinstance(pattern, Pattern)
    matches = compile_pattern(pattern)
    value_of = compile_operand(operand, values)

    def check(node: Any, look: Look) -> bool:
        value = value_of(node, look)
        if isinstance(value, list):
            look.charge(4 * len(value))
            return any(matches(one, look) for one in value)
        return matches(value, look)

    return check


def _contains(left: Any, right: Any, look: Look) -> bool:
    if isinstance(left, str):
        if not isinstance(right, str):
            return False
        look.charge(1 + search_steps(left, right) * WORK_PER_STEP)
        return find_from(padded(left, right), len(left), right, 0) >= 0
    return is_in(right, left, look)


def _any_of(left: Any, right: Any, look: Look) -> bool:
    return isinstance(left, list) and any(is_in(one, right, look) for one in left)


def _none_of(left: Any, right: Any, look: Look) -> bool:
    return isinstance(left, list) and isinstance(right, list) and not _any_of(left, right, look)


def _subset_of(left: Any, right: Any, look: Look) -> bool:
    return isinstance(left, list) and isinstance(right, list) and all(is_in(one, right, look) for one in left)


def _size(left: Any, right: Any, _look: Look) -> bool:
    if not isinstance(right, (int, float)) or isinstance(right, bool):
        return False
    return isinstance(left, (list, str)) and len(left) == right


def _empty(left: Any, right: Any, _look: Look) -> bool:
    return isinstance(left, (list, str, dict)) and isinstance(right, bool) and (len(left) == 0) is right


_COMPARISONS: Mapping[str, Comparison] = {
    "==": equals,
    "!=": lambda left, right, look: not equals(left, right, look),
    "===": equals_strictly,
    "!==": lambda left, right, look: not equals_strictly(left, right, look),
    "<": is_less,
    "<=": is_at_most,
    ">": lambda left, right, look: is_less(right, left, look),
    ">=": lambda left, right, look: is_at_most(right, left, look),
    "in": is_in,
    "nin": lambda left, right, look: not is_in(left, right, look),
    "contains": _contains,
    "anyof": _any_of,
    "noneof": _none_of,
    "subsetof": _subset_of,
    "all": lambda left, right, look: _subset_of(right, left, look),
    "size": _size,
    "empty": _empty,
    "type": lambda left, right, look: False,  # legal, and never true (rill-dsl 6.3)
}
