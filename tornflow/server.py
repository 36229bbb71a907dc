"""Wiring: settings to engine, engine to edges, signals to a clean end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Info
from tornado.httpserver import HTTPServer

from tornflow import __version__
from tornflow.api import make_application, make_dapr_application
from tornflow.api.edge import REFERENCE_CALLBACK_CHARS, Edge, EdgeLimits
from tornflow.api.rill.callback import callback_body, name_failures
from tornflow.config import Settings
from tornflow.config.sections import RillSettings
from tornflow.descriptors import DescriptorLimits
from tornflow.engine.expressions import Budget, warm_up
from tornflow.engine.program import Rules
from tornflow.errors import ConfigError, InvalidDescriptor, StorageUnavailable, TornflowError
from tornflow.open_files import allow_open_files
from tornflow.ports import Listening, listen
from tornflow.runtime.discovery import discover, find_storage
from tornflow.runtime.dispatcher import DispatchSettings
from tornflow.runtime.engine import Engine, EngineSettings
from tornflow.runtime.metrics import EngineMetrics
from tornflow.runtime.starting import ServiceSettings
from tornflow.spi.task_type import TaskType
from tornflow.supervisor import Link

_log = structlog.get_logger("tornflow.server")

_OTHER_FILES = 1024  # clients, the store, libraries

WrapTaskTypes = Callable[[Mapping[str, TaskType]], Mapping[str, TaskType]]


def serve(settings: Settings, supervisor: Link | None = None) -> int:
    """Run the server until SIGTERM, SIGINT or SIGHUP, or until its supervisor is gone; return the exit code."""
    return run(Server(settings, supervisor).run_until_signal())


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on uvloop where it is installed (extra ``speed``), else on asyncio's loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def start_engine(settings: Settings, task_types: WrapTaskTypes | None = None) -> Engine:
    """Return a running engine without any listening port (``tornflow run``, tests, embedding).

    ``task_types`` may put others in the place of those that are installed, by protocol.

    Raises:
        ConfigError, StorageUnavailable
    """
    engine = build_engine(settings, settings.server_url(), task_types)
    await engine.start()
    return engine


def build_engine(settings: Settings, server_url: str, task_types: WrapTaskTypes | None = None) -> Engine:
    """Wire an engine as configured; nothing is opened yet."""
    storage = find_storage(settings.storage.url, settings.storage_values())
    plugins = discover(disabled=settings.plugins.disabled)
    for report in plugins.failed:
        _log.warning("plugin not loaded", plugin=report.name, reason=report.error)
    if task_types is not None:
        plugins = replace(plugins, task_types=task_types(plugins.task_types))
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


class Server:
    """One process: an engine and its ports."""

    def __init__(self, settings: Settings, supervisor: Link | None = None) -> None:
        """``supervisor``: this is one of several processes behind one port (``tornflow serve --processes``)."""
        self._settings = settings
        self._supervisor = supervisor
        self._not_ready = "starting"
        self._closed = "the server is starting"
        self._servers: list[HTTPServer] = []
        self.engine: Engine | None = None
        self.ports: list[int] = []

    async def run_until_signal(self) -> int:
        stop = asyncio.Event()
        if self._supervisor is not None:
            self._supervisor.watch(stop.set)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        stopping = loop.create_task(stop.wait())
        try:
            await self._start_unless(stopping)
        except (TornflowError, OSError) as error:
            print(f"tornflow: {error}", file=sys.stderr)
            return 2
        finally:
            if not stop.is_set() and self._not_ready:
                stopping.cancel()
        if self._supervisor is not None:
            self._supervisor.say_ready()
        await stopping
        _log.info("draining")
        await self.close()
        _log.info("stopped")
        return 0

    async def _start_unless(self, stopping: asyncio.Task[Any]) -> None:
        """Start; recovery may take long, so that an order to stop ends it."""
        starting = asyncio.get_running_loop().create_task(self.start())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    async def start(self) -> None:
        """Bind first, so that a taken port is an error before anything is opened; then recover; then serve."""
        settings = self._settings
        allow_open_files(settings.outbound.connections + _OTHER_FILES)
        host, second_port = settings.server.host, settings.server.dapr_port
        is_shared = self._supervisor is not None
        port = listen(host, settings.server.port, is_shared=is_shared)
        dapr_port = listen(host, second_port, is_shared=is_shared) if second_port else None
        self.ports = [port.port] + ([dapr_port.port] if dapr_port else [])
        server_url = settings.server_url(port.port)
        engine = self.engine = build_engine(settings, server_url)
        edge = self._edge(engine, server_url)
        application = make_application(edge)
        self._serve(application, port)
        if dapr_port is not None:
            self._serve(make_dapr_application(edge, metrics=application.metrics), dapr_port)
        await asyncio.to_thread(warm_up)
        await engine.start(holds_attempts=True)
        await register_flows(engine, settings.flows.directory)
        # Everything made so far lives as long as the process: keep it out of full collections, and make those rarer.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self._not_ready = self._closed = ""
        engine.release()
        _log.info("serving", url=server_url, ports=self.ports, storage=settings.storage.url.partition("://")[0])

    async def close(self) -> None:
        """Stop intake, let requests and attempts in hand end, store everything, close.

        While attempts end, everything but submissions is still answered: they may call this server, and their executors
        report to it.
        """
        self._not_ready = "draining"
        if self.engine is not None:
            await self.engine.drain(self._settings.server.drain_timeout_s)
        self._closed = "the server is draining"
        for server in self._servers:
            server.stop()
        if self.engine is not None:
            await self.engine.close()
        for server in self._servers:
            await server.close_all_connections()

    def _serve(self, application: Any, listening: Listening) -> None:
        limit = self._settings.server.drain_limit_bytes
        server = HTTPServer(application, max_body_size=limit, max_buffer_size=limit)
        server.add_sockets(listening.sockets)
        self._servers.append(server)

    def _edge(self, engine: Engine, server_url: str) -> Edge:
        settings = self._settings
        return Edge(
            service=engine.service,
            catalog=engine.catalog,
            clock=engine.clock.wall_ms,
            is_ready=lambda: self._not_ready or engine.commits.trouble,
            closed=lambda: self._closed,
            limits=EdgeLimits(
                body_bytes=settings.server.body_limit_bytes,
                drain_bytes=settings.server.drain_limit_bytes,
                submit_chars=settings.rill.submit_limit_chars,
                callback_chars=callback_limit(settings.rill),
                json_depth=settings.server.json_depth_limit,
                page_size=settings.server.page_limit,
            ),
            descriptor_limits=DescriptorLimits(**settings.descriptor_values()),
            server_url=server_url,
            trigger_uri=settings.rill.trigger_uri,
            strict=settings.rill.strict,
            trigger_ignores_body_result=settings.rill.trigger_ignores_body_result,
            evaluate=lambda text, variables: engine.expressions(text)(variables),
            transforms=engine.expressions,
            preview=engine.plugins.preview,
            app_id=settings.dapr.app_id,
            version=__version__,
            dapr_api_token=settings.dapr.api_token,
            missing_instance_is_404=settings.dapr.missing_instance_is_404,
            registry=_registry(engine, self._supervisor.number if self._supervisor else 1),
        )


def callback_limit(rill: RillSettings) -> int:
    """Return the characters that the body of a completion may have (decisions, "Lives and attempts")."""
    return min(rill.callback_limit_chars, REFERENCE_CALLBACK_CHARS) if rill.strict else rill.callback_limit_chars


def _registry(engine: Engine, process: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(EngineMetrics(engine))
    # Figures are of one process: this says which one answered, where several share a port.
    about = Info("tornflow_process", "The process that answers", registry=registry)
    about.info({"process": str(process), "pid": str(os.getpid()), "node": engine.node_id})
    return registry


async def register_flows(engine: Engine, directory: str) -> None:
    """Add every YAML file of the configured folder under the alias ``release``.

    Raises:
        ConfigError: a file cannot be read or is no valid descriptor; it is named with its first problem.
    """
    if not directory:
        return
    folder = Path(directory)
    if not folder.is_dir():
        raise ConfigError(f"flows.directory: {directory} is not a folder")
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            text = path.read_text("utf-8")
            names = engine.catalog.names_in(text)
            await engine.catalog.add(text, business=names[0], feature=names[1], alias="release")
        except InvalidDescriptor as error:
            problem = error.problems[0]
            raise ConfigError(f"{path}:{problem.line}: {problem.message}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        except StorageUnavailable:
            raise


class _PluginSections(dict[str, Any]):
    """``plugins.<name>`` on demand: sections of plugins that are not built in are free-form."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def get(self, name: str, default: Any = None) -> Any:
        return self._settings.plugin(name)
