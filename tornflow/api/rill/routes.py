"""The table of the Rill family. Every path is served as written and under the prefix ``/2``."""

from __future__ import annotations

from tornflow.api.rill import background, definitions, executions, inspection, samples, steering
from tornflow.api.rill.statistics_routes import STATISTICS
from tornflow.api.rill.template_routes import TEMPLATES
from tornflow.api.rill.tool_routes import TASKS, TOOLS
from tornflow.api.rill.trigger_routes import TRIGGERS
from tornflow.api.routes import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    TEXT,
    Body,
    Json,
    Kind,
    Param,
    Route,
    list_of,
    required,
    shape,
)

PREFIXES = ("", "/2")

GET, POST = ("GET",), ("POST",)
_MANAGE = "/flow/bg/manage/descriptor/"

_EXECUTION = Param("execution_id", required=True)
_TOKEN = Param("token", note="the attempt that is meant, from X-Callback-Url; default: the one that runs")
_ADD = Param("add", Kind.BOOL, required=True, note="true adds, false removes")
_BUSINESS, _FEATURE, _ALIAS = required("business_id", "feature_name", "alias")
_DONE = shape(ret=BOOLEAN)
_RESULT = shape(result=TEXT)
_FLOW_VIEW = shape(
    workspace=TEXT, dag_name=TEXT, version=TEXT, type=TEXT, execution_id=TEXT, dag_status=TEXT, process=INTEGER,
    dag_invoke_msg=OBJECT, context=OBJECT, invoke_summary=OBJECT, paused=BOOLEAN,
    tasks=TASKS,
)  # fmt: skip
_USER = shape(realName=TEXT, roles=list_of(OBJECT), userId=TEXT, username=TEXT, desc=TEXT, token=TEXT)


def _enveloped(data: Json) -> Json:
    return shape(data=data, message=TEXT, success=BOOLEAN)


def _listed(**members: Json) -> Json:
    return shape(items=list_of(shape(**members)), total=INTEGER)


EXECUTIONS = (
    Route(
        path="/flow/submit.json", methods=POST, operation=executions.submit, tag="executions",
        summary="Start an execution of a descriptor; the body is its first context",
        params=(
            Param("descriptor_id", required=True, note="business:feature[:alias or :md5_...]"),
            Param("callback", Kind.TEXT, note="a URL, or the JSON of a callback configuration"),
            Param("resource_check", Kind.TEXT, note='JSON, such as {"check_type": "skip"}'),
        ),
        body=Body.OPTIONAL_JSON, returns=shape(execution_id=TEXT),
    ),
    Route(
        path="/flow/finish.json", methods=POST, operation=executions.finish, tag="executions",
        summary="Complete an asynchronous task; the body is its output",
        params=(
            Param("execution_id", required=True, also=("executionId",), in_passthrough=True),
            Param("task_name", required=True, also=("taskName",), in_passthrough=True, note="instance name"),
            _TOKEN,
        ),
        body=Body.JSON, returns=_RESULT,
    ),
    Route(
        path="/flow/trigger.json", methods=("GET", "POST"), operation=executions.trigger, tag="executions",
        summary="Complete an asynchronous task or wake a suspense; the target of X-Callback-Url",
        params=(
            _EXECUTION,
            Param("task_name", required=True, note="instance name"),
            Param("status", Kind.TEXT, note="success, or anything else for failed"),
            Param("context", Kind.TEXT, note="a JSON object laid over the body"),
            _TOKEN,
        ),
        body=Body.OPTIONAL_JSON, returns=_RESULT, has_head=False,
    ),
    Route(
        path="/flow/wakeup.json", methods=POST, operation=executions.wakeup, tag="executions",
        summary="Let a suspense task look at its conditions again",
        params=(_EXECUTION, Param("task_name", required=True, note="instance name"), _TOKEN),
        body=Body.OPTIONAL_JSON, returns=_RESULT,
    ),
    Route(
        path="/flow/redo.json", methods=POST, operation=steering.redo, tag="executions",
        summary="Run top-level tasks again with everything behind them",
        params=(_EXECUTION, Param("task_names", Kind.LIST, note="default: all that are not done")),
        body=Body.OPTIONAL_JSON, returns=_RESULT,
    ),
    Route(
        path="/flow/task_degrade.json", methods=POST, operation=steering.task_degrade, tag="executions",
        summary="Degrade a task of one execution", returns=_RESULT,
        params=(
            _EXECUTION,
            Param("task_name", required=True, note="instance or base name"),
            Param("degrade_current_task", Kind.BOOL, required=True, note="the task is skipped"),
            Param("degrade_following_tasks", Kind.BOOL, required=True, note="what only it leads to is skipped"),
        ),
    ),
    Route(
        path="/flow/complete.json", methods=POST, operation=steering.complete, tag="executions",
        summary="Force the status of an execution; tasks are not touched",
        params=(_EXECUTION, Param("success", Kind.BOOL, default=True)), returns=shape(code=TEXT, message=TEXT),
    ),
    Route(
        path="/flow/get.json", methods=GET, operation=inspection.get, tag="executions",
        summary="Show an execution", returns=shape(ret=_FLOW_VIEW),
        params=(_EXECUTION, Param("brief", Kind.BOOL, default=False, note="leave the tasks out")),
    ),
    Route(
        path="/flow/get_context.json", methods=GET, operation=inspection.get_context, tag="executions",
        summary="Show the context of an execution", params=(Param("execution_id"),), returns=shape(ret=OBJECT),
    ),
    Route(
        path="/flow/get_execution_ids.json", methods=GET, operation=inspection.get_execution_ids, tag="executions",
        summary="List executions of a service by status or failure code",
        params=(
            Param("service_id", required=True, note="business:feature"),
            Param("type", default="succeed", note="succeed, running, failed, key_succeed, not_started"),
            Param("code"),
            Param("time", Kind.INT, note="latest submit time, ms; default now"),
            Param("page", Kind.INT, default=1),
            Param("count", Kind.INT, default=20, note="1 to 100"),
        ),
        returns=shape(
            execution_ids=list_of(shape(execution_id=TEXT, submit_time=INTEGER)), type=TEXT, cursor_time=INTEGER,
            current_page=INTEGER, next_page_available=BOOLEAN,
        ),
    ),
    Route(
        path="/flow/get_execution_count.json", methods=GET, operation=inspection.get_execution_count, tag="executions",
        summary="Count executions of a service by status",
        params=(
            Param("service_id", required=True, note="business:feature"), Param("type"), Param("code"),
            Param("start_time_offset", Kind.INT, default=10, note="minutes before now"),
            Param("end_time_offset", Kind.INT, default=1, note="minutes before now"),
        ),
        returns=shape(dag=OBJECT, code=OBJECT, collect_time=INTEGER),
    ),
    Route(
        path="/flow/service_check.json", methods=GET, operation=inspection.service_check, tag="executions",
        summary="Say that the server lives", returns=shape(ret=TEXT),
    ),
)  # fmt: skip

DEFINITIONS = (
    Route(
        path=_MANAGE + "add_descriptor.json", methods=POST, operation=definitions.add_descriptor, tag="definitions",
        summary="Register a descriptor; the body is its YAML text",
        params=(_BUSINESS, _FEATURE, _ALIAS, Param("identity", Kind.TEXT)),
        body=Body.RAW, returns=shape(ret=BOOLEAN, descriptor_id=TEXT),
    ),
    Route(
        path=_MANAGE + "get_descriptor.json", methods=("GET", "POST"), operation=definitions.get_descriptor,
        summary="Show the YAML text of a descriptor", tag="definitions",
        params=(Param("descriptor_id", required=True), Param("uid", Kind.INT, note="seen by gray rules")),
        body=Body.OPTIONAL_JSON, returns=shape(descriptor_id=TEXT, uid=TEXT, descriptor=TEXT),
    ),
    Route(
        path=_MANAGE + "get_version.json", methods=GET, operation=definitions.get_version, tag="definitions",
        summary="List the versions of an alias, newest first", params=(_BUSINESS, _FEATURE, _ALIAS),
        returns=shape(
            business_id=TEXT, feature=TEXT, alias=TEXT,
            versions=list_of(shape(descriptor_id=TEXT, create_time=INTEGER)),
        ),
    ),
    Route(
        path=_MANAGE + "get_business.json", methods=GET, operation=definitions.get_business, tag="definitions",
        summary="List the business ids", returns=shape(business_ids=list_of(TEXT)),
    ),
    Route(
        path=_MANAGE + "get_feature.json", methods=GET, operation=definitions.get_feature, tag="definitions",
        summary="List the features of a business", params=(_BUSINESS,),
        returns=shape(business_id=TEXT, features=list_of(TEXT)),
    ),
    Route(
        path=_MANAGE + "get_alias.json", methods=GET, operation=definitions.get_alias, tag="definitions",
        summary="List the aliases of a feature", params=(_BUSINESS, _FEATURE),
        returns=shape(business_id=TEXT, feature=TEXT, aliases=list_of(TEXT)),
    ),
    Route(
        path=_MANAGE + "get_gray.json", methods=GET, operation=definitions.get_gray, tag="definitions",
        summary="Show the gray rules of a feature by alias", params=(_BUSINESS, _FEATURE),
        returns=shape(business_id=TEXT, feature=TEXT, gray=OBJECT),
    ),
    Route(
        path=_MANAGE + "modify_business.json", methods=POST, operation=definitions.modify_business, tag="definitions",
        summary="Add or remove a business id", params=(_ADD, _BUSINESS), returns=_DONE,
    ),
    Route(
        path=_MANAGE + "modify_feature.json", methods=POST, operation=definitions.modify_feature, tag="definitions",
        summary="Add or remove a feature", params=(_ADD, _BUSINESS, _FEATURE), returns=_DONE,
    ),
    Route(
        path=_MANAGE + "modify_alias.json", methods=POST, operation=definitions.modify_alias, tag="definitions",
        summary="Add or remove an alias", params=(_ADD, _BUSINESS, _FEATURE, _ALIAS), returns=_DONE,
    ),
    Route(
        path=_MANAGE + "modify_gray.json", methods=POST, operation=definitions.modify_gray, tag="definitions",
        summary="Set or remove the gray rule of an alias", returns=_DONE,
        params=(_ADD, _BUSINESS, _FEATURE, _ALIAS, Param("gray_rule", Kind.TEXT), Param("identity", Kind.TEXT)),
    ),
)  # fmt: skip

BACKGROUND = (
    Route(
        path="/flow/bg/get_descriptor.json", methods=GET, operation=background.get_descriptor, tag="background",
        summary="Show a definition as JSON", params=required("id"), returns=_enveloped(OBJECT),
    ),
    Route(
        path="/flow/bg/get_descriptor_ids.json", methods=GET, operation=background.get_descriptor_ids,
        summary="List the definitions", tag="background",
        params=(
            Param("current", Kind.INT, required=True), Param("pageSize", Kind.INT, required=True),
            Param("business"), Param("feature"),
        ),
        returns=_listed(
            business_id=TEXT, feature_id=TEXT, alias=TEXT, descriptor_id=TEXT, create_time=INTEGER, update_time=INTEGER
        ),
    ),
    Route(
        path="/flow/bg/get_execution_ids.json", methods=GET, operation=background.get_execution_ids,
        summary="List executions, newest first", tag="background",
        params=(
            Param("id", also=("execution_id",)), Param("business"), Param("feature"), Param("status"), Param("code"),
            Param("startTime", Kind.INT, default=0, note="ms, exclusive"),
            Param("endTime", Kind.INT, note="ms, inclusive"),
            Param("page", Kind.INT, default=1), Param("pageSize", Kind.INT, default=20),
        ),
        returns=_listed(
            id=INTEGER, execution_id=TEXT, submit_time=INTEGER, business_id=TEXT, feature_id=TEXT, status=TEXT
        ),
    ),
    Route(
        path="/flow/bg/get_execution.json", methods=GET, operation=background.get_execution, tag="background",
        summary="Show an execution", params=required("id"), returns=_enveloped(_FLOW_VIEW),
    ),
    Route(
        path="/flow/bg/get_business_options.json", methods=GET, operation=background.get_business_options,
        summary="List the business ids for a drop-down", tag="background",
        returns=shape(business_ids=list_of(shape(id=TEXT, name=TEXT))),
    ),
    Route(
        path="/flow/bg/user/login.json", methods=POST, operation=background.login, tag="background",
        summary="Log in; always succeeds", body=Body.JSON, returns=_USER,
    ),
    Route(
        path="/flow/bg/user/currentUser.json", methods=GET, operation=background.current_user, tag="background",
        summary="Show the user", returns=_USER,
    ),
)  # fmt: skip

SAMPLES = (
    Route(
        path="/flow/sample/start_node.json", methods=POST, operation=samples.start_node, tag="samples",
        summary="Add `left` and `right`", body=Body.JSON, returns=shape(result_number=NUMBER),
    ),
    Route(
        path="/flow/sample/end_node.json", methods=POST, operation=samples.end_node, tag="samples",
        summary="Compare `result_number` with `expect_number`", body=Body.JSON,
        returns=shape(result=BOOLEAN, result_number=NUMBER, expect_number=NUMBER),
    ),
)  # fmt: skip

ROUTES: tuple[Route, ...] = (
    EXECUTIONS + STATISTICS + TOOLS + DEFINITIONS + TRIGGERS + TEMPLATES + BACKGROUND + SAMPLES
)
