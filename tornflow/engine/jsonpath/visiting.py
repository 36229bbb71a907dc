"""Paths that may lead to many nodes: every step is a closure that hands each node it finds to the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tornflow.engine.jsonpath.errors import Mistyped
from tornflow.engine.jsonpath.filters import compile_operand, compile_test, weigh_test
from tornflow.engine.jsonpath.functions import FUNCTIONS
from tornflow.engine.jsonpath.look import MISSING, Look
from tornflow.engine.jsonpath.steps import (
    Call,
    Index,
    Indexes,
    Name,
    Names,
    Path,
    Scan,
    Slice,
    Step,
    Where,
    Wildcard,
    is_definite,
)
from tornflow.engine.jsonpath.walking import compile_walk

Value = Callable[[Any, Look], Any]
Visit = Callable[[Any, Look, list[Any]], None]


def compile_value(path: Path, fills: bool) -> Value:
    """Return ``(start node, look) -> value``: MISSING, the one node, or the list of nodes of an indefinite path.

    ``fills``: an object without the last name contributes null (read mode). The closure raises Mistyped.
    """
    call = path.call
    found = _compile_nodes(path.nodes, fills, has_call=call is not None)
    if call is None:
        return found
    is_many = _first_indefinite(path.nodes, has_call=True) < len(path.nodes)
    return _compile_call(call, found, is_many)


def _compile_call(call: Call, value_of: Value, is_many: bool) -> Value:
    function = FUNCTIONS[call.name]
    operands = [compile_operand(operand, compile_value) for operand in call.arguments]

    def apply(node: Any, look: Look) -> Any:
        value = value_of(node, look)
        if value is MISSING:
            return MISSING
        arguments = [operand(node, look) for operand in operands]
        look.charge(_work_of_call(value, arguments, is_many))
        if is_many:
            return [function(one, arguments) for one in value]
        return function(value, arguments)

    return apply


def _work_of_call(value: Any, arguments: Sequence[Any], is_many: bool) -> int:
    """Functions go through the elements of the value and of every argument, for each value of an indefinite path."""
    sizes = sum(_size(one) for one in arguments) + 4
    if not is_many:
        return sizes + _size(value)
    return sizes * len(value) + sum(_size(one) for one in value)


def _size(value: Any) -> int:
    if isinstance(value, (list, dict)):
        return 2 + 2 * len(value)
    return 2 + (len(value) >> 9 if isinstance(value, str) else 0)


def _first_indefinite(steps: Sequence[Step], has_call: bool) -> int:
    last = -1 if has_call else len(steps) - 1
    for place, step in enumerate(steps):
        if not is_definite(step, place == last):
            return place
    return len(steps)


def _compile_nodes(steps: Sequence[Step], fills: bool, has_call: bool) -> Value:
    split = _first_indefinite(steps, has_call)
    walk = compile_walk(steps[:split], MISSING)
    if split == len(steps):
        return lambda node, look: walk(node)
    visit = _compile_visits(steps[split:], fills and not has_call)
    needs_list = isinstance(steps[split], (Indexes, Slice))

    def nodes(node: Any, look: Look) -> Any:
        start = walk(node)
        # Behind a definite part an index list is missing on anything but an array; a wildcard finds nothing.
        if start is MISSING or (needs_list and not isinstance(start, list)):
            return MISSING
        found: list[Any] = []
        visit(start, look, found)
        return found

    return nodes


def _compile_visits(steps: Sequence[Step], fills: bool) -> Visit:
    visit: Visit = _emit
    for place in range(len(steps) - 1, -1, -1):
        step = steps[place]
        if isinstance(step, Scan):
            visit = _scan(visit)
        else:
            is_scanned = place > 0 and isinstance(steps[place - 1], Scan)
            visit = _compile_visit(step, visit, fills, is_first=place == 0, is_scanned=is_scanned)
    return visit


def _compile_visit(step: Step, then: Visit, fills: bool, *, is_first: bool, is_scanned: bool) -> Visit:
    is_last = then is _emit
    match step:
        case Name(name):
            return _name(name, then, fills and is_last)
        case Names(names):
            return _merged(names) if is_last else _names(names, then)
        case Index(index):
            return _indexes((index,), then)
        case Indexes(indexes):
            return _indexes(indexes, then)
        case Slice(start, stop):
            return _slice(start, stop, then)
        case Wildcard():
            return _wildcard(then)
        case Where(test):
            compiled, weight = compile_test(test, compile_value), weigh_test(test)
            return _scanned_where(compiled, weight, then) if is_scanned else _where(compiled, weight, then, is_first)
        case Scan() | Call():
            raise AssertionError("handled by the caller")


def _emit(node: Any, _look: Look, found: list[Any]) -> None:
    found.append(node)


def _name(name: str, then: Visit, fills: bool) -> Visit:
    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, dict):
            if name in node:
                then(node[name], look, found)
            elif fills:
                found.append(None)

    return visit


def _names(names: tuple[str, ...], then: Visit) -> Visit:
    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, dict):
            look.charge(len(names))
            for name in names:
                if name in node:
                    then(node[name], look, found)

    return visit


def _merged(names: tuple[str, ...]) -> Visit:
    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, dict):
            look.charge(4 + len(names))
            found.append({name: node.get(name) for name in names})

    return visit


def _indexes(indexes: tuple[int, ...], then: Visit) -> Visit:
    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, list):
            size = len(node)
            look.charge(2 * len(indexes))
            for index in indexes:
                if -size <= index < size:
                    then(node[index], look, found)

    return visit


def _slice(start: int | None, stop: int | None, then: Visit) -> Visit:
    span = slice(start, stop)

    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, list):
            _each(node[span], then, look, found)

    return visit


def _wildcard(then: Visit) -> Visit:
    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, dict):
            _each(list(node.values()), then, look, found)
        elif isinstance(node, list):
            _each(node, then, look, found)

    return visit


def _each(nodes: Sequence[Any], then: Visit, look: Look, found: list[Any]) -> None:
    look.charge(2 * len(nodes) + 2)
    for node in nodes:
        then(node, look, found)


def _where(test: Callable[[Any, Look], bool], weight: int, then: Visit, is_first: bool) -> Visit:
    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, list):
            look.charge(weight * len(node) + 2)
            for one in node:
                if test(one, look):
                    then(one, look, found)
        elif isinstance(node, dict):
            look.charge(weight)
            if test(node, look):
                then(node, look, found)
        elif is_first:
            raise Mistyped("a filter needs an object or an array, here is a plain value")

    return visit


def _scanned_where(test: Callable[[Any, Look], bool], weight: int, then: Visit) -> Visit:
    """A filter behind ``..``: every visited object itself, and the plain elements of arrays; none of them twice."""

    def visit(node: Any, look: Look, found: list[Any]) -> None:
        if isinstance(node, dict):
            look.charge(weight + 4)
            candidates: Iterable[Any] = (node,)
        else:
            look.charge(weight * len(node) + 4)
            candidates = (one for one in node if not isinstance(one, (dict, list)))
        for one in candidates:
            if test(one, look):
                then(one, look, found)

    return visit


def _scan(then: Visit) -> Visit:
    def visit(node: Any, look: Look, found: list[Any]) -> None:
        waiting = [node]
        while waiting:
            current = waiting.pop()
            if not isinstance(current, (dict, list)):
                continue
            look.charge(2 * len(current) + 5)
            then(current, look, found)
            children = list(current.values()) if isinstance(current, dict) else current
            waiting.extend(reversed(children))

    return visit
