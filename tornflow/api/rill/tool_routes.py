"""The part of the Rill table for groups and tools (rill-http-api 9)."""

from __future__ import annotations

from tornflow.api.rill import descriptor_tools, groups, mapping_tools
from tornflow.api.routes import BOOLEAN, OBJECT, TEXT, Body, Kind, Param, Route, list_of, shape

GET, POST = ("GET",), ("POST",)

TASK_VIEW = shape(
    name=TEXT, status=TEXT, contains_sub=BOOLEAN, next=list_of(TEXT), invoke_msg=OBJECT, task=OBJECT,
    sub_group_index_to_status={"type": "object", "additionalProperties": TEXT},
    sub_group_index_to_identity={"type": "object", "additionalProperties": TEXT},
    sub_group_key_judgement_mapping={"type": "object", "additionalProperties": BOOLEAN},
)  # fmt: skip
# The text "{}" where the execution or the parent is unknown (rill-http-api 4.10).
TASKS = {"anyOf": [{"type": "object", "additionalProperties": TASK_VIEW}, TEXT | {"enum": ["{}"]}]}
_RULES = "a list of mappings, YAML or JSON"

TOOLS = (
    Route(
        path="/flow/get_by_parent.json", methods=GET, operation=groups.get_by_parent, tag="executions",
        summary="Show the tasks of one group of a foreach or choice",
        params=(
            Param("execution_id", required=True),
            Param("parent", required=True, note="instance name of the foreach or choice"),
            Param("group_index", Kind.INT, required=True),
        ),
        returns=shape(ret=shape(tasks=TASKS)),
    ),
    Route(
        path="/flow/get_sub_context.json", methods=GET, operation=groups.get_sub_context, tag="executions",
        summary="Show the context of one group",
        params=(Param("execution_id"), Param("parent"), Param("group_index", Kind.INT)), returns=shape(ret=OBJECT),
    ),
    Route(
        path="/flow/convert.json", methods=POST, operation=descriptor_tools.convert, tag="tools",
        summary="Check a descriptor and show it; nothing is stored", body=Body.OPTIONAL_RAW, returns=shape(ret=OBJECT),
    ),
    Route(
        path="/flow/dependency_check.json", methods=("GET", "POST"), operation=descriptor_tools.dependency_check,
        summary="List the resources that a descriptor calls", tag="tools",
        params=(Param("descriptor_id", note="without it the body is the descriptor"),), body=Body.OPTIONAL_RAW,
        returns=shape(ret=shape(dependencies=list_of(shape(resource_name=TEXT, names=list_of(TEXT))))),
    ),
    Route(
        path="/flow/mapping_evaluation.json", methods=POST, operation=mapping_tools.mapping_evaluation, tag="tools",
        summary="Apply mapping rules to a document; the body may hold context, input and output",
        params=(
            Param("type", note="input_eva or output_eva"), Param("mapping_rules", Kind.TEXT, note=_RULES),
            Param("execution_id"), Param("task_name", note="instance name"),
        ),
        body=Body.OPTIONAL_JSON, returns=shape(ret=shape(context=OBJECT, input=OBJECT, output=OBJECT)),
    ),
    Route(
        path="/flow/function_dispatch_params.json", methods=POST, operation=mapping_tools.function_dispatch_params,
        summary="Show what a function task would send; the body may hold resource_name, input_mapping_rules, context",
        tag="tools", params=(Param("execution_id"), Param("task_name", note="instance name")),
        body=Body.OPTIONAL_JSON, returns=shape(ret=shape(url=TEXT, body=OBJECT)),
    ),
)  # fmt: skip
