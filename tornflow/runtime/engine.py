"""The engine room wired together: store, catalog, runner, dispatcher, timers, courier, node."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from tornflow.engine.commands import (
    AbandonAttempt,
    AnnounceFlow,
    AnnounceTask,
    Command,
    Continue,
    Deliver,
    DispatchTask,
    GatherGroups,
    ReportGroup,
    ReviewGroups,
    StartGroups,
)
from tornflow.engine.events import Continued, TimerFired
from tornflow.engine.expressions import Budget, Sandbox
from tornflow.engine.program import NOTHING, Program, Rules, compile_program
from tornflow.engine.scope import Scope
from tornflow.model.execution import ScopeKey, ScopeState
from tornflow.model.names import instance_name
from tornflow.runtime.births import Births
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.clock import SystemClock
from tornflow.runtime.courier import CallbackBody, Courier
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.dispatcher import Dispatcher, DispatchSettings
from tornflow.runtime.grouping import Grouping
from tornflow.runtime.nodes import Node
from tornflow.runtime.references import ReferencedResource
from tornflow.runtime.runner import Runner, RunnerSettings
from tornflow.runtime.service import FlowService
from tornflow.runtime.starting import ServiceSettings
from tornflow.runtime.timers import Timers
from tornflow.spi.hookspecs import ExecutionNotice, TaskNotice
from tornflow.spi.storage import Storage
from tornflow.spi.task_type import Attempt

_log = structlog.get_logger("tornflow.engine")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Plain values from the configuration; the rooms below never read it themselves."""

    rules: Rules = field(default_factory=Rules)
    dispatch: DispatchSettings = field(default_factory=lambda: DispatchSettings("http://127.0.0.1:8080"))
    service: ServiceSettings = field(default_factory=ServiceSettings)
    catalog: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = Budget(clock=time.perf_counter)
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outbound: Mapping[str, Any] = field(default_factory=dict)
    cache_scopes: int = 2000
    cache_bytes: int = 64 << 20
    head_inline_limit_bytes: int = 16_384
    finished_retention_s: float = 86_400
    timer_horizon_s: float = 60
    node_heartbeat_s: float = 2
    node_timeout_s: float = 10


class Engine:
    """Runs flows on a store. ``start`` opens everything and recovers; ``close`` drains."""

    def __init__(
        self, storage: Storage, plugins: Plugins, settings: EngineSettings, callback_body: CallbackBody
    ) -> None:
        self.storage = storage
        self.plugins = plugins
        self.node_id = uuid.uuid4().hex
        self._settings = settings
        transforms = Sandbox(now_ms=now_ms, random=random.random, budget=settings.budget).compile
        self.expressions = transforms
        self.catalog: Catalog[Program] = Catalog(
            storage,
            clock=now_ms,
            compile=lambda descriptor: compile_program(descriptor, transforms),
            gray=self._is_chosen,
            **settings.catalog,
        )
        self.runner = Runner(
            storage,
            self._program,
            replace(settings.rules, has_nodes=storage.is_shared),
            RunnerSettings(
                self.node_id,
                settings.cache_scopes,
                settings.cache_bytes,
                settings.head_inline_limit_bytes,
                int(settings.finished_retention_s * 1000),
            ),
        )
        task_types = dict(plugins.task_types)
        references = ReferencedResource(self.catalog, task_types)
        task_types.update(dict.fromkeys(references.protocols, references))
        self.dispatcher = Dispatcher(task_types, self.runner.post, SystemClock(), settings.dispatch)
        self.timers = Timers(storage, self._fire, now_ms, horizon_ms=int(settings.timer_horizon_s * 1000))
        births = Births()
        self.grouping = Grouping(self.runner, births, self.dispatcher, now_ms)
        self.courier = Courier(storage, self.runner, births, self.dispatcher, transforms, callback_body, now_ms)
        self.node = Node(
            self.node_id,
            storage,
            self.runner,
            now_ms,
            beat_s=settings.node_heartbeat_s,
            timeout_s=settings.node_timeout_s,
        )
        self.service = FlowService(
            storage,
            self.catalog,
            self.runner,
            self.dispatcher,
            now_ms,
            settings.service,
            plugins.context_initialisers,
        )
        self.runner.actor = self
        self.flows_ended: dict[str, int] = {}
        self.tasks_ended: dict[str, int] = {}

    async def start(self) -> None:
        """Open the store and the task types, then take up what a crash left behind.

        Raises:
            ConfigError, StorageUnavailable: nothing is left open.
        """
        await self.storage.open()
        try:
            for task_type in self._distinct_task_types():
                await task_type.start(_Host(self.service, self._settings, task_type.protocols[0]))
            await self.timers.start()
            await self.node.start()
            self.dispatcher.open()
        except BaseException:
            await self.close()
            raise
        self.service.closed_because = ""

    async def close(self, grace_s: float = 0) -> None:
        """Drain: no new attempt, wait up to ``grace_s`` for those in flight, store every event in hand, close."""
        self.service.closed_because = "the server is draining"
        self.node.drain()
        self.timers.stop()
        await self.dispatcher.close(grace_s)
        await self.courier.close()
        await self.grouping.close()
        await self.runner.drain()
        for task_type in self._distinct_task_types():
            await task_type.stop()
        await self.node.stop()
        await self.storage.close()

    # --- Actor

    def saved(self, scope: Scope) -> None:
        self.timers.arm(scope.state.key, scope.next_due)

    def act(self, scope: Scope, commands: list[Command]) -> None:
        key = scope.state.key
        for command in commands:
            match command:
                case DispatchTask():
                    self.dispatcher.dispatch(scope, command)
                case AnnounceTask():
                    self._announce_task(scope, command)
                case AnnounceFlow():
                    self._announce_flow(scope, command)
                case Continue():
                    self.runner.post(key, Continued(now_ms()))
                case Deliver():
                    self.courier.deliver(scope, command.message_id)
                case AbandonAttempt():
                    self.dispatcher.abandon(key, scope.state.generation, command.task, command.attempt)
                case StartGroups() | ReviewGroups() | GatherGroups() | ReportGroup():
                    self.grouping.carry_out(scope, command)

    def _announce_task(self, scope: Scope, command: AnnounceTask) -> None:
        status = command.status.value
        self.tasks_ended[status] = self.tasks_ended.get(status, 0) + 1
        if self.plugins.task_observers:
            state = scope.state
            name = instance_name(state.key.path, command.task)
            service_id = f"{state.workspace}:{state.dag_name}"
            self.plugins.task_changed(
                TaskNotice(state.key.execution_id, service_id, name, status, command.attempt, state.updated_at)
            )

    def _announce_flow(self, scope: Scope, command: AnnounceFlow) -> None:
        state, status = scope.state, command.status.value
        self.flows_ended[status] = self.flows_ended.get(status, 0) + 1
        _log.debug("execution changed", execution_id=state.key.execution_id, status=status)
        if self.plugins.execution_observers:
            service_id = f"{state.workspace}:{state.dag_name}"
            self.plugins.execution_changed(
                ExecutionNotice(state.key.execution_id, service_id, status, state.updated_at)
            )

    # --- inside

    def _fire(self, key: ScopeKey) -> None:
        self.runner.post(key, TimerFired(now_ms()))

    async def _program(self, state: ScopeState) -> Program:
        if not state.descriptor_md5:
            return NOTHING
        entry = await self.catalog.by_md5(state.workspace, state.dag_name, state.descriptor_md5)
        return entry.compiled

    def _is_chosen(self, rule: str, variables: Mapping[str, Any]) -> bool:
        """A gray rule that breaks or gives no boolean counts as false (rill-http-api 3.2)."""
        try:
            return self.expressions(rule)(variables) is True
        except Exception as error:
            _log.warning("gray rule failed", rule=rule, reason=str(error))
            return False

    def _distinct_task_types(self) -> list[Any]:
        return list({id(one): one for one in self.plugins.task_types.values()}.values())


class _Host:
    """What one task type sees of us (``spi.task_type.Host``)."""

    def __init__(self, service: FlowService, settings: EngineSettings, section: str) -> None:
        self._service = service
        self._settings = {
            **settings.plugins.get(section, {}),
            "outbound": settings.outbound,
            "server_url": settings.dispatch.server_url,
        }

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._settings

    async def start_child(self, attempt: Attempt, descriptor_id: str, context: Mapping[str, Any]) -> str:
        return await self._service.start_child(attempt, descriptor_id, context)


