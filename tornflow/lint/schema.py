"""The language as a JSON Schema (draft 2020-12), for editors. Its text is docs/schema/rill-flow.schema.json.

It accepts all that the server accepts: keys that nobody knows, numbers where texts are wanted (their text counts), the
words of YAML 1.1 for true and false. What a schema cannot say, such as circles and unknown names, ``lint`` does.
"""

from __future__ import annotations

from typing import Any

from tornflow.lint.schema_words import COMMON, FIELDS, RESOURCE, TASK_FIELDS, TOP
from tornflow.model.status import Category

Schema = dict[str, Any]
SCHEMA_ID = "urn:tornflow:rill-flow"

_WORDS = "true|True|TRUE|yes|Yes|YES|on|On|ON|false|False|FALSE|no|No|NO|off|Off|OFF"
_FLAG = {"anyOf": [{"type": ["boolean", "null"]}, {"type": "string", "pattern": f"^({_WORDS})$"}]}
_DECIMAL = r"^\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\s*$"
_NUMBER = {"anyOf": [{"type": ["number", "null"]}, {"type": "string", "pattern": _DECIMAL}]}
_TEXT = {"type": ["string", "number", "boolean", "null"]}
_NAME = {"type": ["string", "integer", "number", "boolean"], "pattern": "^[a-zA-Z0-9]+$", "maxLength": 100}
_KINDS: dict[str, Schema] = {
    "text": _TEXT,
    "flag": _FLAG,
    "number": _NUMBER,
    "texts": {"type": ["array", "null"], "items": {"type": ["string", "number", "boolean"]}},
    "free": {"type": ["object", "null"]},
    "textMap": {"type": ["object", "null"], "additionalProperties": _TEXT},
    "name": _NAME,
    "rootName": {"type": ["string", "number", "boolean", "null"], "pattern": r"^([a-zA-Z0-9]{1,100}|\s*)$"},
    "event": {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"$ref": "#/$defs/texts"}]},
    "mappings": {"type": ["array", "null"], "items": {"$ref": "#/$defs/mapping"}},
    "commonMappings": {"type": ["object", "null"], "additionalProperties": {"$ref": "#/$defs/mappings"}},
    "tasks": {"type": ["array", "null"], "items": {"$ref": "#/$defs/task"}},
    "someTasks": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/task"}},
    "switches": {"type": ["array"], "items": {"$ref": "#/$defs/switchCase"}},
    "choices": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/branch"}},
    "resources": {"type": ["array", "null"], "items": {"$ref": "#/$defs/resource"}},
}

# Entries of lists, which must not be empty, and what a task cannot do without.
_ALWAYS_OBJECTS: dict[str, list[str]] = {
    "mapping": [],
    "switchCase": ["next"],
    "branch": ["tasks"],
    "iterationMapping": ["collection"],
}


def descriptor_schema() -> Schema:
    """Return a new copy of the schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Rill flow descriptor",
        "description": "A flow (tasks and how they follow each other) or a library of resources, as tornflow runs it.",
        "type": "object",
        "properties": _properties(TOP),
        "required": ["type"],
        "allOf": [
            {"anyOf": [{"required": ["workspace"]}, {"required": ["namespace"]}]},
            {"anyOf": [{"required": ["dagName"]}, {"required": ["service"]}]},
            _when("type", "flow", {"required": ["tasks"], "properties": {"tasks": {"$ref": "#/$defs/someTasks"}}}),
            _when("type", "resource", {"required": ["resources"], "properties": {"resources": {"minItems": 1}}}),
        ],
        "$defs": _definitions(),
    }


def _definitions() -> Schema:
    objects = {name: _object(fields) for name, fields in FIELDS.items()}
    for name, required in _ALWAYS_OBJECTS.items():
        objects[name] |= {"type": "object", "required": required}
    # The categories of resources belong to plug-ins, so all else is free.
    objects["resource"] = {**_object(RESOURCE), "type": "object", "required": ["category"]}
    tasks = {f"{name}Task": _of_category(name) for name in Category}
    return {"task": _task(), **tasks, **objects, **_KINDS}


def _task() -> Schema:
    return {
        "type": "object",
        "description": "One step of a flow.",
        "required": ["name", "category"],
        "properties": _properties(COMMON),
        "allOf": [_when("category", name.value, {"$ref": f"#/$defs/{name}Task"}) for name in Category],
    }


def _of_category(name: Category) -> Schema:
    fields = TASK_FIELDS[name]
    schema: Schema = {"description": fields.meaning, "properties": _properties(fields.fields)}
    if fields.required:
        schema["required"] = list(fields.required)
    if name is Category.FUNCTION:
        ways = ("resourceName", "resource", "resourceProtocol")
        schema["anyOf"] = [{"required": [way]} for way in ways]
    return schema


def _object(fields: dict[str, tuple[str, str]]) -> Schema:
    return {"type": ["object", "null"], "properties": _properties(fields)}


def _properties(fields: dict[str, tuple[str, str]]) -> Schema:
    return {name: _property(kind, meaning) for name, (kind, meaning) in fields.items()}


def _property(kind: str, meaning: str) -> Schema:
    """``kind`` is the name of a definition, or the allowed words separated by ``|``."""
    if "|" in kind:
        return {"enum": kind.split("|"), "description": meaning}
    return {"$ref": f"#/$defs/{kind}", "description": meaning}


def _when(field: str, value: str, then: Schema) -> Schema:
    return {"if": {"properties": {field: {"const": value}}, "required": [field]}, "then": then}
