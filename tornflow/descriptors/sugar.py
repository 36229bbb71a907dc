"""The ``input`` / ``output`` shorthand of top-level tasks (``rill-dsl`` 1.4): into mappings, and back.

Both directions work on the normalised document and never change their argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tornflow.descriptors.grammar import NAME_SEPARATOR, split_next
from tornflow.model.descriptor import Json
from tornflow.model.jsontext import dumps

END_TASK = "endTask"
_MAPPING_FIELDS = ("reference", "tolerance", "source", "transform", "target", "variable")
_OF_TASK = re.compile(r"\$(?:\.([a-zA-Z0-9]+)|\['([a-zA-Z0-9]+)'\])(?=$|[.\[])")
# One step that can stand in a target: a name, a quoted name, an index. A call such as .length() is none.
_STEP = re.compile(r"\.[^.\[\]()*?@\s]+(?=$|[.\[])|\['[^'\]]+'\]|\[\"[^\"\]]+\"\]|\[[0-9]+\]")
# These roots have a meaning of their own in a mapping pass, even if a task is called so (rill-dsl 5.1, 5.2).
_RESERVED = frozenset(["context", "input", "tasks"])


def has_shorthand(document: Json) -> bool:
    tasks = document.get("tasks", ())
    return bool(tasks) and (bool(document.get("output")) or any(task.get("input") for task in tasks))


def find_problems(document: Json) -> Iterator[tuple[int, str, str]]:
    """Yield (code, message, path) for shorthand that cannot be converted."""
    if document.get("output") and any(task.get("name") == END_TASK for task in document["tasks"]):
        yield 30407, f"task name duplicated: {END_TASK}", "output"
    blocks = [(f"tasks[{index}].input", task.get("input")) for index, task in enumerate(document["tasks"])]
    for path, entries in (("output", document.get("output")), *blocks):
        for key, value in (entries or {}).items():
            if isinstance(value, dict):
                yield from _rule_problems(value, f"{path}.{key}")


def convert(document: Json) -> Json:
    """Return the document that is stored and executed."""
    if not has_shorthand(document):
        return document
    tasks = [dict(task) for task in document["tasks"]]
    result = document | {"tasks": tasks}
    if document.get("output"):
        tasks.append(_end_task(document["output"]))
        result["end_task_name"] = END_TASK
    for task in tasks:
        task["inputMappings"] = list(task.get("inputMappings", ())) + _input_rules(task)
    _link_tasks(tasks)
    for task in tasks:
        if not task["inputMappings"]:
            del task["inputMappings"]
    return result


def unconvert(document: Json) -> Json:
    """Return the document without the generated parts, so that storing it again generates them again.

    Only what ``convert`` would generate is stripped: a mapping that somebody wrote by hand stays.
    """
    if not has_shorthand(document):
        return document
    names = {task["name"] for task in document["tasks"]}
    generated = _generated_outputs(document["tasks"], names)
    has_end = bool(document.get("output"))
    tasks = [
        _without_generated(task, names, generated.get(task["name"], []), has_end=has_end)
        for task in document["tasks"]
        if not (has_end and task["name"] == END_TASK)
    ]
    return {key: value for key, value in document.items() if key != "end_task_name"} | {"tasks": tasks}


def _end_task(output: Json) -> Json:
    # A dotted key nests here as it does in every input block.
    copies = [{"source": f"$.output.{key}", "target": f"$.context.{key}"} for key in output]
    return {
        "name": END_TASK,
        "category": "pass",
        "tolerance": False,
        "outputMappings": copies,
        "keyCallback": False,
        "input": output,
    }


def _input_rules(task: Json) -> list[Json]:
    return [_rule(key, value) for key, value in task.get("input", {}).items() if value is not None]


def _rule(key: str, value: Any) -> Json:
    # Dotted keys nest on purpose: body.user.id (rill-dsl 1.4 step 2).
    target = f"$.input.{key}"
    if isinstance(value, dict):
        rule = {name: _as_field(name, value[name]) for name in _MAPPING_FIELDS if value.get(name) is not None}
        return rule | {"target": target}
    return {"source": _as_text(value), "target": target}


def _as_field(name: str, value: Any) -> Any:
    if name == "tolerance":
        return value if isinstance(value, bool) else str(value).lower() == "true"
    return _as_text(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


def _rule_problems(entry: Json, path: str) -> Iterator[tuple[int, str, str]]:
    for name in _MAPPING_FIELDS:
        value = entry.get(name)
        if isinstance(value, dict | list):
            yield 30402, f"{path}.{name}: text is required; write a JSON value as quoted text", f"{path}.{name}"
        elif name == "tolerance" and value is not None and str(value).lower() not in ("true", "false"):
            yield 30402, f"{path}.{name}: true or false is required", f"{path}.{name}"


def _link_tasks(tasks: list[Json]) -> None:
    """Steps 4 and 5: let producers store in the context what consumers read, and link producers to the end task."""
    producers = {task["name"]: task for task in tasks}
    wanted: dict[str, dict[str, None]] = {}
    for task in tasks:
        for index, rule in enumerate(task["inputMappings"]):
            if (found := _referenced(rule.get("source"), producers)) is None:
                continue
            name, rest = found
            wanted.setdefault(name, {})[_definite(rest)] = None
            task["inputMappings"][index] = rule | {"source": f"$.context.{name}{rest}"}
            if task["name"] == END_TASK:
                _add_next(producers[name], END_TASK)
    for name, rests in wanted.items():
        _add_outputs(producers[name], rests)
    _place_end_task(tasks)


def _place_end_task(tasks: list[Json]) -> None:
    """An end task that nothing links to runs last (decision 5)."""
    if tasks[-1]["name"] != END_TASK or any(END_TASK in split_next(task.get("next")) for task in tasks):
        return
    for task in tasks[:-1]:
        if not split_next(task.get("next")):
            _add_next(task, END_TASK)


def _add_next(task: Json, name: str) -> None:
    present = split_next(task.get("next"))
    if name not in present and task["name"] != name:
        task["next"] = NAME_SEPARATOR.join((*present, name))


def _add_outputs(task: Json, rests: Iterable[str]) -> None:
    rules = list(task.get("outputMappings", ()))
    targets = {rule.get("target") for rule in rules}
    rules += [rule for rule in _output_rules(task["name"], rests) if rule["target"] not in targets]
    task["outputMappings"] = rules


def _output_rules(name: str, rests: Iterable[str]) -> list[Json]:
    return [{"source": f"$.output{rest}", "target": f"$.context.{name}{rest}"} for rest in rests]


def _referenced(source: str | None, names: Iterable[str]) -> tuple[str, str] | None:
    """Return (task, rest of the path) when a source reads from another task."""
    match = _OF_TASK.match(source or "")
    if match is None or source is None:
        return None
    name = match[1] or match[2]
    return (name, source[match.end() :]) if name in names and name not in _RESERVED else None


def _definite(rest: str) -> str:
    """Return the longest prefix that can be a target: wildcards, filters and calls end it."""
    position = 0
    while (match := _STEP.match(rest, position)) is not None:
        position = match.end()
    return rest[:position]


def _generated_outputs(tasks: list[Json], names: Iterable[str]) -> dict[str, list[Json]]:
    """Return by task the outputMappings that its readers' shorthand generated."""
    wanted: dict[str, dict[str, None]] = {}
    for task in tasks:
        for rule in _input_rules(task):
            if (found := _referenced(rule.get("source"), names)) is not None:
                wanted.setdefault(found[0], {})[_definite(found[1])] = None
    return {name: _output_rules(name, rests) for name, rests in wanted.items()}


def _without_generated(task: Json, names: Iterable[str], outputs: list[Json], *, has_end: bool) -> Json:
    result = dict(task)
    generated = [_linked(rule, names) for rule in _input_rules(task)]
    inputs = task.get("inputMappings", [])
    if generated and inputs[-len(generated) :] == generated:
        _put(result, "inputMappings", inputs[: -len(generated)])
    if outputs:
        _put(result, "outputMappings", [rule for rule in task.get("outputMappings", ()) if rule not in outputs])
    if has_end and END_TASK in split_next(task.get("next")):
        kept = [name for name in split_next(task["next"]) if name != END_TASK]
        _put(result, "next", NAME_SEPARATOR.join(kept))
    return result


def _linked(rule: Json, names: Iterable[str]) -> Json:
    found = _referenced(rule.get("source"), names)
    return rule if found is None else rule | {"source": f"$.context.{found[0]}{found[1]}"}


def _put(task: Json, field: str, value: Any) -> None:
    if value:
        task[field] = value
    else:
        task.pop(field, None)
