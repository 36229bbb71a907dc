"""A descriptor compiled once: graphs with their neighbours, mappings and conditions as closures.

Running an execution never parses anything. A program is immutable and shared by all executions of its descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tornflow.engine.conditions import Condition, compile_condition
from tornflow.engine.constants import default_context
from tornflow.engine.custom_status import StatusPass, split_rules
from tornflow.engine.jsonpath import PathSyntaxError, compile_read
from tornflow.engine.jsonpath.removing import compile_removal
from tornflow.engine.mapping import (
    InputPass,
    OutputPass,
    PassEnv,
    TransformCompiler,
    compile_input,
    compile_output,
    compile_source,
)
from tornflow.model.descriptor import (
    ChoiceBranch,
    ChoiceTask,
    Descriptor,
    ForeachTask,
    FunctionTask,
    ReturnTask,
    SuspenseTask,
    SwitchTask,
    Task,
)

Source = Callable[[Mapping[str, Any], PassEnv], Any]
Case = tuple[Condition | None, tuple[str, ...], bool]
"""A case of a switch: condition (None is ``default``), targets, whether it breaks."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits and settings of the engine (section ``engine`` of the configuration)."""

    inline_tasks_per_step: int = 64
    context_limit_bytes: int = 1_048_576
    trigger_base: str = "http://127.0.0.1:8080/flow/trigger.json"
    is_strict: bool = False  # rill.strict: a foreach limit needs conditions (decisions, 19)
    has_nodes: bool = False  # other nodes may share the store: reports of groups are messages of the outbox
    event_buffer: int = 1000  # external events kept per execution until somebody waits for them
    attempts_kept: int = 100  # start and end of so many attempts are kept per task: the first one and the latest
    is_observed: bool = False  # somebody wants to hear of every change of a task's status


@dataclass(frozen=True, slots=True)
class Loop:
    """What a foreach needs: how to read its elements, to leave them out of its input, to name and to limit groups."""

    collection: Callable[[Mapping[str, Any]], Any]
    remove: Callable[[dict[str, Any]], dict[str, Any]]
    identity: Source | None
    conditions: tuple[Condition, ...]
    max_concurrency: Source | None


@dataclass(frozen=True, slots=True)
class CompiledTask:
    name: str
    definition: Task
    successors: tuple[str, ...]
    predecessors: tuple[str, ...]
    map_input: InputPass
    map_output: OutputPass
    timeout: Source | None
    wait_until: Source | None
    wait_for: Source | None
    conditions: tuple[Condition, ...]  # return and suspense: theirs; function: successConditions
    fail_conditions: tuple[Condition, ...] = ()  # suspense: interruptions
    retry_conditions: tuple[Condition, ...] = ()
    cases: tuple[Case, ...] = ()  # switch
    progress_args: tuple[tuple[str, Source], ...] = ()
    loop: Loop | None = None  # foreach
    branches: tuple[Condition | None, ...] = ()  # choice, in group order; None has no condition
    map_status: StatusPass | None = None

    @property
    def has_conditions(self) -> bool:
        return bool(self.conditions or self.fail_conditions)


@dataclass(frozen=True, slots=True)
class Graph:
    """One sibling list: the top level, the body of a foreach, or one branch of a choice."""

    tasks: Mapping[str, CompiledTask]
    roots: tuple[str, ...]
    places: Mapping[str, int]  # of each task in the YAML


@dataclass(frozen=True, slots=True)
class Program:
    descriptor: Descriptor
    root: Graph
    bodies: Mapping[str, Graph]  # foreach: by task name; choice: by ``name/branch index``
    default_context: Mapping[str, Any]
    timeout: Source | None
    map_callback: InputPass | None


def compile_program(descriptor: Descriptor, transforms: TransformCompiler) -> Program:
    bodies: dict[str, Graph] = {}
    callback = descriptor.callback
    return Program(
        descriptor=descriptor,
        root=_graph(descriptor.tasks, transforms, bodies),
        bodies=bodies,
        default_context=default_context(descriptor.default_context),
        timeout=_source(descriptor.timeline.timeout_s),
        map_callback=compile_input(callback.input_mappings, transforms) if callback else None,
    )


NOTHING = Program(
    descriptor=Descriptor(workspace="", dag_name="", type="flow", md5="", document={}),
    root=Graph({}, (), {}),
    bodies={},
    default_context={},
    timeout=None,
    map_callback=None,
)
"""The program of an execution whose workflow nobody knows; it ends as soon as it is created."""


def _graph(tasks: Iterable[Task], transforms: TransformCompiler, bodies: dict[str, Graph]) -> Graph:
    tasks = tuple(tasks)
    names = {task.name for task in tasks}
    before: dict[str, list[str]] = {task.name: [] for task in tasks}
    for task in tasks:
        for follower in dict.fromkeys(task.next):
            if follower in names:
                before[follower].append(task.name)
    compiled = {task.name: _task(task, names, tuple(before[task.name]), transforms) for task in tasks}
    for task in tasks:
        _compile_bodies(task, transforms, bodies)
    roots = tuple(task.name for task in tasks if not before[task.name])
    return Graph(compiled, roots, {task.name: place for place, task in enumerate(tasks)})


def _compile_bodies(task: Task, transforms: TransformCompiler, bodies: dict[str, Graph]) -> None:
    if isinstance(task, ForeachTask):
        bodies[task.name] = _graph(task.tasks, transforms, bodies)
    elif isinstance(task, ChoiceTask):
        # Branches are numbered by condition text, ignoring case (rill-dsl 8.1).
        for number, branch in enumerate(_in_group_order(task)):
            bodies[f"{task.name}/{number}"] = _graph(branch.tasks, transforms, bodies)


def _in_group_order(task: ChoiceTask) -> list[ChoiceBranch]:
    return sorted(task.choices, key=lambda one: (one.condition or "").lower())


def _loop(task: ForeachTask) -> Loop:
    iteration, limit = task.iteration, task.synchronization
    try:
        collection = compile_read(iteration.collection)
    except PathSyntaxError:
        collection = _nothing
    removal = compile_removal(iteration.collection)
    return Loop(
        collection=collection,
        remove=lambda task_input: removal({"input": task_input}).get("input") or {},
        identity=_source(iteration.identity),
        conditions=tuple(map(compile_condition, limit.conditions)),
        max_concurrency=_source(limit.max_concurrency),
    )


def _nothing(_document: Any) -> Any:
    return None


def _task(task: Task, names: set[str], before: tuple[str, ...], transforms: TransformCompiler) -> CompiledTask:
    conditions: tuple[str, ...] = ()
    fail_conditions: tuple[str, ...] = ()
    retry_conditions: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    branches: tuple[Condition | None, ...] = ()
    match task:
        case FunctionTask():
            conditions, fail_conditions = task.success_conditions, task.fail_conditions
            retry_conditions = task.retry.conditions
        case ReturnTask():
            conditions = task.conditions or ()
        case SuspenseTask():
            conditions, fail_conditions = task.conditions or (), task.interruptions
        case ChoiceTask():
            found = _in_group_order(task)
            branches = tuple(compile_condition(one.condition) if one.condition else None for one in found)
        case SwitchTask():
            cases = tuple(_case(one.condition, one.next, one.is_break) for one in task.switches)
        case _:
            pass
    timeline = task.timeline
    output_rules, status_rules = split_rules(task.output_mappings)
    return CompiledTask(
        name=task.name,
        definition=task,
        successors=tuple(name for name in dict.fromkeys(task.next) if name in names),
        predecessors=before,
        map_input=compile_input(task.input_mappings, transforms),
        map_output=compile_output(output_rules, transforms),
        timeout=_source(timeline.timeout_s),
        wait_until=_source(timeline.suspense_timestamp),
        wait_for=_source(timeline.suspense_interval_s),
        conditions=tuple(map(compile_condition, conditions)),
        fail_conditions=tuple(map(compile_condition, fail_conditions)),
        retry_conditions=tuple(map(compile_condition, retry_conditions)),
        cases=cases,
        progress_args=tuple(
            (rule.variable, compile_source(rule.source))
            for rule in task.progress.args
            if rule.variable and rule.source
        ),
        loop=_loop(task) if isinstance(task, ForeachTask) else None,
        branches=branches,
        map_status=StatusPass(status_rules, transforms) if status_rules else None,
    )


def _case(condition: str | None, targets: tuple[str, ...], is_break: bool) -> Case:
    if condition == "default":
        return None, targets, is_break
    return (compile_condition(condition) if condition else _never), targets, is_break


def _never(_document: Mapping[str, Any]) -> bool:
    return False


def _source(text: str | None) -> Source | None:
    return compile_source(text) if text else None
