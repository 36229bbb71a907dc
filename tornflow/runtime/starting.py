"""How executions come into being: through the Rill family, the Dapr family, or as a sub-flow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from tornflow.engine.events import Submitted
from tornflow.engine.program import NOTHING, Program
from tornflow.errors import (
    AdmissionRefused,
    DescriptorIdMalformed,
    DescriptorNotFound,
    DuplicateKey,
    ExecutionExists,
    ExecutionNotFound,
    IdempotencyKeyReused,
    LimitExceeded,
    MalformedCallback,
    NestingTooDeep,
    PluginError,
    RevisionConflict,
    ServerNotReady,
)
from tornflow.model.descriptor import Descriptor
from tornflow.model.execution import Json, ParentLink, ScopeKey, ScopeState
from tornflow.model.jsontext import dumps, loads, without_null_members
from tornflow.model.names import split_instance
from tornflow.model.status import Pattern
from tornflow.runtime.catalog import Catalog, Entry
from tornflow.runtime.clock import Clock
from tornflow.runtime.identities import Identities
from tornflow.runtime.outbox_relay import child_key
from tornflow.runtime.resources import ResourceCheck, Resources
from tornflow.runtime.retrying import while_unavailable
from tornflow.runtime.runner import Runner
from tornflow.spi.hookspecs import ContextInitialiser
from tornflow.spi.storage import ExecutionQuery, Storage, Version
from tornflow.spi.task_type import Attempt

NOT_REGISTERED = "WorkflowNotRegistered"
_LIVING = ("not_started", "running", "key_succeed")
_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 0)  # a stop goes down level by level
_TRIES = 100  # an id whose last life is just being finished, purged, told about changes a few times at most


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """``flow_depth``: levels of flows in one chain of sub-flows. ``max_waiting``: attempts that may wait for a place
    before submissions are refused; ``max_waiting_per_flow``: before those of one flow are. ``default_business``: where
    bare Dapr workflow names are looked up. ``resource_check``: for submissions that bring none (``resources``)."""

    flow_depth: int = 5
    context_limit_bytes: int = 1_048_576
    max_waiting: int = 100_000
    max_waiting_per_flow: int = 50_000
    default_business: str = ""
    resource_check: str = "short_board"


class Load(Protocol):
    """How much waits to be dispatched."""

    @property
    def waiting(self) -> int: ...

    def waiting_of(self, flow: str) -> int: ...


class Starting:
    def __init__(
        self,
        storage: Storage,
        catalog: Catalog[Program],
        runner: Runner,
        load: Load,
        clock: Clock,
        identities: Identities,
        settings: ServiceSettings,
        context_initialisers: Sequence[ContextInitialiser] = (),
    ) -> None:
        self._storage = storage
        self._catalog = catalog
        self._runner = runner
        self._load = load
        self._clock = clock
        self._identities = identities
        self._settings = settings
        self._context_initialisers = context_initialisers
        self.resources = Resources(clock, ResourceCheck(settings.resource_check))
        self.closed_because = "the server is starting"

    def _check_open(self) -> None:
        if self.closed_because:
            raise ServerNotReady(self.closed_because)

    async def submit(
        self,
        descriptor_id: str,
        context: Mapping[str, Any],
        *,
        callback: str | None = None,
        idempotency_key: str | None = None,
        trigger: str = "",
        resource_check: ResourceCheck | None = None,
    ) -> str:
        """Start an execution through the Rill family and return its id.

        ``callback`` is the text of the request parameter: JSON of a CallbackConfig or an http(s) URL. The same
        ``idempotency_key`` within the retention time returns the first execution; so does the same ``trigger``, which
        names one occasion of a trigger. Keys of clients and of triggers are apart. ``resource_check``: None is the
        configured one.

        Raises:
            DescriptorIdMalformed, DescriptorNotFound, MalformedCallback, LimitExceeded, AdmissionRefused,
            IdempotencyKeyReused, ResourceLimited, ServerNotReady, PluginError: nothing was stored.
            StorageUnavailable: nothing was stored, unless ``is_unknown``; then ``details["execution_id"]`` names it.
        """
        self._check_open()
        entry = await self._catalog.resolve(descriptor_id, input=context)
        if self.resources.has_limits:
            self.resources.check(f"{entry.workspace}:{entry.dag_name}", resource_check)
        config = parse_callback(callback) if callback and callback.strip() else None
        if entry.descriptor.type != "flow":
            raise DescriptorNotFound(f"descriptor:{descriptor_id} is of type {entry.descriptor.type}, no flow")
        self._admit(entry)
        state = self._new_state(entry, self._rill_execution_id(entry.descriptor), context)
        state.callback = config
        if trigger:
            state.idempotency_key = f"trigger:{trigger}"
        elif idempotency_key is not None:
            state.idempotency_key = f"client:submit:{idempotency_key}"
        try:
            await self._create(state, entry)
        except DuplicateKey as duplicate:
            holder = str(duplicate.details["execution_id"])
            return holder if trigger else await self._first_with_key(entry, holder)
        return state.key.execution_id

    def _admit(self, entry: Entry[Program]) -> None:
        settings, flow = self._settings, f"{entry.workspace}:{entry.dag_name}"
        waiting = self._load.waiting
        if waiting >= settings.max_waiting:
            raise AdmissionRefused("too many tasks wait to be dispatched (dispatch.max_waiting)", waiting=waiting)
        waiting = self._load.waiting_of(flow)
        if waiting >= settings.max_waiting_per_flow:
            text = f"too many tasks of {flow} wait to be dispatched (dispatch.max_waiting_per_flow)"
            raise AdmissionRefused(text, waiting=waiting)

    async def _first_with_key(self, entry: Entry[Program], holder: str) -> str:
        """Return the execution that a client's key was first used for, if it is one of the same flow."""
        found = await self._storage.summary(holder)
        if found is not None and (found.business, found.feature) != (entry.workspace, entry.dag_name):
            raise IdempotencyKeyReused("the Idempotency-Key was used for a submission of another flow")
        return holder

    async def start_workflow(
        self, workflow_name: str, *, instance_id: str | None, raw_input: str, component: str, business: str = ""
    ) -> str:
        """Start an execution through the Dapr family; the instance id is already checked.

        ``business``: where a bare name is looked up; "": in the configured one.
        An unknown name is accepted and the instance is FAILED at once (decisions, "Dapr").

        Raises:
            ExecutionExists: an instance with that id is alive.
        """
        self._check_open()
        execution_id = instance_id or self._identities.instance_id()
        context = _workflow_context(raw_input)
        entry = await self._find_workflow(workflow_name, business, context)
        if entry is not None:
            self._admit(entry)
        for _ in range(_TRIES):
            replaces = await self._former_life(execution_id)
            state = self._new_state(entry, execution_id, context)
            state.family, state.workflow_name, state.raw_input = "dapr", workflow_name, raw_input
            if entry is None:
                state.error_type = NOT_REGISTERED
                state.msg = f"{_HOW_TO_REGISTER[0]}'{workflow_name}'{_HOW_TO_REGISTER[1]}"
            try:
                await self._create(state, entry, replaces=replaces)
                return execution_id
            except RevisionConflict:
                continue  # it has changed since we looked: look again
        raise _exists(execution_id)

    async def _former_life(self, execution_id: str) -> Version | None:
        """Return in whose place a new life of an id would stand; None: nobody's.

        Raises:
            ExecutionExists: the former life, or a sub-flow of it, has not ended; ``details["reason"]`` is "children"
                for the latter.
        """
        old = await self._runner.view(ScopeKey(execution_id))
        if old is not None and not old.state.status.is_completed:
            raise _exists(execution_id)
        if old is None:
            return None
        version = Version(old.state.life, old.state.revision)
        child = await self._living_child(execution_id)
        if child is not None:
            text = f"sub-flow {child} of the former workflow with ID '{execution_id}' is still running"
            raise ExecutionExists(text, reason="children", child=child)
        return version

    async def _living_child(self, execution_id: str) -> str | None:
        """Return a sub-flow that has not ended. Those of a flow that was just terminated are being stopped: wait."""
        query = ExecutionQuery(statuses=_LIVING, parent_id=execution_id)
        for pause_s in _PAUSES_S:
            found = await self._storage.executions(query, limit=1)
            if not found:
                return None
            await asyncio.sleep(pause_s)
        return found[0].execution_id

    async def start_child(self, attempt: Attempt, descriptor_id: str, context: Mapping[str, Any]) -> str:
        """Start a sub-flow for an attempt (``spi.task_type.Host.start_child``); repeating it returns the same child.

        Waits while the store is away. A sub-flow whose task was stopped meanwhile asks its parent and stops.
        """
        key, task = split_instance(attempt.execution_id, attempt.task_name)
        parent = await while_unavailable(partial(self._runner.view, ScopeKey(attempt.execution_id)))
        if parent is None:
            raise ExecutionNotFound(f"execution {attempt.execution_id} not found")
        routes = [*parent.state.routes, _route(parent.state, attempt)]
        if len(routes) >= self._settings.flow_depth:
            chain = "->".join(f"{one['execution_id']}#{one['task_info_name']}" for one in routes)
            raise NestingTooDeep(f"exceed max depth, dag route: {chain}")
        link = None
        if attempt.pattern == Pattern.FLOW_SYNC:
            scope = await while_unavailable(partial(self._runner.view, key)) if key.path else parent
            generation = scope.state.generation if scope is not None else ()
            link = ParentLink(key.execution_id, key.path, task, attempt.number, generation)
        entry = await while_unavailable(partial(self._catalog.resolve, descriptor_id, input=context))
        state = self._new_state(entry, self._rill_execution_id(entry.descriptor), context)
        if state.context.get("flow_root_execution_id") is None:
            state.context["flow_root_execution_id"] = routes[0]["execution_id"]
        state.routes, state.parent = routes, link
        state.idempotency_key = child_key(attempt.idempotency_key, parent.state.life)
        return await while_unavailable(partial(self._create_child, state, entry))

    async def _create_child(self, state: ScopeState, entry: Entry[Program]) -> str:
        # A step changes what it is given, so that each try needs a state of its own. It is a life of its own, too: an
        # earlier try, of unknown outcome, may have been stored, ended and removed by others meanwhile.
        fresh = replace(
            state, generation=(self._identities.life(),), context=dict(state.context), tasks={}, invocations=[],
            outbox={},
        )  # fmt: skip
        try:
            await self._create(fresh, entry)
        except DuplicateKey as duplicate:
            return str(duplicate.details["execution_id"])
        except RevisionConflict:
            pass  # stored by a try before, whose outcome was unknown
        return state.key.execution_id

    # --- inside

    def _new_state(self, entry: Entry[Program] | None, execution_id: str, context: Mapping[str, Any]) -> ScopeState:
        state = ScopeState(ScopeKey(execution_id), entry.descriptor.md5 if entry else "")
        state.generation = (self._identities.life(),)
        state.created_at = state.updated_at = self._clock.wall_ms()
        whole = dict(entry.compiled.default_context) if entry else {}
        whole.update(context)
        for initialise in self._context_initialisers:
            whole = {**_initialised(initialise, whole), **whole}
        whole["flow_execution_id"] = execution_id
        state.context = whole
        if entry is not None:
            state.workspace, state.dag_name = entry.descriptor.workspace, entry.descriptor.dag_name
        return state

    async def _create(
        self, state: ScopeState, entry: Entry[Program] | None, *, replaces: Version | None = None
    ) -> None:
        text, limit = dumps(state.context), self._settings.context_limit_bytes
        if b"null" in text:  # the text is made to be measured; without the word there is nothing to look for
            state.context = without_null_members(state.context)
            text = dumps(state.context)
        if (size := len(text)) > limit:
            raise LimitExceeded(
                f"context too long: {size} bytes, the limit engine.context_limit_bytes is {limit}",
                limit="engine.context_limit_bytes", allowed=limit, given=size,
            )  # fmt: skip
        program = entry.compiled if entry is not None else NOTHING
        if replaces is not None:
            state.revision = replaces.revision
        event = Submitted(self._clock.wall_ms())
        await self._runner.create(state, program, event, replaces=replaces, is_fresh=replaces is not None)

    def _rill_execution_id(self, descriptor: Descriptor) -> str:
        return f"{descriptor.workspace}:{descriptor.dag_name}_c_{self._identities.time_uuid()}"

    async def _find_workflow(self, name: str, business: str, context: Mapping[str, Any]) -> Entry[Program] | None:
        """Resolve a Dapr workflow name: a descriptor id, or a bare name in the business of the component."""
        descriptor_id, business = name, business or self._settings.default_business
        if ":" not in name and business:
            descriptor_id = f"{business}:{name}"
        try:
            return await self._catalog.resolve(descriptor_id, input=context)
        except (DescriptorNotFound, DescriptorIdMalformed):
            return None


_HOW_TO_REGISTER = (
    "no workflow is registered under the name ",
    ": add a descriptor and start it as business:feature[:alias], or set dapr.business_id to use bare feature names",
)


def _exists(execution_id: str) -> ExecutionExists:
    return ExecutionExists(f"an active workflow with ID '{execution_id}' already exists")


def _initialised(initialise: ContextInitialiser, context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises: PluginError: it broke, or gave no mapping; it is named."""
    name = f"{getattr(initialise, '__module__', '')}.{getattr(initialise, '__qualname__', repr(initialise))}"
    try:
        entries = initialise(context)
    except Exception as error:
        raise PluginError(f"context initialiser {name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(entries, Mapping):
        raise PluginError(f"context initialiser {name} gave {type(entries).__name__}, no mapping")
    return entries


def _route(parent: ScopeState, attempt: Attempt) -> Json:
    return {
        "index": len(parent.routes) + 1,
        "execution_id": attempt.execution_id,
        "task_info_name": attempt.task_name,
        "execution_type": attempt.pattern,
    }


def _workflow_context(raw_input: str) -> dict[str, Any]:
    """A JSON object is the root context, anything else its entry ``input`` (design, section 2)."""
    try:
        value = loads(raw_input.encode())
    except ValueError:
        value = raw_input
    return value if isinstance(value, dict) else {"input": value}


def parse_callback(text: str) -> Json:
    """Return the CallbackConfig document of a submission: its JSON, or a plain URL (rill-http-api 5.2).

    Raises:
        MalformedCallback
    """
    text = text.strip()
    if text.startswith(("http://", "https://")):
        return {"resourceName": text}
    try:
        document = loads(text.encode())
    except ValueError as error:
        raise MalformedCallback(f"callback is neither JSON nor an http(s) URL: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("resourceName"), str):
        raise MalformedCallback("callback must be an object with the text resourceName")
    rules = document.get("inputMappings") or []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise MalformedCallback("callback.inputMappings must be a list of mappings")
    for number, rule in enumerate(rules):
        for name in ("source", "target", "transform"):
            if not isinstance(rule.get(name, ""), str | None):
                raise MalformedCallback(f"callback.inputMappings[{number}].{name} must be a text")
        if not isinstance(rule.get("tolerance"), bool | None):
            raise MalformedCallback(f"callback.inputMappings[{number}].tolerance must be true or false")
    return document

