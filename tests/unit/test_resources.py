"""Resource checks at submission: limits learnt from answers, and what each check makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engines import ends, engine_with
from tests.unit.test_runner import Work
from tornflow.errors import ResourceLimited
from tornflow.runtime.resources import REMEMBERED_MS, ResourceCheck, Resources
from tornflow.spi.task_type import NO_ANSWER, Answered, Attempt, Failed, Outcome

S = "media:thumb"
A, B = "http://a/x", "http://b/x"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def wall_ms(self) -> int:
        return self.now


def hint(seconds: Any) -> Answered:
    return Answered({"sys_info": {"retry_interval_seconds": seconds}})


def made() -> tuple[Resources, Any]:
    clock: Any = Clock()
    return Resources(clock), clock


@pytest.mark.parametrize(
    "value",
    [
        {"data": {"sys_info": {"retry_interval_seconds": 3}}},
        {"sys_info": {"retry_interval_seconds": 3}},
        {"error_detail": {"retry_interval_seconds": 3}},
        {"error_detail": {"retry_interval_seconds": "3"}},
        {"data": [], "sys_info": {"retry_interval_seconds": 3.0}},
        {"data": {"sys_info": {"retry_interval_seconds": 0}}, "sys_info": {"retry_interval_seconds": 3}},
    ],
)
def test_a_hint_limits_the_resource_for_that_time(value: Any) -> None:
    resources, clock = made()
    resources.note(S, "a", A, Answered(value))
    assert resources.unsatisfied(S, None) == [A]
    clock.now += 3_000
    assert resources.unsatisfied(S, None) == [A]
    clock.now += 1
    assert resources.unsatisfied(S, None) == []
    assert not resources.has_limits


@pytest.mark.parametrize(
    "outcome",
    [
        NO_ANSWER,
        Answered([1]),
        Answered({"data": 5}),
        Failed("no"),
        *map(hint, (0, -1, True, None, "soon", "-3", [3], "9" * 10)),
    ],
)
def test_what_is_no_hint_limits_nothing(outcome: Outcome) -> None:
    resources, _ = made()
    resources.note(S, "a", A, outcome)
    assert not resources.has_limits
    assert [use.resource for use in resources.uses(S)] == [A]


def test_a_hint_of_any_size_is_taken() -> None:
    resources, _ = made()
    for size in (10**30, 1e300):
        resources.note(S, "a", A, hint(size))
    assert resources.unsatisfied(S, None) == [A]


@pytest.mark.parametrize(
    ("check", "limited", "refused"),
    [
        (None, [A], [A]),
        (ResourceCheck("short_board"), [A], [A]),
        (ResourceCheck("long_board"), [A], []),
        (ResourceCheck("long_board"), [A, B], [A, B]),
        (ResourceCheck("key_resource", (B,)), [A], []),
        (ResourceCheck("key_resource", (B, "http://c/x")), [A, B], [B]),
        (ResourceCheck("key_resource"), [A, B], []),
        (ResourceCheck("skip"), [A, B], []),
    ],
)
def test_the_checks(check: ResourceCheck | None, limited: list[str], refused: list[str]) -> None:
    resources, _ = made()
    for resource in (A, B):
        resources.note(S, "t", resource, hint(9) if resource in limited else Answered({}))
    assert resources.unsatisfied(S, check) == refused
    assert resources.unsatisfied("media:other", check) == []


def test_a_sub_flow_inherits_the_limit_of_its_tasks() -> None:
    resources, _ = made()
    resources.note(S, "sub", "rillflow://media:child:release", Answered({}))
    resources.note("media:child", "sub", "rillflow://media:thumb", Answered({}))  # and they call each other
    resources.note("media:child", "t", A, hint(9))
    assert resources.unsatisfied(S, None) == ["rillflow://media:child:release"]


def test_limits_can_be_lifted_and_forgotten() -> None:
    resources, clock = made()
    resources.note(S, "a", A, hint(9))
    resources.note(S, "b", B, hint(9))
    resources.clear(S, [A])
    assert resources.unsatisfied(S, None) == [B]
    resources.clear(S, None)
    assert list(resources.uses(S)) == []
    assert resources.unsatisfied(S, None) == []
    resources.note(S, "a", A, Answered({}))
    clock.now += REMEMBERED_MS + 1
    assert list(resources.uses(S)) == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tornflow.runtime.resources._USES", 3)
    resources, clock = made()
    for name in "abcde":
        resources.note(f"media:{name}", "t", A, Answered({}))
    assert [name for name in "abcde" if list(resources.uses(f"media:{name}"))] == ["a", "b", "c"]
    clock.now += REMEMBERED_MS + 1
    resources.note("media:e", "t", A, Answered({}))
    assert [name for name in "abcde" if list(resources.uses(f"media:{name}"))] == ["e"]


FLOW = """
workspace: demo
dagName: one
type: flow
tasks: [{category: function, name: a, pattern: task_sync, resourceName: 'test://a'}]
"""


async def test_a_submission_is_refused_while_an_executor_asks_to_be_left_alone() -> None:
    async def busy(_: Attempt) -> Outcome:
        return hint(600)

    async with engine_with([FLOW], Work(busy)) as (engine, _):
        await ends(engine, await engine.service.submit("demo:one", {}))
        with pytest.raises(ResourceLimited, match="resource limit resources: test://a") as refused:
            await engine.service.submit("demo:one", {})
        assert refused.value.details["resources"] == ["test://a"]
        await ends(engine, await engine.service.submit("demo:one", {}, resource_check=ResourceCheck("skip")))
        engine.service.resources.clear("demo:one", ["test://a"])
        await ends(engine, await engine.service.submit("demo:one", {}))
