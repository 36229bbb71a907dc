"""The document as the checks look at it: lists of tasks with their mapping rules, references expanded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tornflow.descriptors.grammar import split_next
from tornflow.descriptors.sugar import END_TASK, has_shorthand
from tornflow.descriptors.walk import lists_below
from tornflow.model.descriptor import Json
from tornflow.model.jsontext import dumps

MAX_RULES = 100_000
"""Mapping rules that are looked at; more are refused by the server (``DescriptorLimits.mappings``)."""


@dataclass(frozen=True, slots=True)
class MapRule:
    """One mapping rule with its place; ``is_short``: written in an ``input`` or ``output`` block."""

    path: str
    source: str
    target: str
    transform: str
    is_short: bool = False
    is_common: bool = False

    @property
    def source_path(self) -> str:
        return self.path if self.is_short else f"{self.path}.source"


@dataclass(slots=True)
class View:
    """One task. ``bodies`` are the lists inside it: one of a foreach, one per branch of a choice."""

    task: Json
    path: str
    name: str
    category: str
    inputs: tuple[MapRule, ...]
    outputs: tuple[MapRule, ...]
    next: tuple[str, ...]
    bodies: list[Body] = field(default_factory=list)
    is_generated: bool = False

    def text(self, key: str) -> str:
        return as_text(self.task.get(key))


@dataclass(slots=True)
class Body:
    """A list of sibling tasks. ``owner`` is the foreach or choice around it, None at the top."""

    path: str
    tasks: list[View]
    owner: View | None = None

    @property
    def by_name(self) -> dict[str, View]:
        return {view.name: view for view in reversed(self.tasks) if view.name}


class Tree:
    """All of a document. Tolerates whatever the parser has reported."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.common: Mapping[str, Sequence[Json]] = document.get("commonMapping", {})
        self._left = MAX_RULES
        self.top = self._body(document.get("tasks", []), "tasks", None, is_top=True)
        if document.get("output"):
            self.top.tasks.append(self._end_task(document["output"]))
        # Only then are sources such as $.task.path rewritten (rill-dsl 1.4).
        self.is_short = has_shorthand(document)

    def bodies(self) -> Iterator[Body]:
        waiting = [self.top]
        while waiting:
            body = waiting.pop()
            yield body
            waiting += [inner for view in reversed(body.tasks) for inner in reversed(view.bodies)]

    def views(self) -> Iterator[View]:
        for body in self.bodies():
            yield from body.tasks

    def rules(self, written: Sequence[Json] | None, path: str) -> tuple[MapRule, ...]:
        found: list[MapRule] = []
        for index, one in enumerate(written or ()):
            reference = (one.get("reference") or "").strip()
            place, group = (f"commonMapping.{reference}", self.common.get(reference, ())) if reference else ("", ())
            if not reference:
                found.append(_rule(one, f"{path}[{index}]"))
            found += [_rule(rule, f"{place}[{number}]", is_common=True) for number, rule in enumerate(group)]
            if len(found) >= self._left:
                break
        del found[max(0, self._left) :]
        self._left -= len(found)
        return tuple(found)

    def _body(self, tasks: Sequence[Json], path: str, owner: View | None, *, is_top: bool = False) -> Body:
        views = [self._view(task, f"{path}[{index}]", is_top=is_top) for index, task in enumerate(tasks)]
        return Body(path, views, owner)

    def _view(self, task: Json, path: str, *, is_top: bool) -> View:
        short = _short_rules(task.get("input"), f"{path}.input") if is_top else ()
        view = View(
            task,
            path,
            as_text(task.get("name")),
            as_text(task.get("category")),
            (*self.rules(task.get("inputMappings"), f"{path}.inputMappings"), *short),
            self.rules(task.get("outputMappings"), f"{path}.outputMappings"),
            tuple(dict.fromkeys(split_next(task.get("next")))),
        )
        for below, tasks in lists_below(task):
            view.bodies.append(self._body(tasks, f"{path}.{below}", view))
        return view

    def _end_task(self, output: Json) -> View:
        copies = tuple(MapRule(f"output.{key}", f"$.output.{key}", f"$.context.{key}", "", True) for key in output)
        inputs = _short_rules(output, "output")
        return View({}, "output", END_TASK, "pass", inputs, copies, (), is_generated=True)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _rule(one: Json, path: str, *, is_common: bool = False) -> MapRule:
    source, target, transform = (as_text(one.get(name)) for name in ("source", "target", "transform"))
    return MapRule(path, source, target, transform, is_common=is_common)


def _short_rules(block: Any, path: str) -> tuple[MapRule, ...]:
    """Return the rules of an ``input`` or ``output`` block; dotted keys nest (``rill-dsl`` 1.4)."""
    found = []
    for key, value in block.items() if isinstance(block, dict) else ():
        if isinstance(value, dict):
            source, transform = as_text(value.get("source")), as_text(value.get("transform"))
        else:
            source, transform = ("" if value is None else _constant(value)), ""
        if value is not None:
            found.append(MapRule(f"{path}.{key}", source, f"$.input.{key}", transform, is_short=True))
    return tuple(found)


def _constant(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()
