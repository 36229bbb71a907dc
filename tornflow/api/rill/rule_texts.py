"""Mapping rules given as the text of a parameter: YAML or JSON, checked like those of a descriptor."""

from __future__ import annotations

from tornflow.api.edge import Edge
from tornflow.descriptors import check_size
from tornflow.descriptors.nodes import compose
from tornflow.descriptors.shapes import Reading, boolean, list_of, shape, text
from tornflow.errors import InvalidDescriptor, LimitExceeded, MalformedField
from tornflow.model.descriptor import MappingRule
from tornflow.runtime.offload import run_long

_RULES = list_of(
    shape({"reference": text, "tolerance": boolean, "source": text, "transform": text, "target": text})
)


async def read_rules(field: str, written: str, edge: Edge) -> tuple[MappingRule, ...]:
    """Return the rules of a text; nothing for a blank one.

    Raises:
        InvalidDescriptor, MalformedField: not a list of mappings.
        LimitExceeded: more than ``EdgeLimits.tool_rules``.
    """
    return await run_long(len(written), lambda: _read(field, written, edge)) if written.strip() else ()


def _read(field: str, written: str, edge: Edge) -> tuple[MappingRule, ...]:
    check_size(written, edge.descriptor_limits)
    reading = Reading(edge.descriptor_limits.problems)
    root, problems = compose(written, edge.descriptor_limits)
    reading.problems.extend(problems)
    documents = _RULES(reading, root, field) or []
    if reading.problems:
        raise InvalidDescriptor(reading.problems)
    limit = edge.limits.tool_rules
    if len(documents) > limit:
        raise LimitExceeded(f"{field} has {len(documents)} rules, {limit} are allowed", limit="tool_rules")
    for index, one in enumerate(documents):
        if one.get("reference"):
            # Common mappings belong to a descriptor; dropping the rule silently would show a wrong result.
            raise MalformedField(f"{field}[{index}].reference: write the referenced rules out", field=field)
    fields = ("source", "target", "transform", "tolerance")
    return tuple(MappingRule(**{name: one.get(name) for name in fields}) for one in documents)
