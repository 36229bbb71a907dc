"""How executions come into being: through the Rill family, the Dapr family, or as a sub-flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from tornflow.engine.events import Submitted, Terminated
from tornflow.engine.program import NOTHING, Program
from tornflow.errors import (
    AdmissionRefused,
    DescriptorIdMalformed,
    DescriptorNotFound,
    DuplicateKey,
    ExecutionExists,
    ExecutionNotFound,
    LimitExceeded,
    MalformedCallback,
    NestingTooDeep,
    RevisionConflict,
    ServerNotReady,
)
from tornflow.model.descriptor import Descriptor
from tornflow.model.execution import Json, ParentLink, ScopeKey, ScopeState
from tornflow.model.jsontext import dumps, loads
from tornflow.model.names import split_instance
from tornflow.model.status import FlowStatus, Pattern
from tornflow.runtime.catalog import Catalog, Entry
from tornflow.runtime.runner import Runner
from tornflow.runtime.time_uuid import TimeUuids
from tornflow.spi.hookspecs import ContextInitialiser
from tornflow.spi.task_type import Attempt

NOT_REGISTERED = "WorkflowNotRegistered"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """``flow_depth``: levels of flows in one chain of sub-flows. ``max_waiting``: attempts that may wait for a place
    before submissions are refused. ``default_business``: where bare Dapr workflow names are looked up."""

    flow_depth: int = 5
    context_limit_bytes: int = 1_048_576
    max_waiting: int = 100_000
    default_business: str = ""


class Load(Protocol):
    """How much waits to be dispatched."""

    @property
    def waiting(self) -> int: ...


class Starting:
    def __init__(
        self,
        catalog: Catalog[Program],
        runner: Runner,
        load: Load,
        clock: Callable[[], int],
        settings: ServiceSettings,
        context_initialisers: Sequence[ContextInitialiser] = (),
    ) -> None:
        self._catalog = catalog
        self._runner = runner
        self._load = load
        self._clock = clock
        self._settings = settings
        self._context_initialisers = context_initialisers
        self._new_uuid = TimeUuids()
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
    ) -> str:
        """Start an execution through the Rill family and return its id.

        ``callback`` is the text of the request parameter: JSON of a CallbackConfig or an http(s) URL. The same
        ``idempotency_key`` within the retention time returns the first execution.

        Raises:
            DescriptorIdMalformed, DescriptorNotFound, MalformedCallback, LimitExceeded, AdmissionRefused,
            ServerNotReady, StorageUnavailable: nothing was stored.
        """
        self._check_open()
        entry = await self._catalog.resolve(descriptor_id, input=context)
        config = parse_callback(callback) if callback and callback.strip() else None
        if entry.descriptor.type != "flow":
            raise DescriptorNotFound(f"descriptor:{descriptor_id} is of type {entry.descriptor.type}, no flow")
        if self._load.waiting >= self._settings.max_waiting:
            raise AdmissionRefused("too many tasks wait to be dispatched", waiting=self._load.waiting)
        state = self._new_state(entry, self._rill_execution_id(entry.descriptor), context)
        state.callback = config
        state.idempotency_key = idempotency_key
        try:
            await self._create(state, entry)
        except DuplicateKey as duplicate:
            return str(duplicate.details["execution_id"])
        return state.key.execution_id

    async def start_workflow(
        self, workflow_name: str, *, instance_id: str | None, raw_input: str, component: str
    ) -> str:
        """Start an execution through the Dapr family; the instance id is already checked.

        An unknown name is accepted and the instance is FAILED at once (decisions, "Dapr").

        Raises:
            ExecutionExists: an instance with that id is alive.
        """
        self._check_open()
        execution_id = instance_id or str(uuid4())
        old = await self._runner.view(ScopeKey(execution_id))
        if old is not None and not old.state.status.is_completed:
            raise ExecutionExists(f"an active workflow with ID '{execution_id}' already exists")
        revision = old.state.revision if old is not None else 0
        context = _workflow_context(raw_input)
        entry = await self._find_workflow(workflow_name, context)
        state = self._new_state(entry, execution_id, context)
        state.family, state.workflow_name, state.raw_input = "dapr", workflow_name, raw_input
        state.revision = revision
        if entry is None:
            state.error_type = NOT_REGISTERED
            state.msg = f"{_HOW_TO_REGISTER[0]}'{workflow_name}'{_HOW_TO_REGISTER[1]}"
        try:
            await self._create(state, entry, is_fresh=old is not None)
        except RevisionConflict:
            raise ExecutionExists(f"an active workflow with ID '{execution_id}' already exists") from None
        return execution_id

    async def start_child(self, attempt: Attempt, descriptor_id: str, context: Mapping[str, Any]) -> str:
        """Start a sub-flow for an attempt (``spi.task_type.Host.start_child``); repeating it returns the same child."""
        key, task = split_instance(attempt.execution_id, attempt.task_name)
        parent = await self._runner.view(ScopeKey(attempt.execution_id))
        if parent is None:
            raise ExecutionNotFound(f"execution {attempt.execution_id} not found")
        routes = [*parent.state.routes, _route(parent.state, attempt)]
        if len(routes) >= self._settings.flow_depth:
            chain = "->".join(f"{one['execution_id']}#{one['task_info_name']}" for one in routes)
            raise NestingTooDeep(f"exceed max depth, dag route: {chain}")
        entry = await self._catalog.resolve(descriptor_id, input=context)
        state = self._new_state(entry, self._rill_execution_id(entry.descriptor), context)
        state.context.setdefault("flow_root_execution_id", routes[0]["execution_id"])
        state.routes = routes
        state.idempotency_key = attempt.idempotency_key
        if attempt.pattern == Pattern.FLOW_SYNC:
            scope = await self._runner.view(key) if key.path else parent
            generation = scope.state.generation if scope is not None else ()
            state.parent = ParentLink(key.execution_id, key.path, task, attempt.number, generation)
        try:
            await self._create(state, entry)
        except DuplicateKey as duplicate:
            return str(duplicate.details["execution_id"])
        if state.parent is not None:
            await self._stop_orphan(state)
        return state.key.execution_id

    async def _stop_orphan(self, state: ScopeState) -> None:
        """A parent that was terminated while its child came into being could not pass that on."""
        assert state.parent is not None
        parent = await self._runner.view(ScopeKey(state.parent.execution_id))
        if parent is None or parent.state.status is FlowStatus.TERMINATED:
            await self._runner.apply(state.key, Terminated(self._clock()))

    # --- inside

    def _new_state(self, entry: Entry[Program] | None, execution_id: str, context: Mapping[str, Any]) -> ScopeState:
        state = ScopeState(ScopeKey(execution_id), entry.descriptor.md5 if entry else "")
        state.created_at = state.updated_at = self._clock()
        whole = dict(entry.compiled.default_context) if entry else {}
        whole.update(context)
        for initialise in self._context_initialisers:
            whole = {**initialise(whole), **whole}
        whole["flow_execution_id"] = execution_id
        state.context = {key: value for key, value in whole.items() if value is not None}
        if entry is not None:
            state.workspace, state.dag_name = entry.descriptor.workspace, entry.descriptor.dag_name
        return state

    async def _create(self, state: ScopeState, entry: Entry[Program] | None, *, is_fresh: bool = False) -> None:
        size, limit = len(dumps(state.context)), self._settings.context_limit_bytes
        if size > limit:
            raise LimitExceeded(
                f"context too long: {size} bytes, the limit engine.context_limit_bytes is {limit}",
                limit="engine.context_limit_bytes", allowed=limit, given=size,
            )  # fmt: skip
        event = Submitted(self._clock())
        program = entry.compiled if entry is not None else NOTHING
        await self._runner.create(state, program, event, is_fresh=is_fresh)

    def _rill_execution_id(self, descriptor: Descriptor) -> str:
        return f"{descriptor.workspace}:{descriptor.dag_name}_c_{self._new_uuid()}"

    async def _find_workflow(self, name: str, context: Mapping[str, Any]) -> Entry[Program] | None:
        """Resolve a Dapr workflow name: a descriptor id, or a bare name in the business of the component."""
        descriptor_id = name
        if ":" not in name and self._settings.default_business:
            descriptor_id = f"{self._settings.default_business}:{name}"
        try:
            return await self._catalog.resolve(descriptor_id, input=context)
        except (DescriptorNotFound, DescriptorIdMalformed):
            return None


_HOW_TO_REGISTER = (
    "no workflow is registered under the name ",
    ": add a descriptor and start it as business:feature[:alias], or set dapr.business_id to use bare feature names",
)


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

