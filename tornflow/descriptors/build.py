"""Normalised document -> the frozen values that the engine compiles. The document is trusted here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tornflow.descriptors.grammar import computed_next, split_next
from tornflow.model.descriptor import (
    CallbackConfig,
    ChoiceBranch,
    ChoiceTask,
    Degrade,
    Descriptor,
    ForeachTask,
    FunctionTask,
    Iteration,
    Json,
    MappingRule,
    PassTask,
    Progress,
    Resource,
    Retry,
    ReturnTask,
    SuspenseTask,
    SwitchCase,
    SwitchTask,
    Synchronization,
    Task,
    Timeline,
)
from tornflow.model.jsontext import without_null_members
from tornflow.model.status import Category, Pattern

_RESOURCE_SCHEME = "resource"


@dataclass(frozen=True, slots=True)
class _Parts:
    """What tasks refer to by name."""

    common: dict[str, list[Json]]
    resources: dict[str, Json]


def build(document: Json, md5: str) -> Descriptor:
    """Return the descriptor of a valid document.

    References are replaced in the tasks and in the document of every task, not in ``document`` itself: an editor
    must get back what it wrote.
    """
    resources = document.get("resources", [])
    parts = _Parts(document.get("commonMapping", {}), {one["name"]: one for one in resources if "name" in one})
    is_flow = document["type"] == "flow"
    return Descriptor(
        workspace=document.get("workspace", ""),
        dag_name=document.get("dagName", ""),
        type=document["type"],
        md5=md5,
        document=document,
        tasks=_tasks(document.get("tasks", []), parts) if is_flow else (),
        version=document.get("version"),
        timeline=_timeline(document),
        resources=tuple(_resource(one) for one in resources),
        callback=_callback(document.get("callback"), parts),
        default_context=document.get("defaultContext", {}),
        input_schema=document.get("inputSchema"),
        end_task_name=document.get("end_task_name"),
    )


def _tasks(documents: Sequence[Json], parts: _Parts) -> tuple[Task, ...]:
    names = {document["name"] for document in documents}
    return tuple(_task(document, names, parts) for document in documents)


def _task(written: Json, names: Iterable[str], parts: _Parts) -> Task:
    document = _expanded(written, parts)
    common: dict[str, Any] = {
        "name": document["name"],
        "category": Category(document["category"]),
        "document": document,
        "next": tuple(name for name in dict.fromkeys(split_next(document.get("next"))) if name in names),
        "tolerance": document.get("tolerance", False),
        "input_mappings": _rules(document.get("inputMappings")),
        "output_mappings": _rules(document.get("outputMappings")),
        "parameters": without_null_members(document.get("parameters", {})),  # rill-dsl 5.8
        "progress": _progress(document.get("progress", {})),
        "degrade": _degrade(document.get("degrade", {})),
        "timeline": _timeline(document),
        "key_callback": document.get("keyCallback", False),
        "key_exp": document.get("keyExp"),
        "is_stream_input": document.get("inputType", "").lower() == "stream",
        "is_stream_output": document.get("outputType", "").lower() == "stream",
    }
    return _of_category(document, common, parts)


def _of_category(document: Json, common: dict[str, Any], parts: _Parts) -> Task:
    match common["category"]:
        case Category.FUNCTION:
            return _function(document, common)
        case Category.RETURN:
            return ReturnTask(**common, conditions=_conditions(document))
        case Category.SWITCH:
            return SwitchTask(**common, switches=tuple(_switch_case(one) for one in document["switches"]))
        case Category.CHOICE:
            branches = tuple(
                ChoiceBranch(one.get("condition"), _tasks(one["tasks"], parts)) for one in document["choices"]
            )
            _show_expanded(document, "choices", branches)
            return ChoiceTask(**common, choices=branches)
        case Category.FOREACH:
            return _foreach(document, common, parts)
        case Category.SUSPENSE:
            return _suspense(document, common)
        case _:
            return PassTask(**common)


def _function(document: Json, common: dict[str, Any]) -> Task:
    name = document.get("resourceName", "").strip()
    resource = document.get("resource")
    scheme = name.partition("://")[0] if "://" in name else ""
    retry = document.get("retry", {})
    return FunctionTask(
        **common,
        pattern=Pattern(document["pattern"]),
        resource_name=name,
        protocol=document.get("resourceProtocol") or scheme or (_RESOURCE_SCHEME if resource else ""),
        resource=None if resource is None else _resource(resource),
        request_type=document.get("requestType") or "POST",
        success_conditions=tuple(document.get("successConditions", ())),
        fail_conditions=tuple(document.get("failConditions", ())),
        retry=Retry(
            retry.get("maxRetryTimes", 0),
            retry.get("intervalInSeconds", 0),
            retry.get("multiplier", 1.0),
            tuple(retry.get("conditions", ())),
        ),
    )


def _foreach(document: Json, common: dict[str, Any], parts: _Parts) -> Task:
    tasks = _tasks(document["tasks"], parts)
    document["tasks"] = [task.document for task in tasks]
    synchronization = document.get("synchronization", {})
    return ForeachTask(
        **common,
        iteration=Iteration(**{name: document["iterationMapping"].get(name) for name in Iteration.__slots__}),
        tasks=tasks,
        synchronization=Synchronization(
            tuple(synchronization.get("conditions", ())), synchronization.get("maxConcurrency")
        ),
    )


def _suspense(document: Json, common: dict[str, Any]) -> Task:
    event = document.get("event", [])
    return SuspenseTask(
        **common,
        conditions=_conditions(document),
        interruptions=tuple(document.get("interruptions", ())),
        events=(event,) if isinstance(event, str) else tuple(event),
    )


def _switch_case(case: Json) -> SwitchCase:
    targets = (name.strip() for name in split_next(case.get("next")))
    return SwitchCase(case.get("condition"), tuple(name for name in targets if name), case.get("break", False))


def _conditions(document: Json) -> tuple[str, ...] | None:
    return tuple(document["conditions"]) if "conditions" in document else None


def _show_expanded(document: Json, field: str, branches: Sequence[ChoiceBranch]) -> None:
    document[field] = [
        one | {"tasks": [task.document for task in branch.tasks]}
        for one, branch in zip(document[field], branches, strict=True)
    ]


def _expanded(written: Json, parts: _Parts) -> Json:
    """Return a copy with references replaced; what did not change is shared (documents are read only)."""
    document = dict(written)
    for field in ("inputMappings", "outputMappings"):
        if field in document:
            document[field] = _expanded_rules(document[field], parts)
    if document["category"] == Category.SWITCH and "next" not in document and document["switches"]:
        document["next"] = computed_next(document)
    name = (document.get("resourceName") or "").strip()
    if document["category"] == Category.FUNCTION and "resource" not in document and name.startswith("resource://"):
        document["resource"] = parts.resources[name.removeprefix("resource://")]
    return document


def _expanded_rules(rules: Sequence[Json], parts: _Parts) -> list[Json]:
    """Replace each reference at its place; referenced lists are not expanded again (``rill-dsl`` 5.6)."""
    found: list[Json] = []
    for rule in rules:
        reference = (rule.get("reference") or "").strip()
        found += parts.common.get(reference, ()) if reference else (rule,)
    return found


def _rules(documents: Sequence[Json] | None) -> tuple[MappingRule, ...]:
    return tuple(
        MappingRule(
            source=one.get("source"),
            target=one.get("target"),
            transform=one.get("transform"),
            tolerance=one.get("tolerance"),
            reference=one.get("reference"),
            variable=one.get("variable"),
        )
        for one in documents or ()
    )


def _progress(document: Json) -> Progress:
    return Progress(document.get("weight", 1), document.get("calculation"), _rules(document.get("args")))


def _degrade(document: Json) -> Degrade:
    return Degrade(document.get("current", False), document.get("followings", False))


def _timeline(document: Json) -> Timeline:
    timeline = document.get("timeline", {})
    return Timeline(
        timeline.get("timeoutInSeconds"),
        timeline.get("skipOnTimeout"),
        timeline.get("suspenseIntervalSeconds"),
        timeline.get("suspenseTimestamp"),
    )


def _resource(document: Json) -> Resource:
    fields = {key: value for key, value in document.items() if key not in ("name", "category")}
    return Resource(document.get("name", ""), document["category"], without_null_members(fields))


def _callback(document: Json | None, parts: _Parts) -> CallbackConfig | None:
    """A callback without a resource name is none (``rill-dsl`` 13)."""
    if document is None or not document.get("resourceName", "").strip():
        return None
    return CallbackConfig(
        document["resourceName"],
        document.get("fullDAGInfo", False),
        document.get("fullContext", False),
        _rules(_expanded_rules(document.get("inputMappings", ()), parts)),
    )
