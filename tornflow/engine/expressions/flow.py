"""Closures for statements. A statement gives its value, or a Signal that its block hands on to whoever it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from tornflow.engine.expressions.budget import Run
from tornflow.engine.expressions.errors import BudgetExceeded, ExpressionError, Thrown
from tornflow.engine.expressions.nodes import Env, Node, Place
from tornflow.engine.expressions.values import Function, OwnMap, elements, render, view

Test = Callable[[Env], bool]


class Signal(Enum):
    """``RETURN`` leaves its value in ``Run.result``."""

    BREAK = 1
    CONTINUE = 2
    RETURN = 3


def body(statements: Sequence[Node]) -> Node:
    """Statements in order, in the block of the caller; the value of the last one."""
    if len(statements) == 1:
        return statements[0]

    def run(env: Env) -> Any:
        value = None
        for statement in statements:
            value = statement(env)
            if value.__class__ is Signal:
                return value
        return value

    return run


def block(inner: Node) -> Node:
    """``inner`` in a block of its own."""
    return lambda env: inner(Env(env.run, {}, env))


def dropped(statement: Node) -> Node:
    """``statement;`` gives nil."""

    def run(env: Env) -> Any:
        value = statement(env)
        return value if value.__class__ is Signal else None

    return run


def let(name: str, value: Node) -> Node:
    def run(env: Env) -> Any:
        result = value(env)
        if result.__class__ is not Signal:
            env.names[name] = result
        return result

    return run


def give_back(value: Node) -> Node:
    """``return value``."""

    def run(env: Env) -> Any:
        result = value(env)
        if result.__class__ is not Signal:
            env.run.result = result
        return Signal.RETURN

    return run


def throw(value: Node, place: Place) -> Node:
    def run(env: Env) -> Any:
        thrown = value(env)
        # A caught error thrown again keeps its message.
        known = view(env.run, thrown)
        text = known["message"] if isinstance(known, dict) and isinstance(known.get("message"), str) else None
        raise Thrown(text or render(env.run, thrown), thrown).place(*place)

    return run


def decide(branches: Sequence[tuple[Test, Node]], otherwise: Node) -> Node:
    """``if ... elsif ... else``."""

    def run(env: Env) -> Any:
        for test, branch in branches:
            if test(env):
                return branch(env)
        return otherwise(env)

    return run


def repeat(test: Test, inner: Node, cost: int) -> Node:
    """``while``; every turn costs ``cost`` steps."""

    def loop(env: Env) -> Any:
        run = env.run
        while test(env):
            run.steps -= cost
            if run.steps < 0:
                run.exhaust()
            value = inner(Env(run, {}, env))
            if value is Signal.BREAK:
                break
            if value is Signal.RETURN:
                return value
        return None

    return loop


def go_through(names: Sequence[str], collection: Node, inner: Node, cost: int, place: Place) -> Node:
    """``for x in c``; ``for k, v in map`` and ``for i, x in list`` with two names."""

    def loop(env: Env) -> Any:
        run = env.run
        try:
            turns = _turns(run, collection(env), len(names))
        except ExpressionError as error:
            error.place(*place)
            raise
        for turn in turns:
            run.steps -= cost
            if run.steps < 0:
                run.exhaust()
            value = inner(Env(run, dict(zip(names, turn, strict=True)), env))
            if value is Signal.BREAK:
                break
            if value is Signal.RETURN:
                return value
        return None

    return loop


def _turns(run: Run, collection: Any, names: int) -> Any:
    if names == 1:
        return ((item,) for item in elements(run, collection))
    known = view(run, collection)
    if isinstance(known, dict):
        run.charge(len(known) >> 3)
        return list(known.items())
    return enumerate(elements(run, collection))


def attempt(inner: Node, name: str, caught: Node | None, finally_: Node | None) -> Node:
    """``try``. An exhausted budget is not caught, and no finally block runs after it."""

    def run(env: Env) -> Any:
        depth = env.run.depth
        try:
            value = inner(Env(env.run, {}, env))
        except BudgetExceeded:
            raise
        except ExpressionError as error:
            env.run.depth = depth
            env.run.charge(6)
            if caught is None:
                return _finish(env, finally_, error)
            try:
                value = caught(Env(env.run, {name: _caught(error)}, env))
            except BudgetExceeded:
                raise
            except ExpressionError as second:
                env.run.depth = depth
                return _finish(env, finally_, second)
        return _finish(env, finally_, None, value)

    return run


def succeeds(inner: Node) -> Node:
    """``is_def(a.b)``: whether it can be read and is not nil."""

    def run(env: Env) -> bool:
        try:
            return inner(env) is not None
        except BudgetExceeded:
            raise
        except ExpressionError:
            env.run.charge(4)
            return False

    return run


def _finish(env: Env, finally_: Node | None, error: ExpressionError | None, value: Any = None) -> Any:
    if finally_ is not None:
        kept = env.run.result
        after = finally_(Env(env.run, {}, env))
        if after.__class__ is Signal:
            return after
        env.run.result = kept
    if error is not None:
        raise error
    return value


def _caught(error: ExpressionError) -> Any:
    value = error.value if isinstance(error, Thrown) else None
    return OwnMap(message=error.message, value=value, line=error.line, column=error.column)


def function(name: str, params: Sequence[str], inner: Node, cost: int) -> Node:
    """Makes a function that remembers the block it was made in."""
    count = len(params)

    def make(env: Env) -> Function:
        def apply(run: Run, *args: Any) -> Any:
            run.charge(cost)
            run.enter()
            value = inner(Env(run, dict(zip(params, args, strict=True)), env))
            run.depth -= 1
            if value is Signal.RETURN:
                value, run.result = run.result, None
            return value

        return Function(name, count, count, apply)

    return make
