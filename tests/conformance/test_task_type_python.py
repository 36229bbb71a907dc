"""The python task type: registered callables only, arguments, results, timeouts."""

from __future__ import annotations

import asyncio
import enum
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tornflow.errors import ConfigError
from tornflow.spi.task_type import Answered, Failed, Outcome
from tornflow.testing.task_type import ScriptedHost, TaskTypeCase, TaskTypeConformance, attempt_of
from tornflow_task_python import PythonTaskType
from tornflow_task_python.callables import Register

EXAMPLES = Path(__file__).parents[2] / "examples" / "callables"


def add(left: int, right: int = 1) -> int:
    return left + right


def whole(input: dict[str, Any]) -> dict[str, Any]:
    return {"got": input}


def anything(**entries: Any) -> dict[str, Any]:
    return entries


def spoil(items: list[int]) -> int:
    items.clear()
    return 0


def broken() -> None:
    raise LookupError("no such colour")


def leave() -> None:
    sys.exit(3)


def stop_iterating() -> None:
    next(iter(()))


async def greet(name: str) -> dict[str, str]:
    await asyncio.sleep(0)
    return {"greeting": f"hello {name}"}


async def broken_async() -> None:
    raise LookupError("no such colour")


async def leave_async() -> None:
    sys.exit(3)


async def never() -> None:
    await asyncio.Event().wait()


def forgotten_await() -> Any:
    return greet("Ada")


def give(what: str) -> Any:
    return VALUES[what]


def only_positional(x: int, /) -> int:
    return x


class Colour(enum.StrEnum):
    RED = "red"


VALUES: dict[str, Any] = {
    "none": None,
    "list": [1, (2, 3)],
    "text": "x",
    "enum": Colour.RED,
    "object": {"a": {"b": 2**80}},
    "set": {1},
    "deep object": {"a": [1, {"b": b"x"}]},
    "nan": {"x": float("nan")},
    "number key": {1: 2},
}
GATE = threading.Event()


def wait_for_gate() -> str:
    GATE.wait(20)
    return "late"


NAMES = [
    name for name, value in list(globals().items()) if callable(value) and getattr(value, "__module__", "") == __name__
]


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make this file importable by name, as an operator's module is."""
    here = ModuleType("my_callables")
    here.__dict__.update(globals())
    monkeypatch.setitem(sys.modules, "my_callables", here)
    GATE.clear()
    yield
    GATE.set()


def settings(**more: Any) -> dict[str, Any]:
    return {
        "callables": {
            name: f"my_callables:{name}" for name in NAMES if name[0].islower() and name != "only_positional"
        },
        **more,
    }


class TestPythonConformance(TaskTypeConformance):
    @asynccontextmanager
    async def case(self) -> AsyncIterator[TaskTypeCase]:
        yield TaskTypeCase(
            PythonTaskType(),
            ScriptedHost(settings()),
            good=attempt_of("python://add", {"left": 1}),
            failing=attempt_of("python://spoil", {"items": None}),
            bad_settings=(
                {"thread": 3},
                {"threads": 1.5},
                {"timeout_s": "long"},
                {"callables": ["a"]},
                {"callables": {"a": "no-colon"}},
                {"callables": {"a": "no.such.module:f"}},
                {"callables": {"a": "my_callables:VALUES"}},
                {"callables": {"a": "my_callables:only_positional"}},
            ),
        )


async def run(name: str, input: dict[str, Any] | None = None, **more: Any) -> Outcome:
    task_type = PythonTaskType()
    await task_type.start(ScriptedHost(settings(**more)))
    try:
        return await task_type.execute(attempt_of(f"python://{name}", input))
    finally:
        await task_type.stop()


async def test_entries_of_the_input_are_keyword_arguments() -> None:
    assert await run("add", {"left": 1, "right": 2}) == Answered({"result": 3})
    assert await run("add", {"left": 1}) == Answered({"result": 2})
    assert await run("anything", {"a": 1, "name": 2}) == Answered({"a": 1, "name": 2})


async def test_one_parameter_named_input_gets_the_whole_object() -> None:
    assert await run("whole", {"a": 1, "input": 2}) == Answered({"got": {"a": 1, "input": 2}})


async def test_coroutines_run_on_the_loop() -> None:
    assert await run("greet", {"name": "Ada"}) == Answered({"greeting": "hello Ada"})


@pytest.mark.parametrize(
    ("input", "complaint"),
    [
        ({}, "missing left"),
        ({"left": 1, "middle": 2, "up": 3}, "unexpected middle, up"),
        ({"up": 3}, "missing left; unexpected up"),
    ],
)
async def test_entries_that_do_not_fit_are_all_named(input: dict[str, Any], complaint: str) -> None:
    expected = f"python://add: input does not fit: {complaint} (it takes left, [right])"
    assert await run("add", input) == Failed(expected, "unsendable")


@pytest.mark.parametrize("name", ["os:system", "os.system", "builtins:eval", "", "../x", "my_callables:add"])
async def test_what_is_not_registered_is_never_imported(name: str) -> None:
    outcome = await run(name, {"command": "x"})
    assert isinstance(outcome, Failed)
    assert f"no callable is registered as {name!r}" in outcome.message


async def test_a_near_miss_is_named() -> None:
    outcome = await run("ad")
    assert isinstance(outcome, Failed) and "did you mean 'add'?" in outcome.message


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("none", {"result": None}),
        ("list", {"result": [1, [2, 3]]}),
        ("text", {"result": "x"}),
        ("enum", {"result": "red"}),
        ("object", {"a": {"b": 2**80}}),
    ],
)
async def test_an_object_is_the_answer_and_anything_else_becomes_its_result(what: str, value: Any) -> None:
    assert await run("give", {"what": what}) == Answered(value)


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("set", "result is of type set, which is not JSON"),
        ("deep object", "result.a[1].b is of type bytes, which is not JSON"),
        ("nan", "result.x is nan, which is not JSON"),
        ("number key", "result has a key of type int; keys must be texts"),
    ],
)
async def test_a_result_that_is_not_json_fails_with_its_place_and_type(what: str, complaint: str) -> None:
    assert await run("give", {"what": what}) == Failed(f"python://give: {complaint}", "not_json")


async def test_a_result_nested_without_end_fails() -> None:
    endless: list[Any] = []
    endless.append(endless)
    VALUES["endless"] = endless
    outcome = await run("give", {"what": "endless"})
    assert isinstance(outcome, Failed) and "nested more than 200 levels deep" in outcome.message


@pytest.mark.parametrize("name", ["broken", "broken_async"])
async def test_an_exception_is_its_type_and_text_and_is_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await run(name) == Failed("LookupError: no such colour", "LookupError")
    assert [record.exc_info is not None for record in caplog.records if record.name == "tornflow.python"] == [True]


@pytest.mark.parametrize(
    ("name", "text"),
    [("leave", "SystemExit: 3"), ("leave_async", "SystemExit: 3"), ("stop_iterating", "StopIteration")],
)
async def test_no_exception_of_a_callable_reaches_the_server(name: str, text: str) -> None:
    assert await run(name) == Failed(text, text.partition(":")[0])


async def test_a_forgotten_await_is_explained() -> None:
    assert await run("forgotten_await") == Failed(
        "python://forgotten_await: returned a coroutine; register an async def function itself", "not_json"
    )


async def test_a_callable_cannot_change_the_input_of_the_task() -> None:
    given = {"items": [1, 2]}
    assert await run("spoil", given) == Answered({"result": 0})
    assert given == {"items": [1, 2]}


@pytest.mark.parametrize("name", ["never", "wait_for_gate"])
async def test_what_does_not_finish_fails_after_the_timeout(name: str) -> None:
    expected = f"python://{name}: did not finish within plugins.python.timeout_s = 0.05 s"
    assert await run(name, timeout_s=0.05) == Failed(expected, "timeout")


async def test_threads_are_bounded_and_a_call_that_found_none_says_so() -> None:
    task_type = PythonTaskType()
    await task_type.start(ScriptedHost(settings(threads=1, timeout_s=0.1)))
    stuck = asyncio.ensure_future(task_type.execute(attempt_of("python://wait_for_gate")))
    await asyncio.sleep(0)
    waiting = await task_type.execute(attempt_of("python://add", {"left": 1}))
    said = "python://add: found no free thread within plugins.python.timeout_s = 0.1 s"
    assert waiting == Failed(said, "timeout")
    assert isinstance(await stuck, Failed)
    GATE.set()  # the late result is ignored, and its thread works again
    assert await task_type.execute(attempt_of("python://add", {"left": 1})) == Answered({"result": 2})
    await task_type.stop()


async def test_stop_does_not_wait_for_a_function_that_never_returns() -> None:
    task_type = PythonTaskType()
    await task_type.start(ScriptedHost(settings(threads=1)))
    stuck = asyncio.ensure_future(task_type.execute(attempt_of("python://wait_for_gate")))
    await asyncio.sleep(0)
    stuck.cancel()
    await asyncio.wait_for(task_type.stop(), 5)
    with pytest.raises(asyncio.CancelledError):
        await stuck


def test_a_broken_entry_point_spoils_its_own_name_only() -> None:
    register = Register(
        {}, [EntryPoint("a", "no.such:f", "tornflow.callables"), EntryPoint("b", "my_callables:add", "")]
    )
    assert register.find("b").error == ""
    with pytest.raises(Exception, match="callable 'a' of no.such:f could not be loaded: ModuleNotFoundError"):
        register.find("a")


def test_two_packages_with_one_name_are_refused_and_the_configuration_wins_over_one() -> None:
    one, two = EntryPoint("a", "my_callables:add", ""), EntryPoint("a", "my_callables:whole", "")
    with pytest.raises(ConfigError, match="'a' is registered by both my_callables:add and my_callables:whole"):
        Register({}, [one, two])
    assert Register({"a": "my_callables:whole"}, [one]).find("a").takes_whole_input


async def test_the_sample_callables_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    task_type = PythonTaskType()
    places = {name: f"sample_callables:{name}" for name in ("add", "summary", "slowly")}
    await task_type.start(ScriptedHost({"callables": places}))
    assert await task_type.execute(attempt_of("python://add", {"left": 2})) == Answered({"result": 3})
    summary = await task_type.execute(attempt_of("python://summary", {"b": 1, "a": 2}))
    assert summary == Answered({"keys": ["a", "b"], "count": 2})
    assert await task_type.execute(attempt_of("python://slowly", {"text": "x"})) == Answered({"text": "x"})
    await task_type.stop()
