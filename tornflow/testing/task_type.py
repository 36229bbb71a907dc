"""The meaning of the task type contract, as a suite.

The author of a task type subclasses it and says what to run:

    class TestShout(TaskTypeConformance):
        @asynccontextmanager
        async def case(self):
            yield TaskTypeCase(ShoutTaskType(), ScriptedHost(), good=attempt_of("shout://x", {"text": "hi"}),
                               failing=attempt_of("shout://x", {}))

Every test is a plain function with an event loop of its own, so no plugin of pytest is needed.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tornflow.errors import ConfigError
from tornflow.spi.task_type import Answered, Attempt, Failed, TaskType

_PATIENCE_S = 20.0


class ScriptedHost:
    """A host for tests: fixed settings; ``start_child`` records its calls and gives ``child-1``, ``child-2``, ...

    ``refusal`` is raised instead if it is set. The same attempt gets the same child, as the contract says.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None, refusal: Exception | None = None) -> None:
        self.settings: Mapping[str, Any] = settings or {}
        self.refusal = refusal
        self.children: list[tuple[str, Mapping[str, Any]]] = []
        self._by_attempt: dict[str, str] = {}

    async def start_child(self, attempt: Attempt, descriptor_id: str, context: Mapping[str, Any]) -> str:
        if self.refusal is not None:
            raise self.refusal
        if attempt.idempotency_key not in self._by_attempt:
            self.children.append((descriptor_id, context))
            self._by_attempt[attempt.idempotency_key] = f"child-{len(self.children)}"
        return self._by_attempt[attempt.idempotency_key]


def attempt_of(resource: str, input: Mapping[str, Any] | None = None, **fields: Any) -> Attempt:
    """Return an attempt of a ``task_sync`` named ``job``; any field can be given."""
    defaults: dict[str, Any] = {
        "execution_id": "demo:flow_c_1",
        "task_name": "job",
        "number": 1,
        "protocol": resource.partition("://")[0],
        "idempotency_key": "demo:flow_c_1/job/1",
        "pattern": "task_sync",
        "server_url": "http://127.0.0.1:8080",
        "callback_url": "http://127.0.0.1:8080/flow/trigger.json?execution_id=demo%3Aflow_c_1&task_name=job&ts=1",
    }
    return Attempt(resource=resource, input=input or {}, **(defaults | fields))


@dataclass(frozen=True, slots=True)
class TaskTypeCase:
    """What the suite runs: a new task type, and attempts of which one is answered and one fails.

    ``bad_settings`` are settings that ``start`` must refuse; empty if the task type has none of its own.
    """

    task_type: TaskType
    host: ScriptedHost
    good: Attempt
    failing: Attempt
    bad_settings: tuple[Mapping[str, Any], ...] = field(default=())


class TaskTypeConformance:
    """Subclass it and implement ``case``."""

    def case(self) -> AbstractAsyncContextManager[TaskTypeCase]:
        """Return a fresh case; the task type is not started yet."""
        raise NotImplementedError

    def test_it_names_its_protocols_and_itself(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            protocols = case.task_type.protocols
            assert protocols and len(set(protocols)) == len(protocols)
            assert case.good.protocol in protocols
            assert case.task_type.title and "\n" not in case.task_type.title

        self._with_case(check)

    def test_a_good_attempt_is_answered_with_a_json_value(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            outcome = await case.task_type.execute(case.good)
            assert isinstance(outcome, Answered), outcome
            assert json.loads(json.dumps(outcome.value, allow_nan=False)) == outcome.value

        self._started(check)

    def test_a_failing_attempt_is_a_failed_outcome_with_a_readable_reason(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            outcome = await case.task_type.execute(case.failing)
            assert isinstance(outcome, Failed), outcome
            assert outcome.message.strip()
            assert "Traceback" not in outcome.message

        self._started(check)

    def test_a_failure_does_not_spoil_the_next_attempt(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            assert isinstance(await case.task_type.execute(case.failing), Failed)
            assert isinstance(await case.task_type.execute(case.good), Answered)

        self._started(check)

    def test_the_input_is_left_as_it_was(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            for attempt in (case.good, case.failing):
                before = copy.deepcopy(attempt.input)
                await case.task_type.execute(attempt)
                assert attempt.input == before

        self._started(check)

    def test_many_attempts_at_a_time_get_an_answer_each(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            attempts = [replace(case.good, idempotency_key=f"demo:flow_c_1/job/{n}") for n in range(50)]
            outcomes = await asyncio.gather(*map(case.task_type.execute, attempts))
            assert [type(outcome) for outcome in outcomes] == [Answered] * 50

        self._started(check)

    def test_a_cancelled_attempt_ends_and_the_next_one_works(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            running = asyncio.ensure_future(case.task_type.execute(case.good))
            await asyncio.sleep(0)  # let it begin
            running.cancel()
            await asyncio.wait([running], timeout=_PATIENCE_S)
            assert running.done()
            assert isinstance(await case.task_type.execute(case.good), Answered)

        self._started(check)

    def test_it_stops_after_work_and_leaves_no_task_behind(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            await case.task_type.start(case.host)
            await case.task_type.execute(case.good)
            await case.task_type.stop()
            await asyncio.sleep(0)  # cancelled tasks end in the next turn
            left = [task for task in asyncio.all_tasks() if _is_of(task, case.task_type)]
            assert left == []

        self._with_case(check)

    def test_bad_settings_are_refused_with_the_name_of_the_setting(self) -> None:
        async def check(case: TaskTypeCase) -> None:
            if not case.bad_settings:
                pytest.skip("this task type has no settings of its own")
            for settings in case.bad_settings:
                with pytest.raises(ConfigError) as refused:
                    await case.task_type.start(ScriptedHost(settings))
                assert any(key in refused.value.message for key in settings), refused.value.message

        self._with_case(check)

    def _started(self, check: Callable[[TaskTypeCase], Coroutine[Any, Any, None]]) -> None:
        async def run(case: TaskTypeCase) -> None:
            await case.task_type.start(case.host)
            try:
                await check(case)
            finally:
                await case.task_type.stop()

        self._with_case(run)

    def _with_case(self, check: Callable[[TaskTypeCase], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            async with asyncio.timeout(_PATIENCE_S), self.case() as case:
                await check(case)

        asyncio.run(run())


def _is_of(task: asyncio.Task[Any], task_type: TaskType) -> bool:
    """Tell whether the task runs code of the package (folder) of the task type."""
    code = getattr(task.get_coro(), "cr_code", None)
    folder = Path(inspect.getfile(type(task_type))).parent
    return code is not None and Path(code.co_filename).is_relative_to(folder)
