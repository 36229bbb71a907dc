"""The forms of the graph editor: for each category the fields of its tasks (rill-http-api 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Field = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """``icon`` is a name of the editor's icon set. Some categories can be named in a template, but are not offered."""

    category: str
    icon: str
    fields: dict[str, Field]
    is_offered: bool = True

    @property
    def document(self) -> dict[str, Any]:
        return {"category": self.category, "icon": self.icon, "fields": self.fields}


def text(title: str, *, required: bool = False, **more: Any) -> Field:
    return {"type": "string", "title": title, "required": required, **more}


def choice(title: str, *values: str, required: bool = False, **more: Any) -> Field:
    options = [{"title": value, "const": value} for value in values]
    return {"type": "string", "title": title, "required": required, "oneOf": options, **more}


def number(title: str, *, required: bool = False) -> Field:
    return {"type": "integer", "title": title, "required": required}


def yes_no(title: str) -> Field:
    return {"type": "boolean", "title": title, "required": False, "default": False}


def texts(title: str, *, required: bool = False) -> Field:
    return {"type": "array", "title": title, "required": required, "items": {"type": "string"}}


def group(title: str, *, required: bool = False, **members: Field) -> Field:
    return {"type": "object", "title": title, "required": required, "properties": members}


def mappings(title: str) -> Field:
    rule = {
        "type": "object",
        # either both of the first list or the one of the second; not part of JSON schema, the editor knows it
        "requiredGroup": [["source", "target"], ["reference"]],
        "properties": {
            "source": text("Source", required=True),
            "target": text("Target", required=True),
            "reference": text("Reference to a common mapping", required=True),
            "transform": text("Transform"),
            "tolerance": yes_no("Go on when this rule fails"),
        },
    }
    return {"type": "array", "title": title, "required": True, "items": rule}


NAME: dict[str, Field] = {
    "name": text("Name", required=True, default=""),
    "title": text("Title"),
    "description": text("Description"),
}
NEXT: dict[str, Field] = {"next": text("Next tasks")}
INPUT: dict[str, Field] = {"inputMappings": mappings("Input mappings")}
OUTPUT: dict[str, Field] = {"outputMappings": mappings("Output mappings")}
CONDITIONS: dict[str, Field] = {"conditions": texts("Conditions", required=True)}

FUNCTION = Form(
    "function",
    "ant-design:api-outlined",
    {
        **NAME,
        "resourceName": text("Resource", required=True),
        "resourceProtocol": text("Protocol of the resource", required=True),
        "requestType": choice("Method", "POST", "GET", default="POST"),
        "pattern": choice("Pattern", "task_sync", "task_async", required=True),
        "inputType": choice("Input", "block", "stream"),
        "outputType": choice("Output", "block", "stream"),
        **INPUT,
        **OUTPUT,
        "tolerance": yes_no("Go on when this task fails"),
        "successConditions": texts("Conditions of success"),
        "failConditions": texts("Conditions of failure"),
        "retry": group(
            "Retry",
            maxRetryTimes=number("Retries at most", required=True),
            intervalInSeconds=number("Seconds between two attempts"),
            multiplier=number("Factor by which the pause grows"),
        ),
        **NEXT,
    },
)
PASS = Form("pass", "ant-design:issues-close-outlined", {**NAME, **INPUT, **OUTPUT, **NEXT})
SUSPENSE = Form("suspense", "ant-design:pause-circle-outlined", {**NAME, **INPUT, **OUTPUT, **CONDITIONS, **NEXT})
SWITCH = Form(
    "switch",
    "ant-design:branches-outlined",
    {
        **NAME,
        **INPUT,
        "switches": {
            "type": "array",
            "title": "Branches",
            "required": True,
            "items": {
                "type": "object",
                "properties": {
                    "condition": text("Condition"),
                    "next": text("Next tasks"),
                    "break": yes_no("Look at no further branch"),
                },
            },
        },
    },
)
RETURN = Form("return", "ant-design:filter-outlined", {**NAME, **INPUT, **CONDITIONS, **NEXT})
FOREACH = Form(
    "foreach",
    "ant-design:sync-outlined",
    {
        **NAME,
        "synchronization": group(
            "Synchronization", conditions=texts("Conditions"), maxConcurrency=number("Groups at the same time")
        ),
        "iterationMapping": group(
            "Iteration",
            required=True,
            collection=text("Collection", required=True),
            item=text("Item", required=True),
            identity=text("Identity"),
        ),
        **INPUT,
        **OUTPUT,
        "tasks": {"type": "array", "title": "Tasks", "required": True, "items": {"type": "task"}},
        **NEXT,
    },
)
CHOICE = Form("choice", "ant-design:fork-outlined", {**NAME, **INPUT, **OUTPUT, **NEXT}, is_offered=False)

FORMS = {form.category: form for form in (FUNCTION, PASS, SUSPENSE, SWITCH, RETURN, FOREACH, CHOICE)}
OFFERED = tuple(form for form in FORMS.values() if form.is_offered)
