"""Looking at a descriptor without storing or running it (rill-http-api 9.5, 9.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tornflow.api.rill.errors import error_body, problems_of
from tornflow.api.rill.views import definition_view
from tornflow.api.routes import Answer, Call, Json
from tornflow.descriptors import parse_descriptor, unconvert
from tornflow.descriptors.build import build
from tornflow.errors import InvalidDescriptor
from tornflow.model.descriptor import ChoiceTask, Descriptor, ForeachTask, FunctionTask, Task
from tornflow.runtime.offload import run_long

_CALLBACK = "flow_completed_callback"


async def convert(call: Call) -> Json | Answer:
    """Parse and check a descriptor; show it as an execution that never ran. Shorthand stays shorthand."""
    try:
        descriptor = await _parsed(call)
    except InvalidDescriptor as error:
        return error_body(400, 30110, error.message, problems_of(error))
    written = unconvert(descriptor.document)
    if written is not descriptor.document:
        descriptor = build(written, descriptor.md5)
    return {"ret": definition_view(descriptor)}


async def dependency_check(call: Call) -> Json:
    """The resources that a descriptor calls, each with the tasks that do, in their order."""
    descriptor_id = call.args["descriptor_id"]
    if descriptor_id:
        descriptor = (await call.edge.catalog.resolve(descriptor_id)).descriptor
    else:
        descriptor = await _parsed(call)
    found: dict[str, list[str]] = {}
    for resource, name in _calls(descriptor):
        found.setdefault(resource, []).append(name)
    return {"ret": {"dependencies": [{"resource_name": resource, "names": names} for resource, names in found.items()]}}


async def _parsed(call: Call) -> Descriptor:
    text, limits = call.body, call.edge.descriptor_limits
    return await run_long(len(text), lambda: parse_descriptor(text, limits))


def _calls(descriptor: Descriptor) -> Iterator[tuple[str, str]]:
    yield from _calls_of(descriptor.tasks)
    if descriptor.callback is not None:
        yield descriptor.callback.resource_name, _CALLBACK


def _calls_of(tasks: Sequence[Task]) -> Iterator[tuple[str, str]]:
    for task in tasks:
        match task:
            case FunctionTask():
                yield task.resource_name or (task.resource.name if task.resource else ""), task.name
            case ForeachTask():
                yield from _calls_of(task.tasks)
            case ChoiceTask():
                for branch in task.choices:
                    yield from _calls_of(branch.tasks)
            case _:
                pass
