"""Validation of a document, in the order of ``rill-dsl`` 3. Codes and messages are those of the reference."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tornflow.descriptors import sugar
from tornflow.descriptors.limits import DescriptorLimits
from tornflow.descriptors.routes import Circle, find_faults
from tornflow.descriptors.walk import Placed, all_tasks, inside, placed
from tornflow.model.descriptor import Json
from tornflow.model.status import Category, Pattern

MAX_LEVEL = 3
MAX_NAME = 100
MAX_SHOWN = 100
_NAME = re.compile(r"[a-zA-Z0-9]+")
RESOURCE_PREFIX = "resource://"


@dataclass(frozen=True, slots=True)
class Finding:
    code: int
    message: str
    path: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What tasks may refer to."""

    common: Json
    resources: frozenset[str | None]


def is_name(text: object) -> bool:
    """The rule for workspaces, dagNames and tasks (``rill-dsl`` 1.3)."""
    return isinstance(text, str) and len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def find(document: Json, limits: DescriptorLimits) -> Iterator[Finding]:
    """Yield what is wrong with a document whose shape was read, first what the reference finds first."""
    kind = document.get("type")
    if kind not in ("flow", "resource"):
        yield Finding(30403, "dag type is invalid.", "type")
    if kind == "resource":
        yield from _resource_library(document)
    elif document.get("tasks"):
        yield from _flow(document, limits)
    elif kind == "flow":
        yield Finding(30405, "dag task empty.", "tasks")


def _flow(document: Json, limits: DescriptorLimits) -> Iterator[Finding]:
    tasks = list(all_tasks(document))
    if len(tasks) > limits.tasks:
        yield Finding(30508, f"dag tasks:{len(tasks)} exceed the limit {limits.tasks}", "tasks")
        return
    yield from _levels(tasks)
    yield from _names(document, tasks)
    yield from _routes(document, tasks)
    resources = frozenset(one.get("name") for one in document.get("resources", ()))
    known = _Known(document.get("commonMapping", {}), resources)
    for one in tasks:
        yield from _task(one, known)
    yield from _expansion(tasks, document, limits)
    yield from (Finding(code, message, path) for code, message, path in sugar.find_problems(document))


def _levels(tasks: Iterable[Placed]) -> Iterator[Finding]:
    for one in tasks:
        # What is deeper still has this one among its parents: one finding per branch is enough.
        if len(one.route) == MAX_LEVEL and inside(one):
            yield Finding(30406, f"exceed max depth: {'->'.join(one.route)}", one.path)


def _names(document: Json, tasks: Iterable[Placed]) -> Iterator[Finding]:
    taken = set()
    for field in ("workspace", "dagName"):
        name = document.get(field)
        taken.add(name)
        if not is_name(name):
            yield Finding(30408, f"name invalid:{'null' if name is None else name}", field)
    for one in tasks:
        name = one.task.get("name")
        if not is_name(name):
            yield Finding(30408, f"name invalid:{one.name}", f"{one.path}.name")
        elif name in taken:
            yield Finding(30407, f"task name duplicated: {name}", f"{one.path}.name")
        taken.add(name)


def _routes(document: Json, tasks: Iterable[Placed]) -> Iterator[Finding]:
    for siblings in (placed(document["tasks"]), *map(inside, tasks)):
        for fault in find_faults(siblings):
            path = f"{fault.task.path}.next"
            if isinstance(fault, Circle):
                yield Finding(30406, f"circle found: {_circle(fault.names)}", path)
            else:
                yield Finding(30413, f"next task {fault.target} not exist.", path)


def _circle(names: tuple[str, ...]) -> str:
    if len(names) > MAX_SHOWN:  # a list of such circles could be far larger than the descriptor
        names = (*names[: MAX_SHOWN // 2], "...", *names[-MAX_SHOWN // 2 :])
    return "->".join(names)


def _task(one: Placed, known: _Known) -> Iterator[Finding]:
    check = _BY_CATEGORY.get(one.task.get("category", ""))
    if check is not None:
        yield from check(one, known)
    for field in ("inputMappings", "outputMappings"):
        for index, rule in enumerate(one.task.get(field, ())):
            reference = (rule.get("reference") or "").strip()
            if reference and not known.common.get(reference):
                message = f"taskName: {one.name} mappingReference: {reference} invalid"
                yield Finding(30406, message, f"{one.path}.{field}[{index}].reference")


def _foreach(one: Placed, known: _Known) -> Iterator[Finding]:
    mapping = one.task.get("iterationMapping")
    if mapping is None:
        yield _invalid(30411, one, "iterationMapping is null.", "iterationMapping")
    elif not (mapping.get("collection") or "").strip():
        yield _invalid(30411, one, "iterationMapping collection is empty.", "iterationMapping.collection")
    if not one.task.get("tasks"):
        yield _invalid(30411, one, "tasks is empty.", "tasks")


def _choice(one: Placed, known: _Known) -> Iterator[Finding]:
    if not one.task.get("choices"):
        yield _invalid(30412, one, "choices is empty.", "choices")
    for index, branch in enumerate(one.task.get("choices", ())):
        if "tasks" not in branch:
            yield _invalid(30412, one, "tasks is empty.", f"choices[{index}].tasks")


def _function(one: Placed, known: _Known) -> Iterator[Finding]:
    task = one.task
    if task.get("pattern") not in list(Pattern):
        yield _invalid(30410, one, "pattern can not be null.", "pattern")
    name = (task.get("resourceName") or "").strip()
    wanted = name.removeprefix(RESOURCE_PREFIX)
    is_unknown = "resource" not in task and wanted != name and wanted not in known.resources
    if is_unknown or not ("resource" in task or name or "resourceProtocol" in task):
        yield _invalid(30410, one, "resourceName or resource can not be empty.", "resourceName")


def _invalid(code: int, one: Placed, reason: str, field: str) -> Finding:
    category = one.task["category"]
    return Finding(code, f"{category} task {one.name} is invalid. Because {reason}", f"{one.path}.{field}")


def _expansion(tasks: Iterable[Placed], document: Json, limits: DescriptorLimits) -> Iterator[Finding]:
    sizes = {name: len(rules) for name, rules in document.get("commonMapping", {}).items()}
    total = 0
    for one in tasks:
        for field in ("inputMappings", "outputMappings"):
            total += sum(sizes.get((rule.get("reference") or "").strip(), 1) for rule in one.task.get(field, ()))
    if total > limits.mappings:
        yield Finding(30508, f"dag mappings:{total} exceed the limit {limits.mappings}", "commonMapping")


def _resource_library(document: Json) -> Iterator[Finding]:
    if document.get("tasks"):
        yield Finding(30402, "resource type dag do not support tasks property", "tasks")
    resources = document.get("resources")
    if not resources:
        yield Finding(30402, "dag resources empty", "resources")
    taken: set[str | None] = set()
    for index, resource in enumerate(resources or ()):
        name = resource.get("name")
        if not is_name(name):
            yield Finding(30408, f"resource name invalid:{name or 'null'}", f"resources[{index}].name")
        elif name in taken:
            yield Finding(30408, f"resource name duplicate:{name}", f"resources[{index}].name")
        taken.add(name)


_BY_CATEGORY: dict[str, Callable[[Placed, _Known], Iterator[Finding]]] = {
    Category.FOREACH: _foreach,
    Category.CHOICE: _choice,
    Category.FUNCTION: _function,
}
