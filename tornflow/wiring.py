"""Settings to engine: the only place that knows both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import structlog

from tornflow.api.rill.callback import callback_body, name_failures
from tornflow.config import Settings
from tornflow.descriptors import DescriptorLimits
from tornflow.engine.expressions import Budget
from tornflow.engine.program import Rules
from tornflow.errors import StorageUnavailable
from tornflow.runtime.discovery import discover, find_storage
from tornflow.runtime.dispatcher import DispatchSettings
from tornflow.runtime.engine import Engine, EngineSettings
from tornflow.runtime.starting import ServiceSettings
from tornflow.spi.hookspecs import TaskNotice
from tornflow.spi.storage import Storage
from tornflow.spi.task_type import TaskType

_log = structlog.get_logger("tornflow.server")
_PAUSE_S = 0.5  # between two looks for a store that is not there yet

WrapTaskTypes = Callable[[Mapping[str, TaskType]], Mapping[str, TaskType]]


async def start_engine(
    settings: Settings,
    task_types: WrapTaskTypes | None = None,
    on_task: Callable[[TaskNotice], None] | None = None,
) -> Engine:
    """Return a running engine without any listening port (``tornflow run``, tests, embedding).

    ``task_types`` may put others in the place of those that are installed, by protocol. ``on_task`` hears of every
    change of a task, like the observers of plug-ins.

    Raises:
        ConfigError, StorageUnavailable
    """
    engine = build_engine(settings, settings.server_url(), task_types, on_task)
    await engine.start()
    return engine


async def open_store(storage: Storage, wait_s: float) -> None:
    """Open a store that may come later than the server.

    Raises:
        ConfigError: waiting would not help.
        StorageUnavailable: it did not come within ``wait_s``.
    """
    loop = asyncio.get_running_loop()
    end, has_said = loop.time() + wait_s, False
    while True:
        try:
            return await storage.open()
        except StorageUnavailable as error:
            if not has_said:
                _log.warning("waiting for the store", reason=str(error), wait_s=wait_s)
            has_said = True
            if loop.time() + _PAUSE_S > end:
                raise StorageUnavailable(f"{error} (storage.wait_s = {wait_s:g} s are over)") from error
        await asyncio.sleep(_PAUSE_S)


def build_engine(
    settings: Settings,
    server_url: str,
    task_types: WrapTaskTypes | None = None,
    on_task: Callable[[TaskNotice], None] | None = None,
) -> Engine:
    """Wire an engine as configured; nothing is opened yet."""
    storage = find_storage(settings.storage.url, settings.storage_values())
    plugins = discover(disabled=settings.plugins.disabled)
    for report in plugins.failed:
        _log.warning("plugin not loaded", plugin=report.name, reason=report.error)
    if task_types is not None:
        plugins = replace(plugins, task_types=task_types(plugins.task_types))
    if on_task is not None:
        plugins = replace(plugins, task_observers=(*plugins.task_observers, ("on_task", on_task)))
    return Engine(storage, plugins, _engine_settings(settings, server_url), callback_body, name_failures)


def _engine_settings(settings: Settings, server_url: str) -> EngineSettings:
    engine, rill = settings.engine, settings.rill
    return EngineSettings(
        rules=Rules(
            inline_tasks_per_step=engine.inline_tasks_per_step,
            context_limit_bytes=engine.context_limit_bytes,
            trigger_base=server_url + rill.trigger_uri,
            is_strict=rill.strict,
            event_buffer=engine.event_buffer,
            attempts_kept=engine.attempts_kept,
        ),
        dispatch=_dispatch_settings(settings, server_url),
        service=ServiceSettings(
            engine.flow_depth,
            engine.context_limit_bytes,
            settings.dispatch.max_waiting,
            settings.dispatch.max_waiting_per_flow,
            default_business=settings.dapr.business_id,
            resource_check=rill.resource_check,
        ),
        catalog={
            "strict_names": rill.strict,
            "limits": DescriptorLimits(**settings.descriptor_values()),
            "max_versions": settings.descriptors.versions,
            "unused_texts_kept_ms": settings.descriptors.unused_texts_kept_s * 1000,
            "cache_size": engine.cache_flows,
        },
        budget=Budget(**asdict(settings.expressions)),
        plugins=_PluginSections(settings),
        outbound=settings.outbound_values(),
        cache_scopes=engine.cache_scopes,
        cache_bytes=engine.cache_bytes,
        head_inline_limit_bytes=engine.head_inline_limit_bytes,
        finished_retention_s=engine.finished_retention_s,
        failed_retention_s=engine.failed_retention_s,
        unknown_outcome_patience_s=engine.unknown_outcome_patience_s,
        timer_horizon_s=engine.timer_horizon_s,
        node_heartbeat_s=engine.node_heartbeat_s,
        node_timeout_s=engine.node_timeout_s,
        metrics_flows=settings.metrics.flows,
    )


def _dispatch_settings(settings: Settings, server_url: str) -> DispatchSettings:
    dispatch = settings.dispatch
    return DispatchSettings(
        server_url,
        settings.rill.trigger_uri,
        max_in_flight=dispatch.max_in_flight,
        per_target=dispatch.per_target,
        per_flow=dispatch.per_flow,
        callbacks=dispatch.callbacks,
    )


class _PluginSections(dict[str, Any]):
    """``plugins.<name>`` on demand: sections of plugins that are not built in are free-form."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def get(self, name: str, default: Any = None) -> Any:
        return self._settings.plugin(name)
