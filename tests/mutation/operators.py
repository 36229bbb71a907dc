"""How one statement can be broken. Each breaker changes the statement's own expressions or takes it away; never more.

A breaker is found by name and number, so that a seed names the same defect in every run on the same text.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

Statement = ast.stmt
Mutation = tuple[str, Callable[[ast.stmt], ast.stmt]]
"""What it does, and a function that returns the broken statement for a copy of the right one."""

_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_NEIGHBOUR: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def mutations(statement: ast.stmt) -> list[Mutation]:
    """Return every way to break it; none for what carries no behaviour."""
    return [*_removals(statement), *_changes(statement)]


def own_expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of its own line: not those of the statements inside it, and no type annotations."""
    for name, value in ast.iter_fields(statement):
        if name in (*_BLOCKS, "annotation", "returns", "decorator_list"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield from ast.walk(node)


def _removals(statement: ast.stmt) -> Iterator[Mutation]:
    nothing = ast.Pass()
    match statement:
        case ast.Expr(value=ast.Await()):
            yield "drop the awaited call", lambda _: nothing
        case ast.Expr(value=ast.Call()):
            yield "drop the call", lambda _: nothing
        case ast.Raise():
            yield "drop the raise", lambda _: nothing
        case ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break():
            yield "drop the line", lambda _: nothing
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "drop the line", lambda _: nothing
        case ast.If():
            yield "negate the condition", _with_test(lambda test: ast.UnaryOp(ast.Not(), test))
            yield "never take the branch", _with_test(lambda _: ast.Constant(False))
            if not statement.orelse:
                yield "always take the branch", _with_test(lambda _: ast.Constant(True))
        case ast.While():
            yield "never enter the loop", _with_test(lambda _: ast.Constant(False))
        case ast.For() | ast.AsyncFor():
            yield "drop the loop", lambda _: nothing
        case ast.Try():
            if statement.handlers:
                yield "catch nothing", _raising_again
            if statement.finalbody:
                yield "drop the finally", _without_finally
        case (
            ast.With(items=[ast.withitem(optional_vars=None)]) | ast.AsyncWith(items=[ast.withitem(optional_vars=None)])
        ):
            yield "drop the with", lambda one: ast.If(ast.Constant(True), one.body, [])  # type: ignore[attr-defined]
        case ast.Return(value=ast.expr()):
            if not isinstance(statement.value, ast.Constant):
                yield "return nothing", lambda _: ast.Return(None)
        case _:
            pass


def _with_test(change: Callable[[ast.expr], ast.expr]) -> Callable[[ast.stmt], ast.stmt]:
    def apply(statement: ast.stmt) -> ast.stmt:
        assert isinstance(statement, ast.If | ast.While)
        statement.test = change(statement.test)
        return statement

    return apply


def _raising_again(statement: ast.stmt) -> ast.stmt:
    assert isinstance(statement, ast.Try)
    for handler in statement.handlers:
        handler.body = [ast.Raise()]
    return statement


def _without_finally(statement: ast.stmt) -> ast.stmt:
    assert isinstance(statement, ast.Try)
    statement.finalbody = []
    return statement if statement.handlers else ast.If(ast.Constant(True), statement.body, [])


def _changes(statement: ast.stmt) -> Iterator[Mutation]:
    """One per node of the own expressions that can be changed and per way to change it."""
    for place, node in enumerate(own_expressions(statement)):
        for name, change in _node_changes(node):
            yield name, _at(place, change)


def _at(place: int, change: Callable[[ast.AST], None]) -> Callable[[ast.stmt], ast.stmt]:
    def apply(statement: ast.stmt) -> ast.stmt:
        change(list(own_expressions(statement))[place])
        return statement

    return apply


def _node_changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    match node:
        case ast.Compare(ops=[operator]):
            yield "negate the comparison", _replace_operator(_OPPOSITE[type(operator)])
            if type(operator) in _NEIGHBOUR:
                yield "move the bound by one", _replace_operator(_NEIGHBOUR[type(operator)])
        case ast.BoolOp(op=operator):
            swapped = ast.Or if isinstance(operator, ast.And) else ast.And
            yield "swap and/or", lambda one: setattr(one, "op", swapped())
            yield "drop one condition", lambda one: one.values.pop()  # type: ignore[attr-defined]
        case ast.UnaryOp(op=ast.Not()):
            yield "drop the not", _drop_not
        case ast.IfExp():
            yield "swap the two values", _swap_values
        case ast.Constant(value=bool() as value):
            yield "flip the truth value", lambda one: setattr(one, "value", not value)
        case ast.Constant(value=int() as value):
            yield "one more", lambda one: setattr(one, "value", value + 1)
        case ast.BinOp(op=operator) if type(operator) in _ARITHMETIC:
            other = _ARITHMETIC[type(operator)]
            yield "another operator", lambda one: setattr(one, "op", other())


def _replace_operator(operator: type[ast.cmpop]) -> Callable[[ast.AST], None]:
    return lambda node: setattr(node, "ops", [operator()])


def _drop_not(node: ast.AST) -> None:
    assert isinstance(node, ast.UnaryOp)
    # Two nots keep the node where it is: the truth of the operand.
    node.operand = ast.UnaryOp(ast.Not(), node.operand)


def _swap_values(node: ast.AST) -> None:
    assert isinstance(node, ast.IfExp)
    node.body, node.orelse = node.orelse, node.body


def broken(tree: ast.Module, line: int, column: int, number: int) -> ast.Module:
    """Return a copy of the module in which the statement at (line, column) is broken in the way ``number``."""

    class Breaker(ast.NodeTransformer):
        def generic_visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, ast.stmt) and (node.lineno, node.col_offset) == (line, column):
                return mutations(node)[number][1](node)
            return super().generic_visit(node)

    changed = Breaker().visit(copy.deepcopy(tree))
    assert isinstance(changed, ast.Module)
    return ast.fix_missing_locations(changed)
