"""Where a mapping rule takes its value from, and what of the document that value may share (rill-dsl 5.2 to 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tornflow.engine.constants import constant
from tornflow.engine.expressions.budget import Meter
from tornflow.engine.jsonpath import Path, PathSyntaxError, compile_read, is_definite_path, parse
from tornflow.engine.jsonpath.functions import SCALAR_FUNCTIONS
from tornflow.engine.jsonpath.steps import Call, Index, Name, Names, Scan, Where
from tornflow.model.jsontext import without_null_members

_TASKS = "$.tasks."
_TRIGGER = "trigger_url"


@dataclass(frozen=True, slots=True)
class PassEnv:
    """``trigger_base`` is the server's host and trigger URI: ``http://127.0.0.1:8080/flow/trigger.json``.

    ``meter``: what scripts and searching paths of several passes may use together; without it each has its own budget.
    """

    execution_id: str
    trigger_base: str
    meter: Meter | None = None


Read = Callable[[Mapping[str, Any], PassEnv], Any]


@dataclass(frozen=True, slots=True)
class Place:
    """The part of a document that a value may share: ``root`` "" is the whole document, ``steps`` lead below it."""

    root: str
    steps: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """``shares`` is None when the value holds no container of the document.

    ``is_guarded``: the value may hold a root object itself (context, input, output), which goes on changing; read
    from shallow copies. ``is_constant``: every pass gets the same value. ``may_hold_nulls``: an object in it may have
    null members although no context has any.
    """

    read: Read
    shares: Place | None = None
    is_guarded: bool = False
    is_constant: bool = False
    may_hold_nulls: bool = False


def compile_source(text: str | None) -> Read:
    """Return the reader of one source, ``(root document, env) -> value``: blank, trigger URL, path, else constant.

    Never raises at compile time: a path that does not parse reads as None. The value may be a part of the document.
    """
    return analyse_source(text).read


def analyse_source(text: str | None) -> Source:
    """Return the compiled source with what its value may share with the document."""
    if text is None or not text.strip():
        return Source(_nothing)
    if text.startswith(_TASKS) and text.count(".") >= 3:
        return Source(_trigger(text))
    if text.startswith("$"):
        return _path(text)
    value = constant(text)
    holds_nulls = without_null_members(value) is not value
    return Source(lambda _root, _env: value, is_constant=True, may_hold_nulls=holds_nulls)


def _nothing(_root: Mapping[str, Any], _env: PassEnv) -> None:
    return None


def _trigger(text: str) -> Read:
    head, *queries = text.split("?")
    pieces = head.split(".")
    if len(pieces) < 4 or pieces[3] != _TRIGGER:
        return _nothing
    tail = f"&task_name={pieces[2]}" + (f"&{queries[0]}" if queries else "")

    def read(root: Mapping[str, Any], env: PassEnv) -> str:
        given = root["context"].get("flow_execution_id")
        return f"{env.trigger_base}?execution_id={env.execution_id if given is None else given}{tail}"

    return read


def _path(text: str) -> Source:
    try:
        path = parse(text)
        read = compile_read(text)
    except PathSyntaxError:
        return Source(_nothing)
    shares, is_guarded = _shared(path)
    makes_nulls = any(isinstance(step, (Names, Call)) for step in path.steps)  # ['a','b'] of an object without b
    if is_definite_path(path):
        return Source(lambda root, _env: read(root), shares, is_guarded, may_hold_nulls=makes_nulls)
    return Source(lambda root, env: read(root, env.meter), shares, is_guarded, may_hold_nulls=makes_nulls)


def _shared(path: Path) -> tuple[Place | None, bool]:
    call = path.call
    if call is not None and call.name in SCALAR_FUNCTIONS:
        return None, False
    steps = path.steps
    if not steps or not isinstance(steps[0], Name) or (call is not None and call.arguments):
        return Place(""), True
    places: list[str | int] = []
    for step in steps[1:]:
        if isinstance(step, Name):
            places.append(step.name)
        elif isinstance(step, Index) and step.index >= 0:
            places.append(step.index)
        else:
            break
    # The root object itself is the value of ``$.context``, and a filter may hand it on. The output never changes.
    may_hold_root = steps[0].name != "output" and (len(steps) == 1 or isinstance(steps[1], (Where, Scan, Call)))
    return Place(steps[0].name, tuple(places)), may_hold_root
