"""Warnings for ``tornflow lint``: what is allowed but probably not meant. They carry code 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from tornflow.descriptors.grammar import TOLERATED_KEYS, split_next
from tornflow.descriptors.shapes import Reading, StrayKey
from tornflow.descriptors.walk import all_tasks, lists_below
from tornflow.errors import Problem
from tornflow.model.descriptor import Json


@dataclass(frozen=True, slots=True)
class Advice:
    """``rule`` is the name under which ``tornflow lint`` shows it (docs/lint.md)."""

    rule: str
    problem: Problem


def find_advice(document: Json, reading: Reading) -> list[Advice]:
    """Return warnings in document order of their kind: keys, then mappings, then links."""
    found = [
        Advice("repeated-key" if one.is_repeated else "unknown-key", _stray(one))
        for one in reading.strays
        if _is_worth_saying(one)
    ]
    for rule, findings in (("empty-source", _useless_sources(document)), ("dead-link", _dead_links(document))):
        for path, message, suggestion in findings:
            place = reading.places.get(path)
            line, column = (place.line, place.column) if place else (0, 0)
            found.append(Advice(rule, Problem(0, message, path, line, column, suggestion)))
    return found


def _is_worth_saying(stray: StrayKey) -> bool:
    if stray.is_repeated:
        return True
    # Resources carry the keys of their plugin.
    is_resource = stray.path.startswith("resources[") or stray.path.endswith(".resource")
    return stray.key not in TOLERATED_KEYS and not is_resource


def _stray(stray: StrayKey) -> Problem:
    path = f"{stray.path}.{stray.key}" if stray.path else stray.key
    if stray.is_repeated:
        message, suggestion = f'the key "{stray.key}" stands here twice; the last one counts', ""
    else:
        suggestion = _nearest(stray.key, stray.known)
        message = f'unknown key "{stray.key}" has no effect'
    return Problem(0, message, path, stray.place.line, stray.place.column, suggestion)


def _nearest(key: str, known: Iterable[str]) -> str:
    by_letters = {name.replace("_", "").lower(): name for name in known}
    close = get_close_matches(key.replace("_", "").lower(), by_letters, n=1, cutoff=0.7)
    return by_letters[close[0]] if close else ""


def _useless_sources(document: Json) -> Iterator[tuple[str, str, str]]:
    """A pass sees only one of input and output (``rill-dsl`` 5.1)."""
    passes = (
        ("inputMappings", "$.output", "read $.context: a task stores what it returns there, in its outputMappings"),
        ("outputMappings", "$.input", "read $.output, or $.context from where the input came"),
    )
    for one in all_tasks(document):
        for field, root, advice in passes:
            for index, rule in enumerate(one.task.get(field, ())):
                source = rule.get("source") or ""
                if source == root or source.startswith((f"{root}.", f"{root}[")):
                    path = f"{one.path}.{field}[{index}].source"
                    yield path, f"{root} is empty in {field}: this maps nothing", advice


def _dead_links(document: Json) -> Iterator[tuple[str, str, str]]:
    """Branches of a choice are apart at run time (``rill-dsl`` 3, notes)."""
    for one in all_tasks(document):
        for below, tasks in lists_below(one.task):
            own = {task.get("name") for task in tasks}
            others = {task.get("name") for _, rest in lists_below(one.task) for task in rest} - own
            for index, task in enumerate(tasks):
                for target in split_next(task.get("next")):
                    if target in others:
                        path = f"{one.path}.{below}[{index}].next"
                        message = f"{target} is in another branch: this link has no effect"
                        yield path, message, "put both into one branch"
