"""Values of a script, and their way in and out.

Scalars are the Python ones (nil is None; Decimal for ``3M``). Containers handed in are plain ``list`` and ``dict`` and
are never written to: the first write makes a copy in ``Run.copies``, and every reader asks ``view`` first. The script
goes on holding the original, so two names for one list see each other's writes. Containers the script made are
``OwnList``, ``OwnMap`` and ``OwnSet``; a tuple is a Python tuple, a range a Python range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

from tornflow.engine.expressions.budget import ENTRY_BYTES, SLOT_BYTES, Run
from tornflow.engine.expressions.errors import ExpressionError
from tornflow.engine.expressions.regex_program import Program

_WORD_BITS = 64
_EXACT = Context(prec=40, Emax=MAX_EMAX, Emin=MIN_EMIN)
MAX_DEPTH = 100
"""Levels of a result or rendered container; a container that contains itself ends here."""


class OwnList(list[Any]):
    """A list that the script may change."""

    __slots__ = ()


class OwnMap(dict[str, Any]):
    """A map that the script may change."""

    __slots__ = ()


class OwnEntry(OwnMap):
    """The ``key`` and ``value`` of ``seq.entry``; as a result the object of that one member."""

    __slots__ = ()


class OwnSet:
    """A set in order of insertion: ``set_key(value) -> value``."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: dict[Any, Any] = {}


@dataclass(frozen=True, slots=True)
class Moment:
    """A date: epoch milliseconds."""

    ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """Something to call: a lambda, a named function, a built-in or an operator. ``most`` None: any number."""

    name: str
    least: int
    most: int | None
    apply: Callable[..., Any]

    def call(self, run: Run, *args: Any) -> Any:
        """Raises ExpressionError for a wrong number of arguments, and what the function raises."""
        count = len(args)
        if count < self.least or (self.most is not None and count > self.most):
            raise ExpressionError(f"{self.name} takes {_count(self.least, self.most)}, {count} given")
        return self.apply(run, *args)


def kind(value: Any) -> str:
    """The word for the type of ``value``, as ``type(x)`` gives it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "long" if -(1 << 63) <= value < 1 << 63 else "bigint"
    return next((word for types, word in _KINDS if isinstance(value, types)), "unknown")


_KINDS: tuple[tuple[type, str], ...] = (
    (type(None), "nil"),
    (bool, "boolean"),
    (float, "double"),
    (Decimal, "decimal"),
    (str, "string"),
    (list, "list"),
    (dict, "map"),
    (OwnSet, "set"),
    (tuple, "tuple"),
    (range, "range"),
    (Function, "function"),
    (Moment, "date"),
    (Program, "pattern"),
)


def view(run: Run, value: Any) -> Any:
    """The container to read for ``value``: its copy, if the script has written to it."""
    return run.copies.get(id(value), value) if run.copies else value


def writable(run: Run, value: Any) -> Any:
    """The container to write for ``value``; copies an input container at the first write.

    Raises ExpressionError if it is nothing that can change.
    """
    if isinstance(value, OwnList | OwnMap | OwnSet):
        return value
    if not isinstance(value, list | dict):
        raise ExpressionError(f"a {kind(value)} cannot be changed")
    copy = run.copies.get(id(value))
    if copy is None:
        is_list = isinstance(value, list)
        run.allocate(len(value) * (SLOT_BYTES if is_list else ENTRY_BYTES))
        # The id stays valid: whoever called holds the variables while the script runs.
        copy = run.copies[id(value)] = OwnList(value) if is_list else OwnMap(value)
    return copy


def elements(run: Run, value: Any) -> Collection[Any]:
    """What a loop or a sequence function goes through; nil is empty, a map gives ``{key, value}`` entries.

    Raises ExpressionError if there is nothing to go through.
    """
    value = view(run, value)
    if isinstance(value, list | tuple | range | str):
        return value
    if value is None:
        return ()
    if isinstance(value, OwnSet):
        run.allocate(len(value.items) * SLOT_BYTES)
        return tuple(value.items.values())
    if isinstance(value, dict):
        run.charge(len(value) >> 1)
        run.allocate(len(value) * ENTRY_BYTES * 2)
        return [OwnMap(key=key, value=member) for key, member in value.items()]
    raise ExpressionError(f"a {kind(value)} is not a collection")


def own_list(run: Run, items: Collection[Any]) -> OwnList:
    """A new list of ``items``, paid for."""
    run.allocate(len(items) * SLOT_BYTES)
    run.charge(len(items) >> 4)
    return OwnList(items)


def map_key(run: Run, key: Any) -> str:
    """Keys are texts, as in JSON; other scalars are turned into text. Raises ExpressionError."""
    if isinstance(key, str):
        run.charge(len(key) >> 10)
        return key
    if key is None or not isinstance(key, bool | int | float | Decimal):
        raise ExpressionError(f"a {kind(key)} cannot be a map key")
    run.charge(1 + _large_steps(key) if isinstance(key, int) else 3)
    return scalar_text(key)


def set_key(run: Run, value: Any) -> Any:
    """What makes two members the same: type and value for scalars, identity for containers."""
    if isinstance(value, str):
        run.charge(len(value) >> 10)
    if isinstance(value, Decimal) or (isinstance(value, int) and value.bit_length() > _WORD_BITS):
        # The hash of a number can be foreseen, that of a text cannot: nobody makes thousands that collide.
        run.charge(2 + _large_steps(value))
        return (value.__class__, _numeral(value))
    if value is None or isinstance(value, bool | int | float | str | Moment):
        return (value.__class__, value)
    return id(value)


def _numeral(value: int | Decimal) -> str:
    """The same text for equal numbers of one kind."""
    if isinstance(value, int):
        return hex(value)
    return str(value.normalize(_EXACT)) if value else "0"


def _large_steps(value: Any) -> int:
    """What an integer beyond 64 bits costs more than a small one."""
    return value.bit_length() >> 6 if isinstance(value, int) else 0


def require_boolean(value: Any) -> bool:
    """Conditions take a boolean and nothing else (rill-dsl 5.7)."""
    if value is True or value is False:
        return bool(value)
    raise ExpressionError(f"a condition must be a boolean, not {kind(value)}")


def render(run: Run, value: Any) -> str:
    """``value`` as text, the way string concatenation shows it; lists and maps as Java writes them:
    ``[1, a, null]``, ``{k=1}``. Raises ExpressionError."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict | OwnSet | tuple | range):
        text = _container_text(export(run, value, nested=True))
        run.charge(len(text) >> 4)
        return text
    if isinstance(value, int) and value.bit_length() > 64:
        run.charge(value.bit_length() >> 6)
    if isinstance(value, float | Decimal):
        run.charge(4)
    return scalar_text(value)


def _container_text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_container_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join([f'{key}={_container_text(member)}' for key, member in value.items()])}}}"
    return value if isinstance(value, str) else scalar_text(value)


def scalar_text(value: Any) -> str:
    """The Java text of a scalar: ``null``, ``true``, ``1.0``, ``1.0E10``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, int | str | Decimal):
        return str(value)
    if isinstance(value, Moment):
        return str(value.ms)
    if isinstance(value, Program):
        return value.source
    return f"<{kind(value)}>"


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    power = int(exponent) + len(digits) - 1
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{power}"


def export(run: Run, value: Any, nested: bool = False) -> Any:
    """``value`` as JSON. An unchanged input container is given back as it is, the same object.

    ``nested``: look into unchanged containers too, for their size and depth.

    Raises:
        BudgetExceeded: larger than ``value_bytes`` when written out.
        ExpressionError: a function is in it, or it is nested too deep.
    """
    if value is None or value.__class__ in (bool, int, str):
        return value
    if not nested and not run.copies and value.__class__ in (dict, list):
        return value
    return _Exporter(run).json(value, 0)


class _Exporter:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.size = 0

    def json(self, value: Any, depth: int) -> Any:
        if value is None or value.__class__ is bool:
            return value
        if value.__class__ is int:
            if value.bit_length() > _WORD_BITS:
                self.run.charge(_large_steps(value))
                self._grow(value.bit_length() >> 2)
            return value
        if isinstance(value, str):
            self._grow(len(value))
            return value
        if isinstance(value, float):
            self.run.steps -= 1
            return value if math.isfinite(value) else scalar_text(value)  # as the reference stores them
        if isinstance(value, Decimal):
            self.run.steps -= 2
            return _number(value)
        if isinstance(value, Moment):
            return value.ms
        if isinstance(value, Program):
            return self.json(value.source, depth)
        return self._container(view(self.run, value), depth)

    def _container(self, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            raise ExpressionError(f"a value nested deeper than {MAX_DEPTH} levels, or one that contains itself")
        if isinstance(value, OwnSet):
            value = tuple(value.items.values())
        if isinstance(value, dict):
            return self._map(value, depth)
        if not isinstance(value, list | tuple | range):
            raise ExpressionError(f"a {kind(value)} cannot be a result")
        self._grow(len(value) * SLOT_BYTES)
        self.run.charge(2 + (len(value) >> 1))
        items = [self.json(item, depth + 1) for item in value]
        return value if self._is_unchanged(value) else items

    def _map(self, value: dict[str, Any], depth: int) -> Any:
        if isinstance(value, OwnEntry):
            value = OwnMap({value["key"]: value["value"]})
        self._grow(len(value) * ENTRY_BYTES + sum(map(len, value)))
        self.run.charge(2 + (len(value) >> 1))
        items = {key: self.json(item, depth + 1) for key, item in value.items()}
        return value if self._is_unchanged(value) else items

    def _is_unchanged(self, value: Any) -> bool:
        return not self.run.copies and value.__class__ in (dict, list)

    def _grow(self, size: int) -> None:
        self.size += size
        self.run.allocate(self.size, size)


def _number(value: Decimal) -> int | float:
    if value == value.to_integral_value() and value.adjusted() < 40:
        return int(value)
    plain = float(value)
    if not math.isfinite(plain):
        raise ExpressionError(f"{value:.6e} cannot be a result")
    return plain


def _count(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least} argument{'s' * (least != 1)}"
    span = str(least) if least == most else f"{least} to {most}"
    return f"{span} argument{'s' * (most != 1)}"
