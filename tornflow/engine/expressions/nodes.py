"""Closures for expressions. Every factory gets compiled children and gives ``(env) -> value``.

A place is ``(line, column)``; errors get the innermost one. Signals never reach these closures: statements are not
operands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tornflow.engine.expressions import operators
from tornflow.engine.expressions.budget import ENTRY_BYTES, Run
from tornflow.engine.expressions.errors import ExpressionError
from tornflow.engine.expressions.regex_machine import full_match
from tornflow.engine.expressions.regex_program import Program
from tornflow.engine.expressions.values import Function, kind, map_key, require_boolean, view, writable

Place = tuple[int, int]


@dataclass(slots=True)
class Env:
    """Names of one block of a running script; unknown ones are looked up in ``parent``."""

    run: Run
    names: dict[str, Any] = field(default_factory=dict)
    parent: Env | None = None


Node = Callable[[Env], Any]

_SMALL = 1 << 63


def constant(value: Any) -> Node:
    return lambda env: value


def read_name(name: str, builtins: Mapping[str, Function]) -> Node:
    """A variable; else a built-in function of that name; else nil."""
    fallback = builtins.get(name)

    def read(env: Env) -> Any:
        names = env.names
        if name in names:
            return names[name]
        parent = env.parent
        while parent is not None:
            if name in parent.names:
                return parent.names[name]
            parent = parent.parent
        return fallback

    return read


def holder(env: Env, name: str) -> Env | None:
    """The nearest block that knows ``name``."""
    at: Env | None = env
    while at is not None and name not in at.names:
        at = at.parent
    return at


def assign_name(name: str, value: Node) -> Node:
    """Changes the variable where it is known, else makes one in this block."""

    def assign(env: Env) -> Any:
        result = value(env)
        (holder(env, name) or env).names[name] = result
        return result

    return assign


def binary(symbol: str, left: Node, right: Node, place: Place) -> Node:
    """One operator; the common ones have a short way for 64-bit integers."""
    slow = operators.BINARY[symbol]

    def apply(env: Env) -> Any:
        a = left(env)
        b = right(env)
        try:
            return slow(env.run, a, b)
        except ExpressionError as error:
            error.place(*place)
            raise

    fast = _FAST.get(symbol)
    return fast(left, right, lambda env, a, b: _placed(slow, env, a, b, place)) if fast else apply


def _placed(slow: Callable[[Run, Any, Any], Any], env: Env, a: Any, b: Any, place: Place) -> Any:
    try:
        return slow(env.run, a, b)
    except ExpressionError as error:
        error.place(*place)
        raise


Slow = Callable[[Env, Any, Any], Any]


def _fast_add(left: Node, right: Node, slow: Slow) -> Node:
    def add(env: Env) -> Any:
        a = left(env)
        b = right(env)
        if a.__class__ is int and b.__class__ is int and -_SMALL < (result := a + b) < _SMALL:
            return result
        return slow(env, a, b)

    return add


def _fast_subtract(left: Node, right: Node, slow: Slow) -> Node:
    def subtract(env: Env) -> Any:
        a = left(env)
        b = right(env)
        if a.__class__ is int and b.__class__ is int and -_SMALL < (result := a - b) < _SMALL:
            return result
        return slow(env, a, b)

    return subtract


def _fast_multiply(left: Node, right: Node, slow: Slow) -> Node:
    def multiply(env: Env) -> Any:
        a = left(env)
        b = right(env)
        if (
            a.__class__ is int
            and b.__class__ is int
            and -_SMALL < a < _SMALL
            and -_SMALL < b < _SMALL
            and -_SMALL < (result := a * b) < _SMALL
        ):
            return result
        return slow(env, a, b)

    return multiply


def _fast_less(left: Node, right: Node, slow: Slow) -> Node:
    def less(env: Env) -> Any:
        a = left(env)
        b = right(env)
        return a < b if a.__class__ is int and b.__class__ is int else slow(env, a, b)

    return less


def _fast_equal(left: Node, right: Node, slow: Slow) -> Node:
    def equal(env: Env) -> Any:
        a = left(env)
        b = right(env)
        return a == b if a.__class__ is int and b.__class__ is int else slow(env, a, b)

    return equal


_FAST: dict[str, Callable[[Node, Node, Slow], Node]] = {
    "+": _fast_add,
    "-": _fast_subtract,
    "*": _fast_multiply,
    "<": _fast_less,
    "==": _fast_equal,
}


def chain(first: Node, rest: Sequence[tuple[str, Node, Place]]) -> Node:
    """``a + b - c ...`` from left to right; flat, so that a long sum is not a deep one."""
    if len(rest) == 1:
        symbol, operand, place = rest[0]
        return binary(symbol, first, operand, place)
    steps = tuple((operators.BINARY[symbol], operand, place) for symbol, operand, place in rest)

    def fold(env: Env) -> Any:
        value = first(env)
        for apply, operand, place in steps:
            other = operand(env)
            try:
                value = apply(env.run, value, other)
            except ExpressionError as error:
                error.place(*place)
                raise
        return value

    return fold


def unary(symbol: str, operand: Node, place: Place) -> Node:
    apply = operators.UNARY[symbol]

    def run(env: Env) -> Any:
        value = operand(env)
        try:
            return apply(env.run, value)
        except ExpressionError as error:
            error.place(*place)
            raise

    return run


def condition(node: Node, place: Place) -> Callable[[Env], bool]:
    """A node whose value must be a boolean."""

    def test(env: Env) -> bool:
        value = node(env)
        if value is True or value is False:
            return bool(value)
        try:
            return require_boolean(value)
        except ExpressionError as error:
            error.place(*place)
            raise

    return test


def any_of(tests: Sequence[Callable[[Env], bool]]) -> Node:
    """``||``: the first true ends it."""

    def run(env: Env) -> bool:
        for test in tests:
            if test(env):
                return True
        return False

    return run


def all_of(tests: Sequence[Callable[[Env], bool]]) -> Node:
    """``&&``: the first false ends it."""

    def run(env: Env) -> bool:
        for test in tests:
            if not test(env):
                return False
        return True

    return run


def choose(test: Callable[[Env], bool], yes: Node, no: Node) -> Node:
    return lambda env: yes(env) if test(env) else no(env)


def match(left: Node, right: Node, place: Place) -> Node:
    """``text =~ /pattern/``: the whole text must fit; the groups become ``$0``, ``$1``, ..."""

    def run(env: Env) -> bool:
        text, pattern = left(env), right(env)
        try:
            return _match(env, text, pattern)
        except ExpressionError as error:
            error.place(*place)
            raise

    return run


def _match(env: Env, text: Any, pattern: Any) -> bool:
    if text is None:
        return False
    if not isinstance(text, str) or not isinstance(pattern, Program):
        raise ExpressionError(f"=~ takes a string and a pattern, not {kind(text)} and {kind(pattern)}")
    env.run.charge(2 + (pattern.groups >> 1))
    found = full_match(env.run, pattern, text)
    if found is None:
        return False
    for number in range(pattern.groups):
        env.names[f"${number}"] = found.group(number)
    return True


def read_property(base: Node, name: str, place: Place) -> Node:
    """``base.name``: nil for a missing key, an error if ``base`` is no map."""

    def read(env: Env) -> Any:
        value = base(env)
        run = env.run
        if run.copies:
            value = run.copies.get(id(value), value)
        if isinstance(value, dict):
            return value.get(name)
        raise ExpressionError(f"cannot read property {name!r} of {kind(value)}", *place)

    return read


def read_index(base: Node, key: Node, place: Place) -> Node:
    def read(env: Env) -> Any:
        value, index = base(env), key(env)
        try:
            return item(env.run, value, index)
        except ExpressionError as error:
            error.place(*place)
            raise

    return read


def item(run: Run, value: Any, key: Any) -> Any:
    """``value[key]``. Raises ExpressionError: index out of range, or nothing to index."""
    value = view(run, value)
    if isinstance(value, dict):
        return value.get(map_key(run, key))
    if isinstance(value, list | tuple | range):
        return value[check_index(value, key)]
    raise ExpressionError(f"cannot read [{_key_text(key)}] of {kind(value)}")


def check_index(value: Sequence[Any], key: Any) -> int:
    """Raises ExpressionError unless ``key`` is an index of ``value``."""
    if not isinstance(key, int) or isinstance(key, bool):
        raise ExpressionError(f"an index must be an integer, not {kind(key)}")
    if not 0 <= key < len(value):
        raise ExpressionError(f"index {key} is out of range, there are {len(value)} elements")
    return key


def write_index(base: Node, key: Node, value: Node, place: Place) -> Node:
    """``base[key] = value`` and ``base.name = value``."""

    def write(env: Env) -> Any:
        target, index, result = base(env), key(env), value(env)
        try:
            put(env.run, target, index, result)
        except ExpressionError as error:
            error.place(*place)
            raise
        return result

    return write


def put(run: Run, target: Any, key: Any, value: Any) -> None:
    """Set an entry of a map or an existing element of a list. Raises ExpressionError."""
    if not isinstance(target, list | dict):
        raise ExpressionError(f"cannot set [{_key_text(key)}] of {kind(target)}")
    container = writable(run, target)
    if isinstance(container, dict):
        name = map_key(run, key)
        run.allocate((len(container) + 1) * ENTRY_BYTES, ENTRY_BYTES)
        container[name] = value
    else:
        container[check_index(container, key)] = value


def _key_text(key: Any) -> str:
    return repr(key[:40]) if isinstance(key, str) else str(key)[:40] if isinstance(key, int) else kind(key)


def call(callee: Callable[[Env], Function], arguments: Sequence[Node], place: Place) -> Node:
    """Calls what ``callee`` finds; the call itself costs two steps."""

    def run_call(env: Env) -> Any:
        run = env.run
        run.steps -= 2
        if run.steps < 0:
            run.exhaust()
        try:
            function = callee(env)
            return function.call(run, *[argument(env) for argument in arguments])
        except ExpressionError as error:
            error.place(*place)
            raise

    return run_call
