"""The sub-flow task type: what it asks the host for, and what it makes of the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tornflow.errors import DescriptorNotFound, NestingTooDeep, StorageUnavailable, TornflowError
from tornflow.spi.task_type import Answered, Failed
from tornflow.testing.task_type import ScriptedHost, TaskTypeCase, TaskTypeConformance, attempt_of
from tornflow_task_subflow import SubflowTaskType


class TestSubflowConformance(TaskTypeConformance):
    @asynccontextmanager
    async def case(self) -> AsyncIterator[TaskTypeCase]:
        yield TaskTypeCase(
            SubflowTaskType(),
            ScriptedHost(),
            good=attempt_of("rillflow://demo:child", {"a": 1}, pattern="flow_sync"),
            failing=attempt_of("rillflow://", pattern="flow_sync"),
            bad_settings=({"depth": 3},),
        )


async def test_it_starts_the_child_with_the_input_and_answers_its_id() -> None:
    host, task_type = ScriptedHost(), SubflowTaskType()
    await task_type.start(host)
    attempt = attempt_of("rillflow://demo:child:beta", {"a": 1}, pattern="flow_async")
    assert await task_type.execute(attempt) == Answered({"execution_id": "child-1"})
    assert await task_type.execute(attempt) == Answered({"execution_id": "child-1"})
    assert host.children == [("demo:child:beta", {"a": 1})]


@pytest.mark.parametrize(
    "error",
    [DescriptorNotFound("no flow demo:child"), NestingTooDeep("exceed max depth"), StorageUnavailable("disk full")],
)
async def test_what_the_host_refuses_is_a_failed_attempt(error: TornflowError) -> None:
    task_type = SubflowTaskType()
    await task_type.start(ScriptedHost(refusal=error))
    outcome = await task_type.execute(attempt_of("rillflow://demo:child"))
    assert outcome == Failed(f"sub-flow demo:child could not be started: {error.message}", error.code)
