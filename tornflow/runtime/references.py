"""``resourceRef://<descriptor id>?name=<resource>``: a resource object of another descriptor (rill-dsl 12.6).

It is a task type like any other, but one that finds the real one by the category of the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from tornflow.engine.program import Program
from tornflow.errors import RequestError
from tornflow.model.descriptor import Resource
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.retrying import while_unavailable
from tornflow.spi.task_type import Attempt, Failed, Host, Outcome, TaskType


class ReferencedResource:
    protocols: tuple[str, ...] = ("resourceRef",)
    title = "resource objects of other descriptors"

    def __init__(self, catalog: Catalog[Program], task_types: Mapping[str, TaskType]) -> None:
        self._catalog = catalog
        self._task_types = task_types

    async def start(self, host: Host) -> None:
        pass

    async def stop(self) -> None:
        pass

    def target(self, resource: str) -> str:
        """Which task type it is for is known only once it is resolved: each reference is a target of its own."""
        return resource

    async def execute(self, attempt: Attempt) -> Outcome:
        descriptor_id, _, query = attempt.rest.partition("?")
        name = parse_qs(query).get("name", [""])[0]
        try:
            entry = await while_unavailable(lambda: self._catalog.resolve(descriptor_id))
        except RequestError as error:
            return Failed(f"{attempt.resource}: {error}", "no_resource")
        found = next((one for one in entry.descriptor.resources if one.name == name), None)
        if found is None:
            said = f"{attempt.resource}: {descriptor_id} declares no resource named {name or '(none given)'}"
            return Failed(said, "no_resource")
        task_type = self._task_types.get(found.category)
        if task_type is None:
            return Failed(unsupported_category(found), "unsupported_protocol")
        return await task_type.execute(replace(attempt, protocol=found.category, resource_object=as_object(found)))


def as_object(resource: Resource) -> dict[str, Any]:
    """Return a resource as task types get it: its own fields, ``name`` and ``category``."""
    return {**resource.fields, "name": resource.name, "category": resource.category}


def unsupported_category(resource: Resource) -> str:
    return f"function resource category: {resource.category} do not support"
