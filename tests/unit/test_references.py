"""Resource objects of other descriptors (rill-dsl 12.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornflow.model.descriptor import Descriptor, Resource
from tornflow.runtime.references import ReferencedResource
from tornflow.spi.task_type import Answered, Attempt, Failed, Outcome
from tornflow.testing.task_type import attempt_of


class _Entry:
    def __init__(self, *resources: Resource) -> None:
        self.descriptor = Descriptor(
            workspace="demo", dag_name="lib", type="resource", md5="", document={}, resources=resources
        )


class _Shelf:
    """Stands for the catalog: one descriptor that declares one resource."""

    async def resolve(self, descriptor_id: str) -> _Entry:
        assert descriptor_id == "demo:lib"
        return _Entry(Resource("gpu", "cluster", {"size": 4}), Resource("odd", "unheard", {}))


class _Cluster:
    protocols = ("cluster",)
    title = "a category of resource objects"

    def __init__(self) -> None:
        self.seen: list[Mapping[str, Any]] = []

    async def execute(self, attempt: Attempt) -> Outcome:
        self.seen.append(attempt.resource_object)
        return Answered({"protocol": attempt.protocol})


async def _execute(resource: str, cluster: _Cluster) -> Outcome:
    references = ReferencedResource(_Shelf(), {"cluster": cluster})  # type: ignore[arg-type,dict-item]
    return await references.execute(attempt_of(resource, {}))


async def test_a_reference_reaches_the_task_type_of_the_category_with_the_object() -> None:
    cluster = _Cluster()
    assert await _execute("resourceRef://demo:lib?name=gpu", cluster) == Answered({"protocol": "cluster"})
    assert cluster.seen == [{"name": "gpu", "category": "cluster", "size": 4}]


async def test_a_reference_to_nothing_fails_with_the_reason() -> None:
    outcome = await _execute("resourceRef://demo:lib?name=none", _Cluster())
    assert isinstance(outcome, Failed)
    assert "declares no resource named none" in outcome.message


async def test_a_category_that_nobody_serves_fails_with_the_words_of_the_reference() -> None:
    outcome = await _execute("resourceRef://demo:lib?name=odd", _Cluster())
    assert outcome == Failed("function resource category: unheard do not support", "unsupported_protocol")
