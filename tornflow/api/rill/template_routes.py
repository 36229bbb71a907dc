"""The part of the Rill table for task templates (rill-http-api 14)."""

from __future__ import annotations

from tornflow.api.rill import templates
from tornflow.api.routes import INTEGER, OBJECT, TEXT, Body, Kind, Param, Route, list_of, shape

GET, POST = ("GET",), ("POST",)
_ROOT = "/flow/template/"

_META = shape(category=TEXT, icon=TEXT, fields=OBJECT)
_TEMPLATE = shape(
    id=INTEGER, name=TEXT, type=INTEGER, type_str=TEXT, node_type=TEXT, category=TEXT, icon=TEXT, task_yaml=TEXT,
    schema=TEXT, output=TEXT, enable=INTEGER, meta_data=_META,
)  # fmt: skip
_PROTOTYPE = shape(id=TEXT, node_category=INTEGER, icon=TEXT, meta_data=_META, template=_TEMPLATE)
_CODE = shape(code=INTEGER)
_FILTERS = (
    Param("page", Kind.INT, default=1),
    Param("page_size", Kind.INT, note="10 to 500, else 10; default 500"),
    Param("pageSize", Kind.INT, note="the same, ignored unless 10 to 500"),
    Param("id", Kind.INT),
    Param("name", note="part of the name"),
    Param("category"),
    Param("type", Kind.INT, note="0 function, 1 plugin, 2 logic"),
    Param("node_type", note="meta or template"),
    Param("enable", Kind.INT, note="0 or 1"),
)
_ID = (Param("id", Kind.INT, required=True),)

TEMPLATES = (
    Route(
        path=_ROOT + "get_meta_data_list.json", methods=GET, operation=templates.get_meta_data_list, tag="templates",
        summary="List the categories of tasks with their forms", returns=shape(data=list_of(_META)),
    ),
    Route(
        path=_ROOT + "get_task_templates.json", methods=GET, operation=templates.get_task_templates, tag="templates",
        summary="List the categories and the task templates", params=_FILTERS,
        returns=shape(data=list_of(_TEMPLATE), total=INTEGER),
    ),
    Route(
        path=_ROOT + "get_template_prototypes.json", methods=GET, operation=templates.get_template_prototypes,
        summary="List what the graph editor offers", tag="templates", params=_FILTERS,
        returns=shape(data=list_of(_PROTOTYPE)),
    ),
    Route(
        path=_ROOT + "create_task_template.json", methods=POST, operation=templates.create_task_template,
        summary="Store a task template", tag="templates", body=Body.JSON,
        returns=shape(code=INTEGER, data=shape(id=INTEGER)),
    ),
    Route(
        path=_ROOT + "update_task_template.json", methods=POST, operation=templates.update_task_template,
        summary="Change a task template", tag="templates", body=Body.JSON, returns=_CODE,
    ),
    Route(
        path=_ROOT + "enable_task_template.json", methods=POST, operation=templates.enable_task_template,
        summary="Offer a task template", tag="templates", params=_ID, returns=_CODE,
    ),
    Route(
        path=_ROOT + "disable_task_template.json", methods=POST, operation=templates.disable_task_template,
        summary="Offer a task template no more", tag="templates", params=_ID, returns=_CODE,
    ),
)  # fmt: skip
