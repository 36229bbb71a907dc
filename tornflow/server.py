"""One server process: engine to edges, signals to a clean end."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Info, ProcessCollector

from tornflow import __version__
from tornflow.api import make_application, make_dapr_application
from tornflow.api.edge import REFERENCE_CALLBACK_CHARS, Edge, EdgeLimits
from tornflow.api.edge_server import EdgeServer
from tornflow.components import Components, ComponentSource, load_components
from tornflow.components.watching import Signature, signature, watch_components
from tornflow.config import Settings
from tornflow.config.sections import RillSettings
from tornflow.descriptors import DescriptorLimits
from tornflow.engine.expressions import warm_up
from tornflow.errors import TornflowError
from tornflow.flow_files import log_flows, register_flows
from tornflow.logs import set_level
from tornflow.loop_lag import LoopLag
from tornflow.open_files import allow_open_files
from tornflow.ports import Listening, listen
from tornflow.runtime.engine import Engine
from tornflow.runtime.metrics import EngineMetrics
from tornflow.runtime.templates import Templates
from tornflow.signals import on_signal
from tornflow.supervisor import Link
from tornflow.wiring import build_engine, open_store

_log = structlog.get_logger("tornflow.server")

_OTHER_FILES = 1024  # clients, the store, libraries

ReadSettings = Callable[[], Settings]


def serve(settings: Settings, supervisor: Link | None = None, read_settings: ReadSettings | None = None) -> int:
    """Run the server until SIGTERM or SIGINT, or until its supervisor is gone; return the exit code.

    SIGHUP reloads what can be changed while it runs, out of what ``read_settings`` returns; to a process of a
    supervisor it means to stop, because the next one reads everything again.
    """
    return run(Server(settings, supervisor, read_settings).run_until_signal())


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on uvloop where it is installed (extra ``speed``), else on asyncio's loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


class Server:
    """One process: an engine and its ports."""

    def __init__(
        self, settings: Settings, supervisor: Link | None = None, read_settings: ReadSettings | None = None
    ) -> None:
        """``supervisor``: this is one of several processes behind one port (``tornflow serve --processes``)."""
        self._settings = settings
        self._read_settings = read_settings or (lambda: settings)
        self._lag = LoopLag()
        self._supervisor = supervisor
        self._not_ready = "starting"
        self._closed = "starting"
        self._servers: list[EdgeServer] = []
        self._source = ComponentSource(**settings.component_values())
        self._components = Components()
        self._seen: Signature = ()
        self._watching: asyncio.Task[None] | None = None
        self.engine: Engine | None = None
        self.ports: list[int] = []

    async def run_until_signal(self) -> int:
        stop = asyncio.Event()
        if self._supervisor is not None:
            self._supervisor.watch(stop.set)
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            on_signal(name, stop.set)
        hang_up = asyncio.Event()
        on_signal("SIGHUP", hang_up.set if self._supervisor is None else stop.set)
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
        reloading = loop.create_task(self._keep_reloading(hang_up))
        await stopping
        reloading.cancel()
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

    async def _keep_reloading(self, hang_up: asyncio.Event) -> None:
        while True:
            await hang_up.wait()
            hang_up.clear()
            await self.reload()

    async def reload(self) -> None:
        """Read the settings again and put into force the log level and the flows of ``flows.directory``; nothing else
        can change while the server runs. What is wrong is logged, and nothing changes then."""
        assert self.engine is not None
        try:
            settings = self._read_settings()
            flows = await register_flows(self.engine, settings.flows.directory)
        except TornflowError as error:
            _log.error("not reloaded", reason=error.message)
            return
        set_level(settings.log.level)
        self.engine.announcements.look_at_level()
        _log.info("reloaded", log_level=settings.log.level)
        log_flows(settings.flows.directory, flows)

    async def start(self) -> None:
        """Bind first, so that a taken port is an error before anything is opened; then recover; then serve."""
        settings = self._settings
        self._load_components()
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
        if settings.storage.wait_s:
            await open_store(engine.storage, settings.storage.wait_s)
        await engine.start(holds_attempts=True)
        flows = await register_flows(engine, settings.flows.directory)
        # Everything made so far lives as long as the process: keep it out of full collections, and make those rarer.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        self._not_ready = self._closed = ""
        self._lag.start()
        engine.release()
        if self._source.folder:
            watch = watch_components(self._source, self._components, self._seen)
            self._watching = asyncio.get_running_loop().create_task(watch)
        _log.info("serving", url=server_url, ports=self.ports, storage=settings.storage.url.partition("://")[0])
        log_flows(settings.flows.directory, flows)

    async def close(self) -> None:
        """Stop intake, let requests and attempts in hand end, store everything, close.

        While attempts end, everything but submissions is still answered: they may call this server, and their executors
        report to it.
        """
        self._not_ready = "draining"
        self._lag.stop()
        if self._watching is not None:
            self._watching.cancel()
        if self.engine is not None:
            await self.engine.drain(self._settings.server.drain_timeout_s)
        self._closed = "draining"
        for server in self._servers:
            server.stop()
        if self.engine is not None:
            await self.engine.close()
        for server in self._servers:
            await server.close_all_connections()

    def _load_components(self) -> None:
        """Raises ConfigError: a component file cannot be used; before anything is opened."""
        self._seen = signature(self._source)
        loaded = load_components(self._source)
        for warning in loaded.warnings:
            _log.warning(warning)
        self._components.replace(loaded.components)

    def _serve(self, application: Any, listening: Listening) -> None:
        limit = self._settings.server.drain_limit_bytes
        server = EdgeServer(application, max_body_size=limit, max_buffer_size=limit)
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
            templates=Templates(engine.storage, engine.clock, engine.identities),
            triggers=engine.triggers,
            task_types=engine.plugins.task_types,
            app_id=settings.dapr.app_id,
            version=__version__,
            dapr_api_token=settings.dapr.api_token,
            missing_instance_is_404=settings.dapr.missing_instance_is_404,
            components=self._components,
            registry=self._registry(engine),
        )

    def _registry(self, engine: Engine) -> CollectorRegistry:
        registry = CollectorRegistry()
        targets = self._settings.metrics.targets
        registry.register(EngineMetrics(engine, max_targets=targets, loop_lag=self._lag.times))
        ProcessCollector(registry=registry)
        # Figures are of one process: this says which one answered, where several share a port.
        about = Info("tornflow_process", "The process that answers", registry=registry)
        number = self._supervisor.number if self._supervisor else 1
        about.info({"process": str(number), "pid": str(os.getpid()), "node": engine.node_id})
        return registry


def callback_limit(rill: RillSettings) -> int:
    """Return the characters that the body of a completion may have (decisions, "Lives and attempts")."""
    return min(rill.callback_limit_chars, REFERENCE_CALLBACK_CHARS) if rill.strict else rill.callback_limit_chars
