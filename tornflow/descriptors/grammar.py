"""The fields of a descriptor (``rill-dsl`` 1.2 and 2) and their normal form (``rill-http-api`` 4.5 to 4.8).

The order of the fields here is the order in the normalised document.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tornflow.descriptors.nodes import Node, Scalar
from tornflow.descriptors.scalars import is_null
from tornflow.descriptors.shapes import (
    Kind,
    Reading,
    as_map,
    boolean,
    decimal,
    free_map,
    integer,
    list_of,
    map_of,
    read_fields,
    shape,
    text,
)
from tornflow.model.descriptor import Json
from tornflow.model.status import Category

TASK_INVALID = 30406
NAME_SEPARATOR = ","
# Keys that are no fields but are kept on purpose: the graph editor writes them and wants them back
# (rill-http-api 17), and published samples carry them.
TOLERATED_KEYS = frozenset(["alias", "tags", "taskTemplateId", "outputSchema"])


def read_descriptor(reading: Reading, root: Node) -> Json:
    """Return the normalised document; what has a wrong shape is reported and left out."""
    return _finished(_DESCRIPTOR(reading, root, "") or {})


def split_next(joined: str | None) -> tuple[str, ...]:
    """Split a comma list as the reference does: blanks count, empty pieces at the end do not (``rill-dsl`` 3)."""
    pieces = (joined or "").split(NAME_SEPARATOR)
    while pieces and not pieces[-1]:
        pieces.pop()
    return tuple(pieces)


def computed_next(task: Json) -> str:
    """The successors of a switch: the targets of its cases. A case without one reads ``null`` (``rill-dsl`` 8.2)."""
    return NAME_SEPARATOR.join(case.get("next", "null") for case in task.get("switches", ()))


def _task(reading: Reading, node: Node, path: str) -> Json | None:
    if isinstance(node, Scalar) and is_null(node):
        reading.reject(node, path, f"{path} is empty", TASK_INVALID)
        return None
    mapping = as_map(reading, node, path)
    if mapping is None:
        return None
    given = mapping.entries.get("category")
    category = given.text if isinstance(given, Scalar) and not is_null(given) else None
    if category not in _CATEGORIES:
        known = ", ".join(_CATEGORIES)
        found = "missing" if category is None else f'"{category[:40]}" is unknown'
        reading.places[f"{path}.category"] = (given or node).place
        reading.reject(given or node, f"{path}.category", f"{found}; known are {known}")
    fields = _CATEGORIES.get(category or "", _COMMON)
    document = read_fields(reading, mapping, path, fields, {}, _TASK_DEFAULTS)
    if category not in _CATEGORIES:
        # Which keys it may have is not known either: no advice on them.
        reading.strays = [stray for stray in reading.strays if stray.path != path]
    _finish_task(reading, node, path, document)
    return _in_order(document, fields)


def _finish_task(reading: Reading, node: Node, path: str, task: Json) -> None:
    """Bring one task into its normal form."""
    category = task.get("category")
    if category in (Category.PASS, Category.RETURN):
        # Discarded at parse time: they never wait (rill-dsl 2.1).
        task.get("timeline", {}).pop("timeoutInSeconds", None)
    if category == Category.SWITCH:
        _finish_switch(reading, node, path, task)
    elif task.get("next") == "":
        del task["next"]
    if category == Category.FUNCTION and "resourceProtocol" in task and "resource" not in task:
        task.setdefault("resourceName", f"{task['resourceProtocol']}://")


def _finish_switch(reading: Reading, node: Node, path: str, task: Json) -> None:
    if "switches" not in task:
        if not any(problem.path == f"{path}.switches" for problem in reading.problems):
            reading.reject(node, f"{path}.switches", "a switch needs a list of cases")
        return
    if "next" not in task and task["switches"]:
        task["next"] = computed_next(task)


def _finished(document: Json) -> Json:
    """Replace legacy names by the present ones: they only count when the present one is blank (``rill-dsl`` 1.2)."""
    for name, legacy in (("workspace", "namespace"), ("dagName", "service")):
        fallback = document.pop(legacy, None)
        if not (document.get(name) or "").strip() and fallback is not None:
            document[name] = fallback
    return _in_order(document, _DESCRIPTOR_FIELDS)


def _in_order(document: Json, fields: Iterable[str]) -> Json:
    """Put known fields first, in their order: what was filled in stands where it would have been written."""
    return {name: document[name] for name in fields if name in document} | document


def _events(reading: Reading, node: Node, path: str) -> str | list[str] | None:
    """``event: NAME`` or a list of names; one name is kept as text so that both spellings are one normal form."""
    names = [text(reading, node, path)] if isinstance(node, Scalar) else list_of(text)(reading, node, path)
    wanted = list(dict.fromkeys(name for name in names or () if name is not None))
    if any(not name.strip() for name in wanted):
        reading.reject(node, path, "an event needs a name")
        return None
    return wanted[0] if len(wanted) == 1 else (wanted or None)


def _named(name: str, kind: Kind) -> Kind:
    """Report an object that lacks the field ``name``."""

    def read(reading: Reading, node: Node, path: str) -> Any:
        before = len(reading.problems)
        value = kind(reading, node, path)
        if isinstance(value, dict) and name not in value and len(reading.problems) == before:
            reading.reject(node, path, f"{name} is missing")
        return value

    return read


_TEXTS = list_of(text)
_MAPPING = shape(
    {"reference": text, "tolerance": boolean, "source": text, "transform": text, "target": text, "variable": text}
)
_MAPPINGS = list_of(_MAPPING)
_TIMELINE = shape(
    {"timeoutInSeconds": text, "skipOnTimeout": text, "suspenseIntervalSeconds": text, "suspenseTimestamp": text}
)
# Categories belong to plugins, so everything but the name and the mappings is free-form (rill-dsl 12.6).
_RESOURCE = _named("category", shape({"name": text, "category": text, "input_mappings": _MAPPINGS}))
_CALLBACK = shape({"resourceName": text, "fullDAGInfo": boolean, "fullContext": boolean, "inputMappings": _MAPPINGS})
_TASKS = list_of(_task)

_COMMON: dict[str, Kind] = {
    "name": text,
    "title": text,
    "description": text,
    "category": text,
    "next": text,
    "tolerance": boolean,
    "inputMappings": _MAPPINGS,
    "outputMappings": _MAPPINGS,
    "progress": shape({"weight": integer, "calculation": text, "args": _MAPPINGS}),
    "degrade": shape({"current": boolean, "followings": boolean}),
    "timeline": _TIMELINE,
    "keyCallback": boolean,
    "keyExp": text,
    "parameters": free_map,
    "templateId": text,
    "input": free_map,
    "inputType": text,
    "outputType": text,
}
_TASK_DEFAULTS = {"tolerance": False, "keyCallback": False}
_RETRY = shape({"maxRetryTimes": integer, "intervalInSeconds": integer, "multiplier": decimal, "conditions": _TEXTS})
_CATEGORIES: dict[str, dict[str, Kind]] = {
    Category.FUNCTION: _COMMON
    | {
        "pattern": text,
        "resourceName": text,
        "resourceProtocol": text,
        "resource": _RESOURCE,
        "requestType": text,
        "successConditions": _TEXTS,
        "failConditions": _TEXTS,
        "retry": _RETRY,
    },
    Category.PASS: _COMMON,
    Category.RETURN: _COMMON | {"conditions": _TEXTS},
    Category.SWITCH: _COMMON
    | {"switches": list_of(shape({"condition": text, "next": text, "break": boolean}, defaults={"break": False}))},
    Category.CHOICE: _COMMON | {"choices": list_of(shape({"condition": text, "tasks": _TASKS}))},
    Category.FOREACH: _COMMON
    | {
        "iterationMapping": shape({"collection": text, "item": text, "index": text, "identity": text}),
        "synchronization": shape({"conditions": _TEXTS, "maxConcurrency": text}),
        "tasks": _TASKS,
    },
    Category.SUSPENSE: _COMMON | {"conditions": _TEXTS, "interruptions": _TEXTS, "event": _events},
}
_DESCRIPTOR_FIELDS: dict[str, Kind] = {
    "version": text,
    "workspace": text,
    "namespace": text,
    "dagName": text,
    "service": text,
    "type": text,
    "inputSchema": text,
    "timeline": _TIMELINE,
    "defaultContext": map_of(text),
    "commonMapping": map_of(_MAPPINGS),
    "tasks": _TASKS,
    "output": free_map,
    "resources": list_of(_RESOURCE),
    "callback": _CALLBACK,
    "end_task_name": text,
}
_DESCRIPTOR = shape(
    _DESCRIPTOR_FIELDS,
    aliases={"timer": "timeline", "callback_config": "callback", "callbackConfig": "callback"},
)
