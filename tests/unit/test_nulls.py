"""Contexts hold no null members of objects, whichever way a value comes in (rill-dsl 5.8; decisions, 20)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.by_hand import flow_of, function, loop
from tests.unit.engines import ends, engine_with, stored_state, waits_for
from tests.unit.test_runner import Work
from tornflow.engine.constants import default_context
from tornflow.engine.mapping import compile_input
from tornflow.model.descriptor import MappingRule
from tornflow.model.jsontext import dumps, loads, without_null_members
from tornflow.runtime.engine import Engine
from tornflow.spi.task_type import Answered, Attempt, Outcome

DIRTY = {"k": 1, "n": None, "o": {"n": None}, "l": [None, {"n": None}, [{"n": None, "word": "null"}]]}
CLEAN = {"k": 1, "o": {}, "l": [None, {}, [{"word": "null"}]]}
TEXT = dumps(DIRTY).decode()

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "null", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=20,
)


def take(source: str = "$.output.v", target: str = "$.context.v") -> dict[str, Any]:
    return {"outputMappings": [{"source": source, "target": target}]}


def give(source: str, target: str = "$.input.v") -> dict[str, Any]:
    return {"inputMappings": [{"source": source, "target": target}]}


async def answers(_: Attempt) -> Outcome:
    return Answered({"v": DIRTY, "top": None})


def plain(value: Any) -> Any:
    """The obvious way to do it."""
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items() if member is not None}
    return [plain(member) for member in value] if isinstance(value, list) else value


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_members_go_elements_stay_and_the_value_is_not_changed(value: Any) -> None:
    before = loads(dumps(value))
    found = without_null_members(value)
    assert found == plain(value)
    assert value == before
    assert (found is value) == (plain(value) == value)


def test_no_depth_is_too_deep() -> None:
    deep: Any = {"n": None}
    for _ in range(20_000):
        deep = [{"a": deep}]
    found = without_null_members(deep)
    for _ in range(20_000):
        found = found[0]["a"]
    assert found == {}


def test_constants_of_a_default_context_lose_them() -> None:
    assert default_context({"base": TEXT, "list": "[null]", "word": "null"}) == {
        "base": CLEAN, "list": [None], "word": "null",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "transform", "expected"),
    [
        ("$.context.a", None, False),
        ("$.context.l[*].a", None, False),
        ("[null]", None, False),
        ('{"n":null}', None, True),
        ("$.context['a','b']", None, True),
        ("$.context.l.first()", None, True),
        ("$.context.a", "source", True),
    ],
)
def test_an_input_knows_whether_it_may_hold_nulls(source: str, transform: str | None, expected: bool) -> None:
    made = compile_input([MappingRule(source, "$.input.a", transform)], lambda _: lambda found: found["source"])
    assert made.may_hold_nulls is expected


async def test_a_submitted_context_loses_them_and_a_null_takes_a_default_away() -> None:
    flow = flow_of("ex", [{"category": "pass", "name": "only"}], defaultContext={"base": TEXT, "gone": "1"})
    async with engine_with([flow]) as (engine, _):
        execution_id = await engine.service.submit("demo:ex", {"given": DIRTY, "gone": None, "zero": 0})
        state = await ends(engine, execution_id)
    assert state.context == {"base": CLEAN, "given": CLEAN, "zero": 0, "flow_execution_id": execution_id}


async def test_a_synchronous_answer_loses_them_only_when_it_becomes_context() -> None:
    task = function("a", "task_sync", resourceName="test://a", successConditions=["$.output.v.n"], **take())
    async with engine_with([flow_of("ex", [task])], Work(answers)) as (engine, _):
        state = await ends(engine, await engine.service.submit("demo:ex", {"v": 1}))
    assert state.tasks["a"].status == "SUCCEED"  # conditions look at the answer as it came
    assert state.context["v"] == CLEAN


def finish(engine: Engine, execution_id: str) -> Awaitable[Any]:
    return engine.service.finish(execution_id, "a", {"v": DIRTY}, success=True, token=None)


def trigger(engine: Engine, execution_id: str) -> Awaitable[Any]:
    return engine.service.trigger(execution_id, "a", {"v": DIRTY}, success=True, token=None)


def wakeup(engine: Engine, execution_id: str) -> Awaitable[Any]:
    return engine.service.wakeup(execution_id, "a", {"v": DIRTY}, token=None)


SUSPENSE = {"category": "suspense", "name": "a", "conditions": ["$.input.v"], **give("$.context.v"), **take()}


@pytest.mark.parametrize(
    ("task", "deliver"),
    [(function("a", resourceName="test://a", **take()), finish),
     (function("a", resourceName="test://a", **take()), trigger), (SUSPENSE, wakeup)],
)  # fmt: skip
async def test_what_is_delivered_loses_them(task: dict[str, Any], deliver: Callable[..., Awaitable[Any]]) -> None:
    async with engine_with([flow_of("ex", [task])]) as (engine, _):
        execution_id = await engine.service.submit("demo:ex", {})
        await waits_for(engine, execution_id, "a")
        await deliver(engine, execution_id)
        state = await ends(engine, execution_id)
    assert state.context["v"] == CLEAN


async def test_the_wake_check_sees_none_either() -> None:
    """Unlike the reference, whose check looks at the context before it is stored."""
    suspense = {**SUSPENSE, "conditions": ["$.input.v.n"]}
    async with engine_with([flow_of("ex", [suspense])]) as (engine, _):
        execution_id = await engine.service.submit("demo:ex", {})
        await waits_for(engine, execution_id, "a")
        await engine.service.wakeup(execution_id, "a", {"v": DIRTY}, token=None)
        state = await stored_state(engine, execution_id)
    assert (state.tasks["a"].status, state.context["v"]) == ("RUNNING", CLEAN)


async def test_redo_data_lose_them() -> None:
    async with engine_with([flow_of("ex", [{"category": "pass", "name": "a"}])]) as (engine, _):
        execution_id = await engine.service.submit("demo:ex", {"v": 1})
        await ends(engine, execution_id)
        await engine.service.redo(execution_id, ["a"], {"v": DIRTY, "w": None})
        state = await ends(engine, execution_id)
    assert state.context["v"] == CLEAN and "w" not in state.context


async def test_a_sub_flow_is_given_none() -> None:
    sub = function("sub", "flow_sync", resourceName="sub://demo:child", **give(TEXT), **take("$.output.v"))
    child = flow_of("child", [{"category": "pass", "name": "only"}])
    async with engine_with([flow_of("ex", [sub]), child]) as (engine, _):
        state = await ends(engine, await engine.service.submit("demo:ex", {}))
        below = await stored_state(engine, state.tasks["sub"].child_id or "")
    assert below.context["v"] == CLEAN
    assert state.context["v"] == CLEAN


async def test_groups_are_given_none_and_executors_what_a_constant_has() -> None:
    """The task of the loop takes one from a constant of its own; what came with the item is gone."""
    rules = [{"source": TEXT, "target": "$.input.constant"}, {"source": "$.context.x", "target": "$.input.x"},
             {"source": "$.context.rest", "target": "$.input.rest"}]  # fmt: skip
    inner = function("a", "task_sync", resourceName="test://a", inputMappings=rules)
    items = [{"source": f"[{TEXT}]", "target": "$.input.l"}, {"source": TEXT, "target": "$.input.rest"}]
    work = Work()
    async with engine_with([flow_of("ex", [loop(inner, inputMappings=items)])], work) as (engine, _):
        execution_id = await engine.service.submit("demo:ex", {})
        await ends(engine, execution_id)
        group = await stored_state(engine, execution_id, "loop_0")
    assert group.context == {"x": CLEAN, "rest": CLEAN}
    assert work.attempts[0].input == {"constant": DIRTY, "x": CLEAN, "rest": CLEAN}


async def test_conditions_of_a_choice_see_a_constant_whole_its_branch_does_not() -> None:
    inner = function("a", "task_sync", resourceName="test://a", **give("$.context.v"))
    choice = {"category": "choice", "name": "c", "choices": [{"condition": "$.input.v.n", "tasks": [inner]}]}
    work = Work()
    async with engine_with([flow_of("ex", [{**choice, **give(TEXT)}])], work) as (engine, _):
        state = await ends(engine, await engine.service.submit("demo:ex", {}))
    assert state.tasks["c"].status == "SUCCEED"
    assert [attempt.input for attempt in work.attempts] == [{"v": CLEAN}]


async def test_parameters_lose_them() -> None:
    task = function("a", "task_sync", resourceName="test://a", parameters={"v": DIRTY, "top": None})
    work = Work()
    async with engine_with([flow_of("ex", [task])], work) as (engine, _):
        await ends(engine, await engine.service.submit("demo:ex", {}))
    assert work.attempts[0].input == {"v": CLEAN}


async def test_a_rule_of_the_same_pass_still_counts_them() -> None:
    """They go when the context is stored, not in the middle of a pass."""
    rules = take()["outputMappings"] + take("$.context.v.length()", "$.context.n")["outputMappings"]
    task = function("a", "task_sync", resourceName="test://a", outputMappings=rules)
    async with engine_with([flow_of("ex", [task])], Work(answers)) as (engine, _):
        state = await ends(engine, await engine.service.submit("demo:ex", {}))
    assert (state.context["n"], state.context["v"]) == (len(DIRTY), CLEAN)
