"""``seq.*`` and the functions over collections. They make new values, except the ones that say what they change."""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from tornflow.engine.expressions.budget import ENTRY_BYTES, SLOT_BYTES, Run
from tornflow.engine.expressions.errors import ExpressionError
from tornflow.engine.expressions.library_core import integer
from tornflow.engine.expressions.nodes import item, put
from tornflow.engine.expressions.operators import compare, equal
from tornflow.engine.expressions.values import (
    Function,
    OwnList,
    OwnMap,
    OwnSet,
    elements,
    kind,
    map_key,
    own_list,
    require_boolean,
    set_key,
    view,
    writable,
)

_SHORT = 256


def _new_map(run: Run, *pairs: Any) -> OwnMap:
    if len(pairs) % 2:
        raise ExpressionError("seq.map takes keys and values, an even number of arguments")
    run.allocate(len(pairs) * ENTRY_BYTES)
    return OwnMap({map_key(run, key): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)})


def _new_set(run: Run, *members: Any) -> OwnSet:
    result = OwnSet()
    for member in members:
        add(run, result, member)
    return result


def add(run: Run, collection: Any, *values: Any) -> Any:
    """Changes ``collection`` and gives it back: an element to a list or set, key and value (or an entry) to a map."""
    container = writable(run, collection)
    if isinstance(container, dict):
        key, value = values if len(values) == 2 else _entry(run, values[0])
        put(run, collection, key, value)
        return collection
    if len(values) != 1:
        raise ExpressionError(f"seq.add takes one element for a {kind(container)}")
    if isinstance(container, OwnSet):
        run.allocate((len(container.items) + 1) * ENTRY_BYTES, ENTRY_BYTES)
        container.items[set_key(run, values[0])] = values[0]
    else:
        run.allocate((len(container) + 1) * SLOT_BYTES, SLOT_BYTES)
        container.append(values[0])
    return collection


def _entry(run: Run, value: Any) -> tuple[Any, Any]:
    known = view(run, value)
    if isinstance(known, dict) and known.keys() == {"key", "value"}:
        return known["key"], known["value"]
    raise ExpressionError("seq.add takes a key and a value for a map")


def _put(run: Run, collection: Any, key: Any, value: Any) -> Any:
    """Changes ``collection``; gives back what was there before, as the original does."""
    known = view(run, collection)
    before = known.get(map_key(run, key)) if isinstance(known, dict) else item(run, known, key)
    put(run, collection, key, value)
    return before


def _get(run: Run, collection: Any, key: Any) -> Any:
    if isinstance(collection, OwnSet):
        return collection.items.get(set_key(run, key))
    return item(run, collection, key)


def _remove(run: Run, collection: Any, member: Any) -> Any:
    """Changes ``collection`` and gives it back: the first equal element of a list or set, the key of a map."""
    container = writable(run, collection)
    if isinstance(container, OwnSet):
        container.items.pop(set_key(run, member), None)
    elif isinstance(container, dict):
        container.pop(map_key(run, member), None)
    else:
        run.charge(len(container) >> 1)
        for place, value in enumerate(container):
            if equal(run, value, member):
                del container[place]
                break
    return collection


def _contains_key(run: Run, collection: Any, key: Any) -> bool:
    known = view(run, collection)
    if known is None:
        return False
    if isinstance(known, dict):
        return not isinstance(key, list | dict | OwnSet | None) and map_key(run, key) in known
    if isinstance(known, list | tuple):
        return 0 <= integer(key, "the index") < len(known)
    raise ExpressionError(f"seq.contains_key takes a map or a list, not {kind(known)}")


def _keys(run: Run, collection: Any) -> Any:
    return None if collection is None else own_list(run, _map(run, collection).keys())


def _vals(run: Run, collection: Any) -> Any:
    return None if collection is None else own_list(run, _map(run, collection).values())


def _map(run: Run, collection: Any) -> dict[str, Any]:
    known = view(run, collection)
    if isinstance(known, dict):
        return known
    raise ExpressionError(f"a map is needed, not {kind(known)}")


def _some(run: Run, collection: Any, test: Any) -> Any:
    """The first element that fits, else nil."""
    apply = callable_of(test)
    for member in elements(run, collection):
        if require_boolean(ask(run, apply, member)):
            return member
    return None


def _every(run: Run, collection: Any, test: Any) -> bool:
    apply = callable_of(test)
    return all(require_boolean(ask(run, apply, member)) for member in elements(run, collection))


def callable_of(value: Any) -> Function:
    if isinstance(value, Function):
        return value
    raise ExpressionError(f"a function is needed, not {kind(value)}")


def ask(run: Run, function: Function, *args: Any) -> Any:
    run.charge(2)
    return function.call(run, *args)


def _count(run: Run, collection: Any) -> int:
    known = view(run, collection)
    if isinstance(known, dict | OwnSet):
        return len(known.items) if isinstance(known, OwnSet) else len(known)
    return len(elements(run, known))


def _include(run: Run, collection: Any, member: Any) -> bool:
    if isinstance(collection, OwnSet):
        return set_key(run, member) in collection.items
    for value in elements(run, collection):
        run.steps -= 1
        if run.steps < 0:
            run.exhaust()
        if equal(run, value, member):
            return True
    return False


def _transform(run: Run, collection: Any, function: Any) -> Any:
    if collection is None:
        return None
    apply = callable_of(function)
    result = OwnList()
    for member in elements(run, collection):
        add(run, result, ask(run, apply, member))
    return result


def _filter(run: Run, collection: Any, test: Any) -> Any:
    if collection is None:
        return None
    apply = callable_of(test)
    result = OwnList()
    for member in elements(run, collection):
        if require_boolean(ask(run, apply, member)):
            add(run, result, member)
    return result


def _reduce(run: Run, collection: Any, function: Any, start: Any) -> Any:
    apply = callable_of(function)
    for member in elements(run, collection):
        start = ask(run, apply, start, member)
    return start


def _sort(run: Run, collection: Any, order: Any = None) -> Any:
    if collection is None:
        return None
    result = own_list(run, elements(run, _bounded(run, collection)))
    run.charge(len(result))
    apply = None if order is None else callable_of(order)
    if apply is None and _sorts_itself(result):
        return OwnList(sorted(result))

    def before(a: Any, b: Any) -> int:
        run.charge(1)
        return compare(run, a, b) if apply is None else integer(apply.call(run, a, b), "the result of a comparison")

    # Sorted aside: a comparison that touches the list must not see it half sorted.
    return OwnList(sorted(result, key=cmp_to_key(before)))


def _sorts_itself(members: list[Any]) -> bool:
    """Integers or short strings only: the order of Python is ours and a comparison costs next to nothing."""
    classes = set(map(type, members))
    return classes <= {int} or (classes == {str} and max(map(len, members)) <= _SHORT)


def _range(run: Run, begin: Any, end: Any, step: Any = 1) -> range:
    if integer(step, "the step") == 0:
        raise ExpressionError("the step must not be 0")
    result = range(integer(begin, "the begin"), integer(end, "the end"), step)
    try:
        len(result)
    except OverflowError:
        raise ExpressionError("a range of more than 2^63 numbers") from None
    return result


def _reverse(run: Run, collection: Any) -> Any:
    """Changes the list and gives it back."""
    if collection is None:
        return None
    if not isinstance(collection, list):
        return own_list(run, tuple(elements(run, _bounded(run, collection))))[::-1]
    container = writable(run, collection)
    run.charge(len(container) >> 4)
    container.reverse()
    return collection


def _bounded(run: Run, collection: Any) -> Any:
    # A range is small until somebody writes it out.
    run.allocate(_count(run, collection) * SLOT_BYTES, 0)
    return collection


def _distinct(run: Run, collection: Any) -> Any:
    if collection is None:
        return None
    members = elements(run, _bounded(run, collection))
    run.charge(len(members))
    return own_list(run, {set_key(run, member): member for member in members}.values())


def _zipmap(run: Run, keys: Any, values: Any) -> OwnMap:
    result = OwnMap()
    for key, value in zip(elements(run, keys), elements(run, values), strict=False):
        run.charge(1)
        put(run, result, key, value)
    return result


def _into(run: Run, target: Any, source: Any) -> Any:
    """Adds every element of ``source`` to ``target`` and gives ``target`` back."""
    writable(run, target)
    for member in list(elements(run, _bounded(run, source))):
        run.charge(1)
        add(run, target, member)
    return target


def _concat(run: Run, *collections: Any) -> OwnList:
    result = OwnList()
    for collection in collections:
        result.extend(own_list(run, elements(run, _bounded(run, collection))))
        run.allocate(len(result) * SLOT_BYTES, 0)
    return result


def _tuple(run: Run, *members: Any) -> tuple[Any, ...]:
    return members


def _functions(*entries: tuple[str, int, int | None, Callable[..., Any]]) -> dict[str, Function]:
    return {name: Function(name, least, most, apply) for name, least, most, apply in entries}


SEQ = _functions(
    ("seq.list", 0, None, lambda run, *members: own_list(run, members)),
    # The element type of an array means nothing here.
    ("seq.array", 1, None, lambda run, type_, *members: own_list(run, members)),
    ("seq.map", 0, None, _new_map),
    ("seq.set", 0, None, _new_set),
    ("seq.add", 2, 3, add),
    ("seq.put", 3, 3, _put),
    ("seq.get", 2, 2, _get),
    ("seq.remove", 2, 2, _remove),
    ("seq.contains_key", 2, 2, _contains_key),
    ("seq.keys", 1, 1, _keys),
    ("seq.vals", 1, 1, _vals),
    ("seq.some", 2, 2, _some),
    ("seq.every", 2, 2, _every),
    ("tuple", 0, None, _tuple),
    ("count", 1, 1, _count),
    ("is_empty", 1, 1, lambda run, collection: _count(run, collection) == 0),
    ("include", 2, 2, _include),
    ("map", 2, 2, _transform),
    ("filter", 2, 2, _filter),
    ("reduce", 3, 3, _reduce),
    ("sort", 1, 2, _sort),
    ("range", 2, 3, _range),
    ("reverse", 1, 1, _reverse),
    ("distinct", 1, 1, _distinct),
    ("zipmap", 2, 2, _zipmap),
    ("into", 2, 2, _into),
    ("concat", 1, None, _concat),
)
