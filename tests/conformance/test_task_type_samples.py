"""The samples under examples/ are true: a plugin installed from outside, and an executor that speaks the protocol."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from tornflow.errors import ConfigError
from tornflow.runtime.discovery import PLUGIN_GROUP, discover
from tornflow.spi.task_type import Answered
from tornflow.testing.executor import Reply, ScriptedExecutor
from tornflow.testing.task_type import ScriptedHost, TaskTypeCase, TaskTypeConformance, attempt_of
from tornflow_task_http import HttpTaskType

EXAMPLES = Path(__file__).parents[2] / "examples"
PLUGIN = EXAMPLES / "greeting-plugin"


def install_sample(place: Path) -> None:
    """Lay the sample out as an installer would: its package beside the metadata made from its pyproject.toml.

    By hand, because a real installation needs build tools from the network.
    """
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())
    for package in project["tool"]["setuptools"]["packages"]:
        shutil.copytree(PLUGIN / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    name, version = project["project"]["name"], project["project"]["version"]
    info = place / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in project["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    install_sample(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(entry_points(group=PLUGIN_GROUP))
    monkeypatch.delitem(sys.modules, "greeting_plugin", raising=False)
    yield [point for point in found if point.name == "greeting"]
    sys.modules.pop("greeting_plugin", None)


def test_a_plugin_of_another_distribution_is_found_through_its_metadata(sample: list[EntryPoint]) -> None:
    plugins = discover(found=sample)
    report = plugins.loaded[0]
    assert (report.name, report.distribution, report.version) == ("greeting", "greeting-plugin", "1.0")
    assert report.gives == ("task type shout: Greet somebody loudly",)
    assert list(plugins.task_types) == ["shout"]


async def test_the_task_type_of_the_sample_plugin_works(sample: list[EntryPoint]) -> None:
    shout = discover(found=sample).task_types["shout"]
    await shout.start(ScriptedHost({"word": "hi"}))
    assert await shout.execute(attempt_of("shout://?!", {"name": "Ada"})) == Answered({"greeting": "HI ADA?!"})
    with pytest.raises(ConfigError, match="plugins.shout.word"):
        await shout.start(ScriptedHost({"word": 7}))


class TestSamplePluginConformance(TaskTypeConformance):
    """What docs/plugins.md tells an author to write."""

    @asynccontextmanager
    async def case(self) -> AsyncIterator[TaskTypeCase]:
        shout = load("greeting_plugin_under_test", PLUGIN / "greeting_plugin" / "__init__.py").ShoutTaskType()
        yield TaskTypeCase(
            shout,
            ScriptedHost(),
            good=attempt_of("shout://!", {"name": "Ada"}),
            failing=attempt_of("shout://!", {}),
            bad_settings=({"word": 7},),
        )


def load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def executor_url() -> Iterator[str]:
    """The sample executor in a thread of its own."""
    module = load("sample_executor_under_test", EXAMPLES / "executor" / "sample_executor.py")
    with module.SampleExecutor("127.0.0.1", 0, is_verbose=False) as executor:
        thread = threading.Thread(target=executor.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{executor.server_port}"
        executor.shutdown()
        thread.join()


@asynccontextmanager
async def http() -> AsyncIterator[HttpTaskType]:
    task_type = HttpTaskType()
    await task_type.start(ScriptedHost({"outbound": {"allow_loopback": True}}))
    try:
        yield task_type
    finally:
        await task_type.stop()


@pytest.mark.parametrize(
    ("path", "input", "expected"),
    [
        ("/calculate.json", {"left": 2, "right": 3}, {"result_type": "SUCCESS", "result_number": 5}),
        ("/calculate.json", {"left": 2}, {"result_type": "FAILED", "error_msg": "right must be a number, not None"}),
        ("/greet.json", {"query": {"user": "Ada"}}, {"result_type": "SUCCESS", "greeting": "Hello Ada"}),
    ],
)
async def test_the_sample_executor_answers_synchronous_calls(
    executor_url: str, path: str, input: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with http() as task_type:
        assert await task_type.execute(attempt_of(executor_url + path, input)) == Answered(expected)


async def test_the_sample_executor_acknowledges_and_calls_back_when_asked_to(executor_url: str) -> None:
    async with ScriptedExecutor() as server, http() as task_type:
        server.script("/flow/trigger.json", Reply(json={"result": "ok"}))
        back = f"{server.url}/flow/trigger.json?execution_id=e&task_name=job&ts=1"
        attempt = attempt_of(
            f"{executor_url}/executor.json", {"segment_item": 4}, pattern="task_async", callback_url=back
        )
        assert await task_type.execute(attempt) == Answered({"result_type": "SUCCESS"})
        call = (await server.wait_for_calls("/flow/trigger.json"))[0]
        assert call.query == {"execution_id": "e", "task_name": "job", "ts": "1"}
        assert (call.json["result_type"], call.json["executor_result"]) == ("SUCCESS", 40)


async def test_the_sample_executor_does_the_work_of_one_attempt_once(executor_url: str) -> None:
    async with http() as task_type:
        first = await task_type.execute(attempt_of(f"{executor_url}/calculate.json", {"left": 1, "right": 1}))
        again = await task_type.execute(attempt_of(f"{executor_url}/calculate.json", {"left": 9, "right": 9}))
        assert first == again == Answered({"result_type": "SUCCESS", "result_number": 2})
