"""Task instance names (rill-dsl 7.3): ``<route>-<base name>`` inside a group, the base name at the top.

A route is ``<parent instance>_<group index>``; it is also the path of the group's scope.
"""

from __future__ import annotations

from tornflow.model.execution import ScopeKey


def instance_name(path: str, task: str) -> str:
    return f"{path}-{task}" if path else task


def split_instance(execution_id: str, name: str) -> tuple[ScopeKey, str]:
    """Return the scope and the base name of an instance name."""
    path, _, task = name.rpartition("-")
    return ScopeKey(execution_id, path), task


def split_route(path: str) -> tuple[str, str, int]:
    """Return (path of the parent scope, base name of the parent task, group index) of a group's path."""
    instance, _, index = path.rpartition("_")
    parent, _, task = instance.rpartition("-")
    return parent, task, int(index)


def base_name(instance: str) -> str:
    return instance.rpartition("-")[2]


def root_task(instance: str) -> str:
    """Return the top-level task that an instance belongs to."""
    return instance.partition("_")[0]
