"""Discovery: what is found, what fails alone, what stops the start."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from tornflow.errors import ConfigError
from tornflow.runtime.discovery import PLUGIN_GROUP, STORAGE_GROUP, Plugins, discover, find_storage
from tornflow.spi.hookspecs import ExecutionNotice, TaskNotice, hookimpl

EXECUTION = ExecutionNotice("e", "demo:flow", "RUNNING", 1)
TASK = TaskNotice("e", "demo:flow", "job", "SUCCEED", 1, 2)
Install = Callable[..., EntryPoint]


class FakeType:
    title = "A task type"

    def __init__(self, *protocols: str) -> None:
        self.protocols = protocols

    async def start(self, host: Any) -> None: ...

    async def execute(self, attempt: Any) -> Any: ...

    async def stop(self) -> None: ...


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a module with these hooks importable and return its entry point."""

    def installed(name: str, **hooks: Callable[..., Any]) -> EntryPoint:
        module = ModuleType(f"plugin_{name}")
        for hook, function in hooks.items():
            function.__name__ = hook
            setattr(module, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return EntryPoint(name, module.__name__, PLUGIN_GROUP)

    return installed


def broken(name: str = "broken") -> EntryPoint:
    return EntryPoint(name, "no_such_module", PLUGIN_GROUP)


def errors(plugins: Plugins) -> dict[str, str]:
    return {report.name: report.error for report in plugins.failed}


def test_task_types_are_found_by_each_of_their_protocols(install: Install) -> None:
    fake = FakeType("a", "as")
    plugins = discover(found=[install("one", tornflow_task_types=lambda: [fake])])
    assert dict(plugins.task_types) == {"a": fake, "as": fake}
    assert plugins.loaded[0].gives == ("task type a, as: A task type",)
    assert plugins.failed == ()


def test_the_built_in_task_types_are_installed_like_any_other() -> None:
    points = [
        EntryPoint("http", "tornflow_task_http", PLUGIN_GROUP),
        EntryPoint("python", "tornflow_task_python", PLUGIN_GROUP),
        EntryPoint("rillflow", "tornflow_task_subflow", PLUGIN_GROUP),
    ]
    plugins = discover(found=points)
    assert sorted(plugins.task_types) == ["http", "https", "python", "rillflow"]
    assert errors(plugins) == {}


def test_a_plugin_that_cannot_be_imported_is_reported_and_the_others_work(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = discover(found=[broken(), install("one", tornflow_task_types=lambda: [FakeType("a")])])
    assert errors(plugins) == {"broken": "ModuleNotFoundError: No module named 'no_such_module'"}
    assert list(plugins.task_types) == ["a"]
    assert "plugin broken (no_such_module) could not be loaded" in caplog.text


def leave() -> Any:
    sys.exit(3)


def not_there() -> Any:
    raise LookupError("not there")


@pytest.mark.parametrize(
    ("hooks", "error"),
    [
        ({"tornflow_task_types": not_there}, "LookupError: not there"),
        ({"tornflow_task_types": leave}, "SystemExit: 3"),
        ({"tornflow_task_types": lambda: None}, "tornflow_task_types must return a list, not NoneType"),
        ({"tornflow_task_types": lambda: ["x"]}, "str is not a task type: it needs a tuple 'protocols'"),
        ({"tornflow_task_types": lambda: [FakeType]}, "type is not a task type"),
        ({"tornflow_task_types": lambda: [FakeType()]}, "FakeType is not a task type"),
        ({"tornflow_task_types": lambda: [FakeType("a://")]}, "task type FakeType: 'a://' cannot be a protocol"),
        ({"tornflow_task_typos": not_there}, "tornflow_task_typos is not a hook of tornflow"),
        ({"tornflow_task_changed": lambda task: None}, "PluginValidationError"),
        ({"tornflow_context_initialisers": lambda: [1]}, "a context initialiser must be callable; int is not"),
    ],
)
def test_a_plugin_with_a_mistake_is_reported_with_it_and_leaves_nothing_behind(
    install: Install, hooks: Mapping[str, Callable[..., Any]], error: str
) -> None:
    bad = install("bad", tornflow_execution_changed=lambda notice: None, **hooks)
    plugins = discover(found=[bad, install("good", tornflow_task_types=lambda: [FakeType("a")])])
    assert error in errors(plugins)["bad"]
    assert list(plugins.task_types) == ["a"]
    assert plugins.execution_observers == ()


@pytest.mark.parametrize("attribute", ["title", "start", "execute", "stop"])
def test_a_task_type_without_a_part_of_the_contract_is_reported(install: Install, attribute: str) -> None:
    fake = FakeType("a")
    setattr(fake, attribute, None)
    plugins = discover(found=[install("bad", tornflow_task_types=lambda: [fake])])
    assert attribute in errors(plugins)["bad"]


def test_two_plugins_with_one_protocol_stop_the_start_and_both_are_named(install: Install) -> None:
    one = install("one", tornflow_task_types=lambda: [FakeType("a")])
    two = install("two", tornflow_task_types=lambda: [FakeType("b", "a")])
    with pytest.raises(ConfigError, match=r"a:// is served by both one \(plugin_one\) and two \(plugin_two\)"):
        discover(found=[two, one])
    assert list(discover(found=[two, one], disabled=["one"]).task_types) == ["b", "a"]


def test_two_plugins_with_one_name_stop_the_start(install: Install) -> None:
    with pytest.raises(ConfigError, match="two plugins have the name 'one'"):
        discover(found=[install("one"), broken("one")])


def test_context_initialisers_are_collected(install: Install) -> None:
    def initialise(context: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"region": "eu"}

    plugins = discover(found=[install("one", tornflow_context_initialisers=lambda: [initialise])])
    assert [initialiser({}) for initialiser in plugins.context_initialisers] == [{"region": "eu"}]
    assert plugins.loaded[0].gives == ("1 context initialiser(s)",)


def test_every_observer_hears_and_one_that_raises_disturbs_nobody(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []

    def raising(notice: object) -> None:
        raise RuntimeError("deaf")

    plugins = discover(
        found=[
            install("a", tornflow_execution_changed=raising, tornflow_task_changed=raising),
            install("b", tornflow_execution_changed=lambda notice: heard.append(notice)),
            install("c", tornflow_task_changed=lambda notice: heard.append(notice)),
            install("d", tornflow_task_changed=lambda: heard.append("no argument")),
        ]
    )
    with caplog.at_level(logging.ERROR):
        plugins.execution_changed(EXECUTION)
        plugins.task_changed(TASK)
    assert sorted(map(str, heard)) == sorted(map(str, [EXECUTION, TASK, "no argument"]))
    assert caplog.text.count("plugin a: its observer raised") == 2
    assert plugins.loaded[1].gives == ("observes executions",)


class FakeStore:
    def __init__(self, url: str, settings: Mapping[str, Any]) -> None:
        self.opened_with = (url, settings)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    module = ModuleType("fake_store")
    module.open_storage = FakeStore  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_store", module)
    return [
        EntryPoint("fake", "fake_store:open_storage", STORAGE_GROUP),
        EntryPoint("lost", "no_such_module:open_storage", STORAGE_GROUP),
    ]


def test_a_store_is_found_by_the_scheme_of_its_url(stores: list[EntryPoint]) -> None:
    storage: Any = find_storage("fake://place", {"x": 1}, found=stores)
    assert storage.opened_with == ("fake://place", {"x": 1})


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("redis://host", "storage.url: no store serves 'redis://'; known: fake://, lost://"),
        ("fake:place", "storage.url: no store serves 'fake:place'; known: fake://, lost://"),
        ("", "storage.url: no store serves ''; known: fake://, lost://"),
        ("lost://x", r"storage.url: the store lost \(no_such_module:open_storage\) could not be loaded: No module"),
    ],
)
def test_a_url_that_no_store_serves_names_the_known_ones(stores: list[EntryPoint], url: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        find_storage(url, {}, found=stores)


def test_two_stores_with_one_scheme_are_both_named(stores: list[EntryPoint]) -> None:
    with pytest.raises(ConfigError, match="fake:// is served by both fake .* and fake"):
        find_storage("fake://x", {}, found=[*stores, stores[0]])
