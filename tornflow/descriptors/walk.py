"""Visiting the tasks of a document, with their places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tornflow.model.descriptor import Json


@dataclass(frozen=True, slots=True)
class Placed:
    """One task. ``route`` holds the names from the top level down to it; its length is the level, from 1."""

    task: Json
    path: str
    route: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name for messages; the reference prints ``null`` for none."""
        return self.route[-1]


def lists_below(task: Json) -> list[tuple[str, list[Json]]]:
    """Return the task lists inside a task as (path below it, tasks): a foreach has one, a choice one per branch."""
    if task.get("category") == "foreach":
        return [("tasks", task.get("tasks", []))]
    if task.get("category") == "choice":
        return [
            (f"choices[{index}].tasks", branch.get("tasks", [])) for index, branch in enumerate(task.get("choices", []))
        ]
    return []


def placed(tasks: list[Json], path: str = "tasks", route: tuple[str, ...] = ()) -> list[Placed]:
    """Return the tasks of one list, not what is inside them."""
    return [
        Placed(task, f"{path}[{index}]", (*route, str(task.get("name", "null")))) for index, task in enumerate(tasks)
    ]


def inside(parent: Placed) -> list[Placed]:
    """Return the tasks directly inside a task; the branches of a choice form one list (``rill-dsl`` 3)."""
    found = []
    for below, tasks in lists_below(parent.task):
        found += placed(tasks, f"{parent.path}.{below}", parent.route)
    return found


def all_tasks(document: Json) -> Iterator[Placed]:
    """Yield every task, a parent before what is inside it, in YAML order."""
    waiting = list(reversed(placed(document.get("tasks", []))))
    while waiting:
        current = waiting.pop()
        yield current
        waiting += reversed(inside(current))
