"""The part of the Rill table for numbers and advice about flows (rill-http-api 9.9 - 9.12, 10.3, 10.4)."""

from __future__ import annotations

from tornflow.api.rill import statistics
from tornflow.api.routes import BOOLEAN, OBJECT, TEXT, Kind, Param, Route, required, shape

GET = ("GET",)

STATISTICS = (
    Route(
        path="/flow/business_heap_monitor.json", methods=GET, operation=statistics.business_heap_monitor,
        summary="Count running, succeeded and failed executions of services", tag="statistics",
        params=(
            Param("service_ids", Kind.LIST, note="business:feature, at most 100"),
            Param("start_time_offset", Kind.INT, note="minutes before now; default 10"),
            Param("end_time_offset", Kind.INT, note="minutes before now; default 1"),
        ),
        returns=OBJECT,
    ),
    Route(
        path="/flow/status/check.json", methods=GET, operation=statistics.status_check, tag="statistics",
        summary="Say whether a submission would be taken",
        params=(Param("descriptor_id", required=True), Param("resource_check", Kind.TEXT, note="as of submit.json")),
        returns=shape(descriptor_id=TEXT, submit_status=OBJECT, related_resources=OBJECT),
    ),
    Route(
        path="/flow/runtime_dependent_resources.json", methods=GET, operation=statistics.runtime_dependent_resources,
        summary="Show which resources the tasks of services use, and which of them are limited", tag="statistics",
        params=(Param("service_ids", Kind.LIST, required=True),), returns=OBJECT,
    ),
    Route(
        path="/flow/clear_runtime_resources.json", methods=("POST",), operation=statistics.clear_runtime_resources,
        summary="Lift the limits of resources", tag="statistics",
        params=(
            Param("service_id", required=True), Param("clear_all", Kind.BOOL, default=False),
            Param("resource_names", Kind.LIST),
        ),
        returns=shape(ret=BOOLEAN),
    ),
    Route(
        path="/flow/business_invoke_summary.json", methods=GET, operation=statistics.business_invoke_summary,
        summary="Count the submissions of a business on one day", tag="statistics",
        params=required("business_key"), returns=shape(ret=OBJECT),
    ),
    Route(
        path="/flow/dag/details.json", methods=GET, operation=statistics.dag_details, tag="statistics",
        summary="Show an execution", params=required("id", "status"),
        returns=shape(data={"anyOf": [OBJECT, TEXT]}, message=TEXT, success=BOOLEAN),
    ),
)  # fmt: skip
