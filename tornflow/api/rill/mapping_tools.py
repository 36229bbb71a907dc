"""Trying mappings and dispatches without running anything (rill-http-api 9.6, 9.7).

Any error is 400 / 30110 with its message. Rules are written by the caller and may be slow on purpose, so they run
beside the event loop, on copies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tornflow.api.edge import EdgeLimits
from tornflow.api.rill.errors import RillError
from tornflow.api.rill.groups import find_instance
from tornflow.api.rill.rule_texts import read_rules
from tornflow.api.routes import Call, Json
from tornflow.engine.entangled import Entangled
from tornflow.engine.expressions import BudgetExceeded, Expression, Meter
from tornflow.engine.jsonpath import copy_json
from tornflow.engine.mapping import MappingError
from tornflow.engine.mapping_rules import TooMuch, Transform, compile_rules
from tornflow.engine.sources import PassEnv
from tornflow.errors import LimitExceeded, MalformedField, NotFound, PluginError, RequestError
from tornflow.model.descriptor import FunctionTask, MappingRule, Task
from tornflow.model.execution import Mark, ScopeState
from tornflow.model.status import Category, Pattern
from tornflow.runtime.references import as_object
from tornflow.spi.task_type import Attempt

MOCK_EXECUTION, MOCK_TASK, MOCK_RESOURCE = "mockExecutionId", "mockTaskName", "http://mock.function.resource"
_COMPILE_STEPS = 10  # a character of a script takes as long as so many steps, some 0.01 ms
_TYPES = ("", "input_eva", "output_eva")


async def mapping_evaluation(call: Call) -> Json:
    """Apply rules to a document and show all of it. What is missing comes from an execution, if one is named."""
    return await _shown(_evaluated, call)


async def function_dispatch_params(call: Call) -> Json:
    """Show the URL and the body that a function task would send."""
    return await _shown(_dispatched, call)


async def _shown(tool: Callable[[Call], Any], call: Call) -> Json:
    try:
        return {"ret": await tool(call)}
    except (RequestError, PluginError, MappingError, TooMuch) as error:
        raise RillError(30110, str(error)) from error


async def _evaluated(call: Call) -> Json:
    args, body = call.args, call.body or {}
    kind, execution_id, task_name = args["type"] or "", args["execution_id"] or "", args["task_name"] or ""
    if kind not in _TYPES:
        raise MalformedField("type must be input_eva or output_eva", field="type")
    work = {name: _object(body, name) for name in ("context", "input", "output")}
    rules: Sequence[MappingRule] = await read_rules("mapping_rules", args["mapping_rules"] or "", call.edge)
    if kind and execution_id and task_name:
        task, state = await _found(call, execution_id, task_name)
        is_input = kind == "input_eva"
        rules = rules or (task.input_mappings if is_input else task.output_mappings)
        if not work["context"] and state is not None:
            work["context"] = copy_json(state.context)
        if not is_input and not work["output"]:
            work["output"] = await _output_of(call, execution_id, task_name, task, state)
    return await _applied(call, rules, work, execution_id)


async def _dispatched(call: Call) -> Json:
    args, body = call.args, call.body or {}
    execution_id, task_name = args["execution_id"] or "", args["task_name"] or ""
    resource, rules_text = _text(body, "resource_name"), _text(body, "input_mapping_rules")
    context = _object(body, "context")
    rules: Sequence[MappingRule] = await read_rules("input_mapping_rules", rules_text, call.edge)
    task: Task | None = None
    if execution_id and task_name and not (resource and rules and context):
        task, state = await _found(call, execution_id, task_name)
        rules = rules or task.input_mappings
        if not context and state is not None:
            context = copy_json(state.context)
    work = await _applied(call, rules, {"context": context, "input": {}, "output": {}}, execution_id)
    attempt = _attempt(call, execution_id, task_name, resource, task, work["input"])
    shown = call.edge.preview(attempt)
    # A task type that shows nothing gets the resource and the input as they are.
    return {"url": attempt.resource, "body": attempt.input} if shown is None else dict(shown)


def _attempt(
    call: Call, execution_id: str, task_name: str, resource: str, task: Task | None, task_input: Json
) -> Attempt:
    definition = task if isinstance(task, FunctionTask) else None
    if task is not None and definition is None and not resource:
        raise MalformedField(f"task {task_name} category is {task.category.value}, not function", field="task_name")
    if definition is not None:
        missing = {key: value for key, value in definition.parameters.items() if task_input.get(key) is None}
        task_input = {**task_input, **missing}
    own = definition if not resource else None  # a resource that the caller names takes the place of the task's own
    thing = own.resource if own else None
    name = resource or (own.resource_name if own else "") or (thing.name if thing else "") or MOCK_RESOURCE
    protocol = thing.category if thing else own.protocol if own else name.partition("://")[0]
    return Attempt(
        execution_id=execution_id or MOCK_EXECUTION,
        task_name=task_name or MOCK_TASK,
        number=1,
        resource=name,
        protocol=protocol,
        input=task_input,
        idempotency_key="",
        pattern=(definition.pattern if definition else Pattern.TASK_SYNC).value,
        request_type=definition.request_type if definition else "POST",
        server_url=call.edge.server_url,
        resource_object=as_object(thing) if thing else {},
    )


async def _found(call: Call, execution_id: str, task_name: str) -> tuple[Task, ScopeState | None]:
    found = await find_instance(call, execution_id, task_name)
    if found is None:
        raise NotFound(f"there is no task {task_name} in an execution {execution_id}")
    return found


async def _output_of(
    call: Call, execution_id: str, task_name: str, task: Task, state: ScopeState | None
) -> Json:
    """Return what the outputMappings of a task see: the results of its groups, else what it recorded."""
    done = None if state is None else state.tasks.get(task.name)
    if done is None:
        return {}
    if task.category not in (Category.FOREACH, Category.CHOICE):
        return copy_json(done.output) if isinstance(done.output, dict) else {}
    marks = b"" if done.groups is None else bytes(done.groups.marks)
    limit = call.edge.limits.tool_groups
    if len(marks) > limit:
        text = f"{task_name} has {len(marks)} groups, {limit} are allowed: send `output` in the body"
        raise LimitExceeded(text, limit="tool_groups")
    contexts: list[Json] = []
    for index, mark in enumerate(marks):
        group = None if mark == Mark.SKIPPED else await call.edge.service.group(execution_id, task_name, index)
        if group is not None and group.state is not None:
            contexts.append(copy_json(group.state.context))
    if task.category is Category.FOREACH:
        return {"sub_context": contexts}
    return {key: value for context in contexts for key, value in context.items()}


async def _applied(call: Call, rules: Sequence[MappingRule], work: Json, execution_id: str) -> Json:
    """Apply rules in order to ``work``, which is changed. Raises MappingError."""
    edge = call.edge
    env = PassEnv(execution_id or MOCK_EXECUTION, edge.server_url + edge.trigger_uri)

    def run() -> None:
        transforms = _Metered(edge.transforms, edge.limits)
        Entangled(compile_rules(rules, transforms)).apply(work, env)
        transforms.check()

    if rules:
        await asyncio.to_thread(run)
    return work


class _Metered:
    """A TransformCompiler whose scripts share one allowance: each has its own limit, but a hundred of them add up."""

    def __init__(self, scripts: Callable[[str], Expression], limits: EdgeLimits) -> None:
        self._scripts = scripts
        self._meter = Meter(limits.tool_steps, limits.tool_bytes, "the request")
        self._is_spent = False

    def __call__(self, text: str) -> Transform:
        self._meter.use(len(text) * _COMPILE_STEPS)
        self.check()
        compiled = self._scripts(text)

        def run(variables: Mapping[str, Any]) -> Any:
            self.check()
            try:
                return compiled(variables, meter=self._meter)
            except BudgetExceeded as error:
                self._is_spent = str(error).startswith(self._meter.name)  # else it is the script's own budget
                self.check()
                raise

        return run

    def check(self) -> None:
        """Raise TooMuch, which no tolerance covers, when nothing is left for another script."""
        meter = self._meter
        if self._is_spent or meter.steps_left < 0 or meter.bytes_left < 0:
            raise TooMuch(f"the rules need more than {meter.steps} steps or {meter.bytes} bytes together")


def _object(body: Json, name: str) -> Json:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedField(f"{name} must be a JSON object", field=name)
    return value


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedField(f"{name} must be a text", field=name)
    return value.strip()
