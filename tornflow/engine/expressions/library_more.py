"""Predicates for the functions over collections, and functions that make collections of others (rill-dsl 5.7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornflow.engine.expressions.budget import ENTRY_BYTES, SLOT_BYTES, Run
from tornflow.engine.expressions.library_core import integer
from tornflow.engine.expressions.library_seq import add, ask, callable_of
from tornflow.engine.expressions.operators import compare, equal
from tornflow.engine.expressions.values import (
    Function,
    OwnEntry,
    OwnList,
    OwnMap,
    elements,
    map_key,
    require_boolean,
)

Test = Callable[[Run, Any], bool]

_FILLERS: dict[str, Any] = {
    **dict.fromkeys(("byte", "short", "int", "long"), 0),
    **dict.fromkeys(("float", "double"), 0.0),
    "boolean": False,
}


def _predicate(name: str, test: Callable[[Run, Any, Any], bool]) -> tuple[str, int, int, Callable[..., Any]]:
    """``seq.gt(v)`` is a function that says whether its argument is greater than ``v``."""
    return name, 1, 1, lambda run, wanted: _function(name, lambda run, value: test(run, value, wanted))


def _fixed(name: str, test: Test) -> tuple[str, int, int, Callable[..., Any]]:
    function = _function(name, test)
    return name, 0, 0, lambda run: function


def _function(name: str, test: Test) -> Function:
    return Function(name, 1, 1, test)


def _joined(name: str, is_decided_by: bool) -> tuple[str, int, None, Callable[..., Any]]:
    """``seq.and`` ends at the first false, ``seq.or`` at the first true."""

    def make(run: Run, *tests: Any) -> Function:
        asked = [callable_of(test) for test in tests]

        def test(run: Run, value: Any) -> bool:
            run.enter()
            found = any(require_boolean(ask(run, one, value)) is is_decided_by for one in asked)
            run.depth -= 1
            return found is is_decided_by

        return _function(name, test)

    return name, 1, None, make


def _not(run: Run, test: Any) -> Function:
    asked = callable_of(test)

    def negated(run: Run, value: Any) -> bool:
        run.enter()
        found = not require_boolean(ask(run, asked, value))
        run.depth -= 1
        return found

    return _function("seq.not", negated)


def _not_any(run: Run, collection: Any, test: Any) -> bool:
    apply = callable_of(test)
    return not any(require_boolean(ask(run, apply, member)) for member in elements(run, collection))


def _entry(run: Run, key: Any, value: Any) -> OwnEntry:
    run.allocate(2 * ENTRY_BYTES)
    return OwnEntry(key=map_key(run, key), value=value)


def _array_of(run: Run, type_: Any, length: Any) -> OwnList:
    """``type_`` is the name of a type, or the function of that name; only numbers and booleans have a default."""
    name = type_.name if isinstance(type_, Function) else type_
    return _repeat(run, length, _FILLERS.get(name) if isinstance(name, str) else None)


def _repeat(run: Run, times: Any, value: Any) -> OwnList:
    count = _times(run, times)
    run.charge(count >> 4)
    return OwnList([value] * count)


def _repeatedly(run: Run, times: Any, function: Any) -> OwnList:
    apply, result = callable_of(function), OwnList()
    for _ in range(_times(run, times)):
        result.append(ask(run, apply))
    return result


def _times(run: Run, times: Any) -> int:
    count = max(0, integer(times, "the number of times"))
    run.allocate(count * SLOT_BYTES)
    return count


def _group_by(run: Run, collection: Any, function: Any) -> OwnMap:
    """From the text of what the function says to the elements it says so of, in order."""
    apply, result = callable_of(function), OwnMap()
    for member in elements(run, collection):
        key = map_key(run, ask(run, apply, member))
        if key not in result:
            add(run, result, key, OwnList())
        add(run, result[key], member)
    return result


def _functions(*entries: tuple[str, int, int | None, Callable[..., Any]]) -> dict[str, Function]:
    return {name: Function(name, least, most, apply) for name, least, most, apply in entries}


MORE = _functions(
    _predicate("seq.eq", equal),
    _predicate("seq.neq", lambda run, value, wanted: not equal(run, value, wanted)),
    _predicate("seq.lt", lambda run, value, wanted: compare(run, value, wanted) < 0),
    _predicate("seq.le", lambda run, value, wanted: compare(run, value, wanted) <= 0),
    _predicate("seq.gt", lambda run, value, wanted: compare(run, value, wanted) > 0),
    _predicate("seq.ge", lambda run, value, wanted: compare(run, value, wanted) >= 0),
    _fixed("seq.nil", lambda run, value: value is None),
    _fixed("seq.exists", lambda run, value: value is not None),
    _fixed("seq.true", lambda run, value: value is True),
    _fixed("seq.false", lambda run, value: value is False),
    _joined("seq.and", False),
    _joined("seq.or", True),
    ("seq.not", 1, 1, _not),
    ("seq.not_any", 2, 2, _not_any),
    ("seq.entry", 2, 2, _entry),
    ("seq.array_of", 2, 2, _array_of),
    ("repeat", 2, 2, _repeat),
    ("repeatedly", 2, 2, _repeatedly),
    ("group_by", 2, 2, _group_by),
)
