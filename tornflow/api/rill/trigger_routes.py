"""The part of the Rill table for triggers (rill-http-api 13)."""

from __future__ import annotations

from tornflow.api.rill import triggers
from tornflow.api.routes import BOOLEAN, INTEGER, OBJECT, TEXT, Body, Kind, Param, Route, shape

_TYPE = Param("type", required=True, note="cron, or what a plug-in brings")

TRIGGERS = (
    Route(
        path="/flow/trigger/add_trigger.json", methods=("POST",), operation=triggers.add_trigger, tag="triggers",
        summary="Start executions without a request; the body depends on the type",
        params=(
            _TYPE,
            Param("descriptor_id", required=True, note="business:feature[:alias or :md5_...]; looked up at each run"),
            Param("callback", Kind.TEXT, note="as of submit.json, for every execution"),
            Param("resource_check", Kind.TEXT, note="as of submit.json, for every execution"),
        ),
        body=Body.JSON, returns=shape(code=INTEGER, data=shape(task_id=TEXT), err_msg=TEXT),
    ),
    Route(
        path="/flow/trigger/cancel_trigger.json", methods=("POST",), operation=triggers.cancel_trigger, tag="triggers",
        summary="Remove a trigger", params=(_TYPE, Param("task_id", required=True)),
        returns=shape(code=INTEGER, data=shape(task_id=TEXT, result=BOOLEAN)),
    ),
    Route(
        path="/flow/trigger/get_trigger_tasks.json", methods=("GET",), operation=triggers.get_trigger_tasks,
        summary="List the triggers of a type by id", tag="triggers", params=(_TYPE,),
        returns=shape(code=INTEGER, data=OBJECT, message=TEXT),
    ),
)  # fmt: skip
