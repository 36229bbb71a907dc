"""Who writes what is read from the context (``rill-dsl`` 4.2, 5.1, 7.1, 8.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tornflow.descriptors.sugar import END_TASK
from tornflow.lint.page import Page, nearest, shown
from tornflow.lint.paths import keys_read, root_of, sound_path, target_key
from tornflow.lint.tree import Body, MapRule, Tree, View, as_text

_GIVEN = frozenset(["flow_execution_id", "flow_root_execution_id"])
# Beyond it the order of tasks is not looked at: it takes a walk per reader.
_MAX_ORDERED = 2000


@dataclass(frozen=True, slots=True)
class _Read:
    view: View | None
    rule: MapRule
    key: str


def check(page: Page, tree: Tree) -> None:
    declared = _declared(page, tree)
    for body in tree.bodies():
        if body.owner is None:
            _top(page, tree, body, declared)
        else:
            _group(page, body, body.owner)


def _declared(page: Page, tree: Tree) -> set[str]:
    declared = {*_GIVEN, *tree.document.get("defaultContext", {})}
    text = as_text(tree.document.get("inputSchema"))
    if text.strip():
        try:
            declared.update(_schema_keys(json.loads(text)))
        except (ValueError, RecursionError):
            advice = "write a JSON Schema, or a list of {name, type}"
            page.note("bad-schema", "inputSchema", "inputSchema is not JSON", advice)
    return declared


def _schema_keys(schema: object) -> Iterator[str]:
    """Yield the names of a JSON Schema, of a list of ``{"name": ...}`` or of a plain object."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else schema
    for one in schema if isinstance(schema, list) else ():
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            yield one["name"]


def _reads(view: View | None, rules: Iterable[MapRule], root: str = "context") -> Iterator[_Read]:
    for rule in rules:
        is_path = rule.source.startswith("$") and not rule.source.startswith("$.tasks.")
        path = sound_path(rule.source) if is_path else None
        if path is not None and root_of(path) == root:
            for key in keys_read(path):
                yield _Read(view, rule, key)


def _writers(body: Body) -> dict[str, set[str]]:
    """Return the tasks of a list that write each key of its context."""
    found: dict[str, set[str]] = {}
    for view in body.tasks:
        for rule in view.outputs if view.category not in ("switch", "return") else ():
            key = target_key(rule.target)
            if key is not None and key[0] == "context":
                found.setdefault(key[1], set()).add(view.name)
    return found


def _top(page: Page, tree: Tree, body: Body, declared: set[str]) -> None:
    writers = _writers(body)
    names = body.by_name
    before = _Before(names)
    callback = tree.document.get("callback") or {}
    reads = [one for view in body.tasks for one in _reads(view, (*view.inputs, *view.outputs))]
    reads += _reads(None, tree.rules(callback.get("inputMappings"), "callback.inputMappings"))
    if tree.is_short:
        for name in names:
            _references(page, body, name, before)
            writers.setdefault(name, set()).add(name)  # what the shorthand of its readers generates
    hinted: set[str] = set()
    for one in reads:
        if one.key in declared or one.key in hinted:
            continue
        if one.key not in writers:
            hinted.add(one.key)
            message = f"no task writes $.context.{shown(one.key)}: it must come with the submission"
            guess = nearest(one.key, [*writers, *declared - _GIVEN], 0.8)
            advice = f"did you mean $.context.{guess}?" if guess else "declare it in inputSchema or defaultContext"
            page.note("undeclared-context", one.rule.source_path, message, advice)
        elif one.view is not None and not before.any_of(writers[one.key], one.view):
            by = _listed(writers[one.key])
            message = f"nothing makes {one.view.name} wait for {by}, which writes {shown(one.key)}"
            page.note("unordered-read", one.rule.source_path, message, f"link them with next, or declare {one.key}")


def _references(page: Page, body: Body, name: str, before: _Before) -> None:
    """``$.task.path`` makes no link of its own (``rill-dsl`` 1.4 step 4)."""
    for view in body.tasks:
        for one in _reads(view, view.inputs, name):
            if view.name not in (END_TASK, name) and not before.any_of({name}, view):
                message = f"nothing makes {view.name} wait for {name}"
                advice = f"add {view.name} to next of {name}, or of a task behind it"
                page.note("unlinked-reference", one.rule.source_path, message, advice)
                break


def _listed(names: set[str]) -> str:
    found = sorted(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:3])}{'...' if len(found) > 3 else ''} (any of them)"


class _Before:
    """Asks whether a task runs before another one of its list."""

    def __init__(self, tasks: Mapping[str, View]) -> None:
        self._before: dict[str, list[str]] = {}
        self._is_too_large = len(tasks) > _MAX_ORDERED
        self._known: dict[str, set[str]] = {}
        for name, view in tasks.items():
            for after in view.next:
                self._before.setdefault(after, []).append(name)

    def any_of(self, writers: set[str], reader: View) -> bool:
        """A task counts as its own writer: a retry or a wakeup reads what it wrote."""
        if self._is_too_large or reader.name in writers or reader.is_generated:
            return True
        return not writers.isdisjoint(self._all(reader.name))

    def _all(self, name: str) -> set[str]:
        if name not in self._known:
            found: set[str] = set()
            waiting = [name]
            while waiting:
                for one in self._before.get(waiting.pop(), ()):
                    if one not in found:
                        found.add(one)
                        waiting.append(one)
            self._known[name] = found
        return self._known[name]


def _group(page: Page, body: Body, owner: View) -> None:
    """A group starts with the input of its parent (and the element), and sees nothing else of the flow."""
    known = {key[1] for rule in owner.inputs if (key := target_key(rule.target)) and key[0] == "input"}
    if owner.category == "foreach":
        mapping = owner.task.get("iterationMapping", {})
        known -= _removed(as_text(mapping.get("collection")))
        known |= {as_text(mapping.get("item")) or "item", as_text(mapping.get("index"))}
    known |= _writers(body).keys()
    for view in body.tasks:
        for one in _reads(view, (*view.inputs, *view.outputs)):
            if one.key not in known:
                message = f"the groups of {owner.name} have no $.context.{shown(one.key)}"
                advice = f"add {{source: $.context.{one.key}, target: $.input.{one.key}}} to {owner.name}"
                page.note("unmapped-context", one.rule.source_path, message, _element(page, owner, one.key) or advice)


def _removed(collection: str) -> set[str]:
    """The collection itself is taken out of the input of the groups (``rill-dsl`` 7.1 step 3)."""
    path = sound_path(collection) if collection.strip() else None
    return set(keys_read(path)) if path is not None and len(path.steps) == 2 else set()


def _element(page: Page, owner: View, key: str) -> str:
    mapping = owner.task.get("iterationMapping", {})
    guess = nearest(key, [name for name in (as_text(mapping.get("item")), as_text(mapping.get("index"))) if name])
    return f"did you mean $.context.{guess}?" if guess else ""
