"""Finds plugins and stores through entry points.

A plugin that cannot be loaded is reported and never takes the server down. Two plugins that claim the same protocol
(or name) are different: nobody could say which one runs, so that is a start-up error naming both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import pluggy
from pluggy import HookImpl

from tornflow.errors import ConfigError, PluginError, PluginLoadFailed, UnknownTaskType
from tornflow.spi import hookspecs
from tornflow.spi.hookspecs import ContextInitialiser, ExecutionNotice, TaskNotice
from tornflow.spi.storage import Storage
from tornflow.spi.task_type import Attempt, TaskType

log = logging.getLogger("tornflow.plugins")

PLUGIN_GROUP = "tornflow.plugins"
STORAGE_GROUP = "tornflow.storage"
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*")
_Observer = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class PluginReport:
    """What is known of one entry point. ``gives`` are lines such as ``task type http``; ``error`` is "" when loaded."""

    name: str
    distribution: str
    version: str
    gives: tuple[str, ...] = ()
    error: str = ""

    @property
    def source(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})".replace(" )", ")")


@dataclass(frozen=True, slots=True)
class Plugins:
    """Everything that installed plugins give. Read only after ``discover``."""

    task_types: Mapping[str, TaskType]
    """By protocol; a task type with several protocols stands there several times."""
    context_initialisers: tuple[ContextInitialiser, ...]
    loaded: tuple[PluginReport, ...]
    failed: tuple[PluginReport, ...]
    execution_observers: tuple[tuple[str, _Observer], ...] = ()
    task_observers: tuple[tuple[str, _Observer], ...] = ()

    def preview(self, attempt: Attempt) -> Mapping[str, Any] | None:
        """Return the ``{"url", "body"}`` that a task type would send; None if it has no method ``preview``.

        Raises:
            UnknownTaskType: nothing installed serves the protocol.
            PluginError: the task type refuses the attempt; its words.
        """
        task_type = self.task_types.get(attempt.protocol)
        if task_type is None:
            known = ", ".join(sorted(self.task_types))
            raise UnknownTaskType(f"resource protocol: {attempt.protocol} do not support; installed: {known}")
        show = getattr(task_type, "preview", None)
        try:
            shown: Mapping[str, Any] | None = None if show is None else show(attempt)
        except Exception as error:  # whatever a plugin raises is its answer
            raise PluginError(str(error) or type(error).__name__) from error
        return shown

    def execution_changed(self, notice: ExecutionNotice) -> None:
        """Tell every observer; one that raises is logged and disturbs nobody."""
        for name, observe in self.execution_observers:
            _observe(name, observe, notice)

    def task_changed(self, notice: TaskNotice) -> None:
        """Tell every observer; one that raises is logged and disturbs nobody."""
        for name, observe in self.task_observers:
            _observe(name, observe, notice)


def discover(*, disabled: Collection[str] = (), found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every plugin of the group ``tornflow.plugins``, in order of name.

    Args:
        disabled: names of entry points that are left out.
        found: takes the place of what is installed.

    Raises:
        ConfigError: two plugins have one name, or serve one protocol.
    """
    draft = _Draft()
    for entry_point in sorted(entry_points(group=PLUGIN_GROUP) if found is None else found, key=lambda e: e.name):
        if entry_point.name not in disabled:
            draft.add(entry_point)
    for report in draft.failed:
        log.error("plugin %s could not be loaded: %s", report.source, report.error)
    return draft.plugins()


def find_storage(url: str, settings: Mapping[str, Any], *, found: Iterable[EntryPoint] | None = None) -> Storage:
    """Return the unopened store for a URL; its scheme is the name of an entry point of ``tornflow.storage``.

    Raises:
        ConfigError: the URL has no scheme, no store serves it, two do, or the store refuses the URL or cannot load.
    """
    scheme, mark, _ = url.partition("://")
    points = list(entry_points(group=STORAGE_GROUP) if found is None else found)
    matches = [point for point in points if point.name == scheme]
    if not mark or not matches:
        known = ", ".join(sorted({point.name + "://" for point in points})) or "none is installed"
        shown = f"{scheme}://" if mark else url
        raise ConfigError(f"storage.url: no store serves {shown!r}; known: {known}", field="storage.url")
    if len(matches) > 1:
        both = " and ".join(_report(point).source for point in matches)
        raise ConfigError(f"storage.url: {scheme}:// is served by both {both}", field="storage.url")
    return _open(matches[0], url, settings)


def installed_stores() -> tuple[PluginReport, ...]:
    """Return the stores that are installed, by scheme, without loading them (drivers are slow to import)."""
    points = sorted(entry_points(group=STORAGE_GROUP), key=lambda point: point.name)
    return tuple(_report(point, gives=(f"storage {point.name}://",)) for point in points)


class _Draft:
    """Collects plugins one by one; one that fails leaves nothing behind."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.task_types: dict[str, TaskType] = {}
        self.owners: dict[str, PluginReport] = {}
        self.initialisers: list[ContextInitialiser] = []
        self.loaded: list[PluginReport] = []
        self.failed: list[PluginReport] = []

    def add(self, entry_point: EntryPoint) -> None:
        report = _report(entry_point)
        for other in (*self.loaded, *self.failed):
            if other.name == report.name:
                raise ConfigError(f"two plugins have the name {report.name!r}: {other.source} and {report.source}")
        try:
            plugin = entry_point.load()
            self.manager.register(plugin, report.name)
            self._check_hooks(plugin)
            types = [_checked(item) for item in self._answers(plugin, "tornflow_task_types")]
            initialisers = [_callable(item) for item in self._answers(plugin, "tornflow_context_initialisers")]
        except (Exception, SystemExit) as error:  # foreign code ran; whatever it did, the server goes on
            if self.manager.has_plugin(report.name):
                self.manager.unregister(name=report.name)
            text = error.message if isinstance(error, PluginLoadFailed) else f"{type(error).__name__}: {error}"
            self.failed.append(_report(entry_point, error=text))
            return
        self._claim(report, types)
        self.initialisers += initialisers
        self.loaded.append(_report(entry_point, gives=self._gives(plugin, types, initialisers)))

    def plugins(self) -> Plugins:
        return Plugins(
            task_types=self.task_types,
            context_initialisers=tuple(self.initialisers),
            loaded=tuple(self.loaded),
            failed=tuple(self.failed),
            execution_observers=self._observers("tornflow_execution_changed"),
            task_observers=self._observers("tornflow_task_changed"),
        )

    def _check_hooks(self, plugin: Any) -> None:
        for caller in self.manager.get_hookcallers(plugin) or ():
            if caller.spec is None:
                raise PluginLoadFailed(f"{caller.name} is not a hook of tornflow")
            if any(impl.plugin is plugin and (impl.wrapper or impl.hookwrapper) for impl in caller.get_hookimpls()):
                raise PluginLoadFailed(f"{caller.name}: hook wrappers are not supported")

    def _answers(self, plugin: Any, hook: str) -> list[Any]:
        answers: list[Any] = []
        for impl in self._impls(hook):
            if impl.plugin is plugin:
                given = impl.function()
                if not isinstance(given, list | tuple):
                    raise PluginLoadFailed(f"{hook} must return a list, not {type(given).__name__}")
                answers += given
        return answers

    def _impls(self, hook: str) -> list[HookImpl]:
        caller: pluggy.HookCaller = getattr(self.manager.hook, hook)
        return caller.get_hookimpls()

    def _claim(self, report: PluginReport, types: Iterable[TaskType]) -> None:
        for task_type in types:
            for protocol in task_type.protocols:
                if other := self.owners.get(protocol):
                    raise ConfigError(f"protocol {protocol}:// is served by both {other.source} and {report.source}")
                self.owners[protocol] = report
                self.task_types[protocol] = task_type

    def _gives(
        self, plugin: Any, types: Iterable[TaskType], initialisers: Collection[ContextInitialiser]
    ) -> tuple[str, ...]:
        lines = [f"task type {', '.join(task_type.protocols)}: {task_type.title}" for task_type in types]
        lines += [f"{len(initialisers)} context initialiser(s)"] if initialisers else []
        for hook, line in (
            ("tornflow_execution_changed", "observes executions"),
            ("tornflow_task_changed", "observes tasks"),
        ):
            lines += [line] if any(impl.plugin is plugin for impl in self._impls(hook)) else []
        return tuple(lines)

    def _observers(self, hook: str) -> tuple[tuple[str, _Observer], ...]:
        # An implementation may leave the argument out: pluggy's rule, kept here because each one is called alone.
        return tuple(
            (impl.plugin_name, impl.function if impl.argnames else lambda _, call=impl.function: call())
            for impl in self._impls(hook)
        )


def _observe(name: str, observe: _Observer, notice: ExecutionNotice | TaskNotice) -> None:
    try:
        observe(notice)
    except Exception:
        log.exception("plugin %s: its observer raised", name)


def _checked(item: Any) -> TaskType:
    """Return ``item`` if it has the shape of a task type: an error at start, not at the first attempt."""
    kind = type(item).__name__
    protocols = getattr(item, "protocols", None)
    if isinstance(item, type) or not isinstance(protocols, tuple) or not protocols:
        raise PluginLoadFailed(f"{kind} is not a task type: it needs a tuple 'protocols' (and must be an object)")
    for protocol in protocols:
        if not isinstance(protocol, str) or not _PROTOCOL.fullmatch(protocol):
            raise PluginLoadFailed(f"task type {kind}: {protocol!r} cannot be a protocol")
    if not isinstance(getattr(item, "title", None), str):
        raise PluginLoadFailed(f"task type {kind}: it needs a text 'title'")
    for method in ("start", "execute", "stop"):
        if not callable(getattr(item, method, None)):
            raise PluginLoadFailed(f"task type {kind}: the method {method!r} is missing")
    return cast(TaskType, item)


def _callable(item: Any) -> ContextInitialiser:
    if not callable(item):
        raise PluginLoadFailed(f"a context initialiser must be callable; {type(item).__name__} is not")
    return cast(ContextInitialiser, item)


def _open(entry_point: EntryPoint, url: str, settings: Mapping[str, Any]) -> Storage:
    try:
        open_storage = entry_point.load()
    except (Exception, SystemExit) as error:
        message = f"storage.url: the store {_report(entry_point).source} could not be loaded: {error}"
        raise ConfigError(message, field="storage.url") from error
    return cast(Storage, open_storage(url, settings))


def _report(entry_point: EntryPoint, *, gives: tuple[str, ...] = (), error: str = "") -> PluginReport:
    dist = entry_point.dist
    distribution, version = (dist.name, dist.version) if dist else (entry_point.value, "")
    return PluginReport(entry_point.name, distribution, version, gives, error)
