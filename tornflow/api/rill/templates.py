"""Task templates and the forms of the graph editor (rill-http-api 14).

Three kinds of entries stand in one list: the categories (``meta``), task types that ship a form, and stored templates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tornflow.api.rill.errors import RillError
from tornflow.api.rill.template_forms import FORMS, FUNCTION, OFFERED, Form
from tornflow.api.routes import Call, Json
from tornflow.model.jsontext import dumps
from tornflow.runtime import templates as kept
from tornflow.runtime.templates import Template, Templates
from tornflow.spi.task_type import TaskType

META, TEMPLATE = "meta", "template"
_TYPES = {kept.FUNCTION: "function template", kept.PLUGIN: "plugin template", kept.LOGIC: "logic template"}
_SPELLINGS = {"taskYaml": "task_yaml"}
_FIELDS = ("name", "type", "category", "icon", "task_yaml", "schema", "output")
_PAGE_SIZES = range(10, 501)


@dataclass(frozen=True, slots=True)
class _Entry:
    """``id``: "" for what is not stored. ``key`` is what ``taskTemplateId`` of a task refers to."""

    node_type: str
    key: str
    template: Template
    form: Form
    id: int | None = None

    def described(self) -> Json:
        """Return what the list of templates shows, without ``meta_data``."""
        label = _TYPES[self.template.type] + (" (metadata)" if self.node_type == META else "")
        return {"id": self.id, "type_str": label, "node_type": self.node_type, **asdict(self.template)}

    def prototype(self) -> Json:
        is_meta = self.node_type == META
        return {
            "id": self.key,
            "node_category": 0 if is_meta else 1,
            "icon": self.template.icon or self.form.icon,
            "meta_data": self.form.document,
            "template": None if is_meta else self.described(),
        }


async def get_meta_data_list(call: Call) -> Json:
    return {"data": [form.document for form in OFFERED]}


async def get_task_templates(call: Call) -> Json:
    """One page of the list; ``total`` counts all pages, for the web UI asks for it."""
    found = await _matching(call)
    page = [{**entry.described(), "meta_data": entry.form.document} for entry in _page(call, found)]
    return {"data": page, "total": len(found)}


async def get_template_prototypes(call: Call) -> Json:
    return {"data": [entry.prototype() for entry in _page(call, await _matching(call))]}


async def create_task_template(call: Call) -> Json:
    values = _values(call.body)
    for field in ("name", "type", "category"):
        if field not in values:
            raise RillError(30109, f"'{field}' is missing")
    return {"code": 0, "data": {"id": await _templates(call).add(Template(**values))}}


async def update_task_template(call: Call) -> Json:
    """Change what the body names; what is null there stays as it is."""
    number = call.body.get("id")
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 20:
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise RillError(30109, "'id' must be the id of a template")
    return _code(await _templates(call).change(number, _values(call.body)))


async def enable_task_template(call: Call) -> Json:
    return _code(await _templates(call).change(call.args["id"], {"enable": 1}))


async def disable_task_template(call: Call) -> Json:
    return _code(await _templates(call).change(call.args["id"], {"enable": 0}))


def _templates(call: Call) -> Templates:
    templates = call.edge.templates
    if templates is None:
        raise RillError(30101, "templates are not kept by this server")
    return templates


def _values(body: Json) -> dict[str, Any]:
    named = {_SPELLINGS.get(name, name): value for name, value in body.items() if value is not None}
    return {name: value for name, value in named.items() if name in _FIELDS}


def _code(was_there: bool) -> Json:
    return {"code": 0 if was_there else 1}


async def _matching(call: Call) -> list[_Entry]:
    args, node_type = call.args, call.args["node_type"]
    found: list[_Entry] = []
    if node_type in (None, "", META):
        found += [entry for entry in map(_meta, OFFERED) if _is_wanted_meta(entry, args)]
    if node_type in (None, "", TEMPLATE):
        found += [entry for entry in _of_task_types(call) if _is_wanted(entry, args)]
        async for number, template in _templates(call).all():
            entry = _Entry(TEMPLATE, str(number), template, FORMS[template.category], number)
            if _is_wanted(entry, args):
                found.append(entry)
    return found


def _meta(form: Form) -> _Entry:
    type_ = kept.FUNCTION if form is FUNCTION else kept.LOGIC
    return _Entry(META, form.category, Template(form.category, type_, form.category, form.icon), form)


def _of_task_types(call: Call) -> Iterator[_Entry]:
    """Yield a template for each task type that ships a form (``TaskType.schema``)."""
    seen: list[TaskType] = []
    for task_type in call.edge.task_types.values():
        schema = getattr(task_type, "schema", None)
        if schema is None or task_type in seen:
            continue
        seen.append(task_type)
        protocol = task_type.protocols[0]
        yield _Entry(
            TEMPLATE,
            protocol,
            Template(
                protocol,
                kept.PLUGIN,
                FUNCTION.category,
                getattr(task_type, "icon", ""),
                f"resourceName: {protocol}://\n",
                dumps(schema).decode(),
            ),
            FUNCTION,
        )


def _is_wanted(entry: _Entry, args: Json) -> bool:
    template = entry.template
    return (
        args["id"] in (None, entry.id)
        and (args["name"] or "") in template.name
        and args["category"] in (None, "", template.category)
        and args["type"] in (None, template.type)
        and args["enable"] in (None, template.enable)
    )


def _is_wanted_meta(entry: _Entry, args: Json) -> bool:
    """An unknown category or type filters no category out, as in the reference (rill-http-api 14.2)."""
    template, type_ = entry.template, args["type"]
    return (
        args["id"] is None
        and (args["name"] or "") in template.name
        and (args["category"] not in FORMS or args["category"] == template.category)
        and (type_ not in _TYPES or type_ == template.type)
        and args["enable"] in (None, 1)
    )


def _page(call: Call, found: list[_Entry]) -> list[_Entry]:
    page, size = max(1, call.args["page"]), call.args["page_size"]
    if size is None:
        other = call.args["pageSize"]  # what the web UI sends; the reference ignores it
        size = other if other in _PAGE_SIZES else _PAGE_SIZES[-1]
    elif size not in _PAGE_SIZES:
        size = _PAGE_SIZES[0]
    return found[(page - 1) * size : page * size]
