"""The YAML in which a descriptor is read back (``rill-http-api`` 8.13)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tornflow.descriptors.grammar import computed_next
from tornflow.descriptors.sugar import unconvert
from tornflow.model.descriptor import Descriptor, Json

_IMPLICIT = (True, False)
_QUOTED = (False, True)


def to_yaml(descriptor: Descriptor) -> str:
    """Return YAML with the shorthand restored; parsing it gives the same descriptor again.

    Every text is quoted: then it stays text whatever a reader takes for a number or a date.
    """
    document = unconvert(descriptor.document)
    if "tasks" in document:
        document = document | {"tasks": [_as_written(task) for task in document["tasks"]]}
    return document_to_yaml(document)


def document_to_yaml(document: Json) -> str:
    """Return any JSON object as YAML that the descriptor parser reads back unchanged."""
    # A width beyond any line: folded texts are hard to read and to search.
    return str(yaml.emit(_stream(document), Dumper=yaml.CSafeDumper, allow_unicode=True, width=2**30))


def _as_written(task: Json) -> Json:
    """Leave out the successors of a switch that follow from its cases; they are computed again."""
    if task.get("category") == "switch" and task.get("next") == computed_next(task):
        return {key: value for key, value in task.items() if key != "next"}
    return task


def _stream(document: Json) -> Iterator[yaml.Event]:
    yield yaml.StreamStartEvent()
    yield yaml.DocumentStartEvent(explicit=False)
    yield from _value(document)
    yield yaml.DocumentEndEvent(explicit=False)
    yield yaml.StreamEndEvent()


def _value(value: Any) -> Iterator[yaml.Event]:
    if isinstance(value, dict):
        yield yaml.MappingStartEvent(None, None, True, flow_style=not value)
        for key, item in value.items():
            yield yaml.ScalarEvent(None, None, (True, True), key)
            yield from _value(item)
        yield yaml.MappingEndEvent()
    elif isinstance(value, list | tuple):
        yield yaml.SequenceStartEvent(None, None, True, flow_style=not value)
        for item in value:
            yield from _value(item)
        yield yaml.SequenceEndEvent()
    elif isinstance(value, str):
        yield yaml.ScalarEvent(None, None, _QUOTED, value, style='"')
    else:
        yield yaml.ScalarEvent(None, None, _IMPLICIT, _plain(value))


def _plain(value: bool | int | float | None) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)
