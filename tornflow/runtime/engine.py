"""The engine room wired together: store, catalog, runner, dispatcher, timers, outbox relay, cluster, retention."""

from __future__ import annotations

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
from tornflow.runtime.announcing import Announcements
from tornflow.runtime.callbacks import CallbackBody, Callbacks, NameFailures
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.clock import Clock, SystemClock
from tornflow.runtime.cluster import Cluster, ClusterSettings
from tornflow.runtime.commits import Commits, CommitSettings
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.dispatcher import Dispatcher, DispatchSettings
from tornflow.runtime.group_scopes import GroupScopes
from tornflow.runtime.identities import Identities, SystemIdentities
from tornflow.runtime.mailboxes import Mailboxes
from tornflow.runtime.outbox_relay import OutboxRelay
from tornflow.runtime.references import ReferencedResource
from tornflow.runtime.retention import Retention
from tornflow.runtime.runner import Runner
from tornflow.runtime.scopes import Scopes
from tornflow.runtime.service import FlowService
from tornflow.runtime.starting import ServiceSettings
from tornflow.runtime.timers import Timers
from tornflow.runtime.triggers import Triggers, installed_types
from tornflow.spi.storage import Storage
from tornflow.spi.task_type import Attempt

_log = structlog.get_logger("tornflow.engine")
_GRACE_WITHOUT_STORE_S = 1.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Plain values from the configuration; the rooms below never read it themselves."""

    rules: Rules = field(default_factory=Rules)
    dispatch: DispatchSettings = field(default_factory=lambda: DispatchSettings("http://127.0.0.1:8080"))
    service: ServiceSettings = field(default_factory=ServiceSettings)
    catalog: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outbound: Mapping[str, Any] = field(default_factory=dict)
    cache_scopes: int = 2000
    cache_bytes: int = 64 << 20
    head_inline_limit_bytes: int = 16_384
    finished_retention_s: float = 86_400
    failed_retention_s: float = 7 * 86_400
    retention_pause_s: float = 30
    timer_horizon_s: float = 60
    node_heartbeat_s: float = 2
    node_timeout_s: float = 10
    unknown_outcome_patience_s: float = 10
    metrics_flows: int = 100


class Engine:
    """Runs flows on a store. ``start`` opens everything and recovers, ``release`` lets attempts go out, ``close``
    drains."""

    def __init__(
        self,
        storage: Storage,
        plugins: Plugins,
        settings: EngineSettings,
        callback_body: CallbackBody,
        name_failures: NameFailures = lambda body, _: body,
        *,
        clock: Clock | None = None,
        identities: Identities | None = None,
    ) -> None:
        self.storage = storage
        self.plugins = plugins
        self.clock = clock = clock or SystemClock()
        self._settings = settings
        self.identities = identities = identities or SystemIdentities()
        node_id = identities.node_id()
        transforms = Sandbox(now_ms=clock.wall_ms, random=identities.chance, budget=settings.budget).compile
        self.expressions = transforms
        self.catalog: Catalog[Program] = Catalog(
            storage,
            clock=clock.wall_ms,
            compile=lambda descriptor: compile_program(descriptor, transforms),
            gray=self._is_chosen,
            token=identities.life,
            **settings.catalog,
        )
        self.commits = Commits(storage, _commit_settings(settings), node_id[:12], clock.seconds)
        rules = replace(settings.rules, has_nodes=storage.is_shared, is_observed=bool(plugins.task_observers))
        self.runner = Runner(
            storage,
            Scopes(storage, self._program, rules, clock, node_id),
            clock,
            self.commits,
            Mailboxes(settings.cache_scopes, settings.cache_bytes),
        )
        task_types = dict(plugins.task_types)
        references = ReferencedResource(self.catalog, task_types)
        task_types.update(dict.fromkeys(references.protocols, references))
        self.dispatcher = Dispatcher(task_types, self.runner.post, clock, settings.dispatch)
        self.cluster = Cluster(
            storage,
            self.runner,
            self.dispatcher,
            self.commits,
            clock,
            identities,
            ClusterSettings(settings.node_heartbeat_s, settings.node_timeout_s, settings.dispatch.server_url),
        )
        self.dispatcher.may_start = self.cluster.is_sure
        self.timers = Timers(
            storage,
            self._fire,
            clock,
            horizon_ms=int(settings.timer_horizon_s * 1000),
            falls_to_us=self.cluster.falls_to_us,
        )
        self.group_scopes = GroupScopes(storage, self.runner, self.dispatcher, clock)
        callbacks = Callbacks(self.dispatcher, transforms, callback_body, name_failures, self._stored)
        self.outbox_relay = OutboxRelay(storage, self.runner, callbacks, clock)
        self.retention = Retention(
            storage, self.runner, clock, pause_s=settings.retention_pause_s, collect=self.catalog.collect
        )
        self.service = FlowService(
            storage,
            self.catalog,
            self.runner,
            self.dispatcher,
            clock,
            identities,
            settings.service,
            plugins.context_initialisers,
        )
        self.dispatcher.note = self.service.resources.note
        self.triggers = Triggers(
            storage, self.service.submit, clock, identities, installed_types(), self.cluster.falls_to_us
        )
        self.runner.actor = self
        self.announcements = Announcements(plugins, settings.metrics_flows)

    @property
    def node_id(self) -> str:
        return self.runner.node_id

    async def start(self, *, holds_attempts: bool = False) -> None:
        """Open the store and the task types, then take up what a crash left behind.

        ``holds_attempts``: none goes out before ``release``, for a server that executors may call.

        Raises:
            ConfigError, StorageUnavailable: nothing is left open.
        """
        await self.storage.open()
        try:
            for task_type in self._distinct_task_types():
                await task_type.start(_Host(self.service, self._settings, task_type.protocols[0]))
            await self.cluster.start()
            await self.timers.start()
            self.retention.start()
        except BaseException:
            await self.close()
            raise
        self.service.closed_because = ""
        if not holds_attempts:
            self.release()

    def release(self) -> None:
        """Let attempts go out: from now on this server answers, and executors may call it."""
        self.dispatcher.open()
        self.triggers.start()

    async def drain(self, grace_s: float = 0) -> None:
        """Take no new submission, start no new attempt, wait up to ``grace_s`` for those in flight. Idempotent."""
        self.service.closed_because = "the server is draining"
        self.cluster.drain()
        await self.triggers.stop()
        await self.retention.stop()
        await self.timers.stop()
        # While nothing can be stored, waiting for answers gains nothing: their attempts are made again.
        await self.dispatcher.close(min(grace_s, _GRACE_WITHOUT_STORE_S) if self.commits.trouble else grace_s)

    async def close(self, grace_s: float = 0) -> None:
        """Drain, store every event in hand, close."""
        await self.drain(grace_s)
        await self.outbox_relay.close()
        await self.group_scopes.close()
        await self.runner.drain()
        for task_type in self._distinct_task_types():
            await task_type.stop()
        await self.cluster.stop()
        await self.storage.close()

    # --- Actor

    def on_committed(self, scope: Scope) -> None:
        self.timers.arm(scope.state.key, scope.next_due)

    def run_commands(self, scope: Scope, commands: list[Command]) -> None:
        key = scope.state.key
        for command in commands:
            match command:
                case DispatchTask():
                    self.dispatcher.dispatch(scope, command)
                case AnnounceTask():
                    self.announcements.task(scope, command)
                case AnnounceFlow():
                    self.announcements.flow(scope, command)
                case Continue():
                    self.runner.post(key, Continued(self.clock.wall_ms()))
                case Deliver():
                    self.outbox_relay.deliver(scope, command.message_id)
                case AbandonAttempt():
                    self.dispatcher.abandon(key, scope.state.generation, command.task, command.attempt)
                case StartGroups() | ReviewGroups() | GatherGroups() | ReportGroup():
                    self.group_scopes.carry_out(scope, command)

    # --- inside

    def _fire(self, key: ScopeKey) -> None:
        self.runner.post(key, TimerFired(self.clock.wall_ms()))

    async def _stored(self, key: ScopeKey) -> ScopeState | None:
        found = await self.runner.stored(key)
        return None if found is None else found[0]

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


def _commit_settings(settings: EngineSettings) -> CommitSettings:
    return CommitSettings(
        settings.head_inline_limit_bytes,
        int(settings.finished_retention_s * 1000),
        int(settings.failed_retention_s * 1000),
        settings.unknown_outcome_patience_s,
        settings.node_timeout_s,
    )


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
