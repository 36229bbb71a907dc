"""Task instance names (rill-dsl 7.3): ``<route>-<base name>`` inside a group, the base name at the top."""

from __future__ import annotations

from tornflow.model.execution import ScopeKey


def instance_name(path: str, task: str) -> str:
    return f"{path}-{task}" if path else task


def split_instance(execution_id: str, name: str) -> tuple[ScopeKey, str]:
    """Return the scope and the base name of an instance name."""
    path, _, task = name.rpartition("-")
    return ScopeKey(execution_id, path), task
