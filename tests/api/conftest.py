"""A real Tornado server on a free port, over a small honest service that keeps what it is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.testing import bind_unused_port

from tornflow.api import Edge, make_application, make_dapr_application
from tornflow.api.edge_server import EdgeServer
from tornflow.config import load_settings
from tornflow.errors import ExecutionExists, ExecutionNotFound, TaskNotFound
from tornflow.model.descriptor import Descriptor, FunctionTask, PassTask
from tornflow.model.execution import ScopeKey, ScopeState, TaskState
from tornflow.model.status import Category, FlowStatus, Pattern, TaskStatus
from tornflow.runtime.catalog import Catalog
from tornflow.runtime.service import Snapshot
from tornflow.server import Server
from tornflow.spi.storage import ExecutionQuery, Summary
from tornflow_store_memory import open_storage

NOW = 1_718_600_000_123


def two_tasks() -> Descriptor:
    """probe (sync) -> shrink (async)."""
    probe = {
        "name": "probe",
        "category": "function",
        "next": "shrink",
        "tolerance": False,
        "keyCallback": False,
        "pattern": "task_sync",
        "resourceName": "http://exec.local/probe",
    }
    shrink = {"name": "shrink", "category": "pass", "tolerance": False, "keyCallback": False}
    tasks = (
        FunctionTask(
            name="probe",
            category=Category.FUNCTION,
            document=probe,
            next=("shrink",),
            pattern=Pattern.TASK_SYNC,
            resource_name="http://exec.local/probe",
            protocol="http",
        ),
        PassTask(name="shrink", category=Category.PASS, document=shrink),
    )
    document = {"workspace": "media", "dagName": "thumb", "version": "0.3", "type": "flow", "tasks": [probe, shrink]}
    return Descriptor(
        workspace="media", dag_name="thumb", type="flow", md5="0" * 32, document=document, tasks=tasks, version="0.3"
    )


def running_state(execution_id: str = "media:thumb_c_1") -> ScopeState:
    """probe succeeded, shrink was never touched."""
    state = ScopeState(ScopeKey(execution_id), "0" * 32, FlowStatus.RUNNING, created_at=NOW, updated_at=NOW + 877)
    state.workspace, state.dag_name = "media", "thumb"
    state.context = {"url": "u", "flow_execution_id": execution_id}
    state.invocations = [[NOW, None]]
    state.tasks["probe"] = TaskState(
        "probe", TaskStatus.SUCCEED, attempt=1, invocations=[[NOW, NOW + 5]], input={"url": "u"}, output={"width": 9}
    )
    return state


@dataclass
class KeepingService:
    """Knows the executions it is given and keeps every call; the words of its errors are its own."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    states: dict[str, ScopeState] = field(default_factory=dict)
    summaries: list[Summary] = field(default_factory=list)
    tasks: tuple[str, ...] = ("probe", "shrink")
    error: Exception | None = None

    async def submit(
        self,
        descriptor_id: str,
        context: Mapping[str, Any],
        *,
        callback: str | None = None,
        idempotency_key: str | None = None,
        resource_check: Any = None,
    ) -> str:
        self._keep("submit", descriptor_id, dict(context), callback, idempotency_key)
        return "media:thumb_c_1"

    async def finish(
        self, execution_id: str, task_name: str, payload: Mapping[str, Any], *, success: bool, token: str | None = None
    ) -> None:
        self.tokens.append(token)
        self._keep("finish", execution_id, task_name, dict(payload), success)
        self._check(execution_id, task_name)

    async def trigger(
        self, execution_id: str, task_name: str, payload: Mapping[str, Any], *, success: bool, token: str | None = None
    ) -> None:
        self.tokens.append(token)
        self._keep("trigger", execution_id, task_name, dict(payload), success)
        self._check(execution_id, task_name)

    async def wakeup(
        self, execution_id: str, task_name: str, payload: Mapping[str, Any], *, token: str | None = None
    ) -> None:
        self.tokens.append(token)
        self._keep("wakeup", execution_id, task_name, dict(payload))
        self._check(execution_id, task_name)

    async def snapshot(self, execution_id: str) -> Snapshot | None:
        state = self.states.get(execution_id)
        return None if state is None else Snapshot(state, two_tasks())

    async def executions(self, query: ExecutionQuery, *, offset: int = 0, limit: int = 100) -> Sequence[Summary]:
        self._keep("executions", query, offset, limit)
        return self._matching(query)[offset : offset + limit]

    async def count_executions(self, query: ExecutionQuery) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for one in self._matching(query):
            counts[one.status] = counts.get(one.status, 0) + 1
        return counts

    async def start_workflow(
        self, workflow_name: str, *, instance_id: str | None, raw_input: str, component: str, business: str = ""
    ) -> str:
        self._keep("start_workflow", workflow_name, instance_id, raw_input, component, *filter(None, [business]))
        if instance_id in self.states:
            raise ExecutionExists("busy")
        return instance_id or "3f0f0a52-6f0e-4f6b-9a6b-2f1f8a7d1c55"

    async def pause(self, execution_id: str) -> None:
        self._keep("pause", execution_id)
        self._check(execution_id)

    async def complete(self, execution_id: str, *, success: bool) -> None:
        self._keep("complete", execution_id, success)
        self._check(execution_id)

    async def terminate(self, execution_id: str) -> None:
        self._keep("terminate", execution_id)
        self._check(execution_id)

    async def resume(self, execution_id: str) -> None:
        self._keep("resume", execution_id)
        self._check(execution_id)

    async def raise_event(self, execution_id: str, name: str, payload: Any) -> None:
        self._keep("raise_event", execution_id, name, payload)
        self._check(execution_id)

    async def purge(self, execution_id: str) -> None:
        self._keep("purge", execution_id)
        self._check(execution_id)

    def _keep(self, *call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def _check(self, execution_id: str, task_name: str = "") -> None:
        if execution_id not in self.states:
            raise ExecutionNotFound(f"execution {execution_id} not found")
        if task_name and task_name not in self.tasks:
            raise TaskNotFound(f"storage can not get taskInfo:{task_name}")

    def _matching(self, query: ExecutionQuery) -> list[Summary]:
        def fits(one: Summary) -> bool:
            return (
                (not query.statuses or one.status in query.statuses)
                and query.business in (None, one.business)
                and query.code in (None, one.code)
                and (query.since is None or one.submitted_at >= query.since)
                and (query.until is None or one.submitted_at < query.until)
            )

        return sorted(filter(fits, self.summaries), key=lambda one: -one.submitted_at)


async def real_catalog() -> Catalog[Any]:
    """Return a catalog over a memory store; a gray rule is true when it is the word "yes"."""
    storage = open_storage("memory://", {})
    await storage.open()
    ticks = iter(range(NOW, NOW + 10**6))
    return Catalog(storage, clock=lambda: next(ticks), compile=lambda _: None, gray=lambda rule, _: rule == "yes")


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Asks one port. ``query`` values are percent-encoded here."""

    base: str
    service: Any = None
    catalog: Any = None

    async def get(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Reply:
        return await self.ask("GET", path, query, **options)

    async def post(self, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Reply:
        return await self.ask("POST", path, query, **options)

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        media: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A body that is neither text nor bytes is sent as JSON."""
        sent = dict(headers or {})
        if body is not None and not isinstance(body, str | bytes):
            body, media = json.dumps(body), media or "application/json"
        if media:
            sent["Content-Type"] = media
        url = self.base + path + ("?" + urlencode(query, quote_via=quote) if query else "")
        request = HTTPRequest(url, method, sent, body, allow_nonstandard_methods=True, follow_redirects=False)
        answer: HTTPResponse = await AsyncHTTPClient().fetch(request, raise_error=False)
        return Reply(answer.code, answer.headers, answer.body)


@dataclass
class FlowClient(Client):
    """A client of a whole server. Flows are texts of tasks; ``{server}`` in them is the server's own URL."""

    server: Any = None

    async def add(self, tasks: str, name: str = "main", head: str = "") -> str:
        text = f"workspace: shop\ndagName: {name}\ntype: flow\n{head}\ntasks:\n{tasks}".replace("{server}", self.base)
        names = {"business_id": "shop", "feature_name": name, "alias": "release"}
        reply = await self.post("/flow/bg/manage/descriptor/add_descriptor.json", names, body=text)
        assert reply.status == 200, reply.body
        return str(reply.json["descriptor_id"])

    async def submit(self, context: Any = None, name: str = "main") -> str:
        reply = await self.post("/flow/submit.json", {"descriptor_id": f"shop:{name}"}, body=context or {})
        assert reply.status == 200, reply.body
        return str(reply.json["execution_id"])

    async def until(self, execution_id: str, dag_status: str = "", **tasks: str) -> dict[str, Any]:
        """Return the view once flow and tasks have these statuses."""
        async with asyncio.timeout(10):
            while True:
                view: dict[str, Any] = (await self.get("/flow/get.json", {"execution_id": execution_id})).json["ret"]
                now = {name: view["tasks"][name]["status"] for name in tasks}
                if now == tasks and dag_status in ("", view["dag_status"]):
                    return view
                await asyncio.sleep(0.01)


@pytest.fixture
async def flows() -> AsyncIterator[FlowClient]:
    """Return a client of a real server over a memory store."""
    flags = {"server.port": 0, "server.dapr_port": 0, "storage.url": "memory://"}
    server = Server(load_settings(None, {}, flags, []))
    await server.start()
    yield FlowClient(f"http://127.0.0.1:{server.ports[0]}", server=server)
    await server.close()


Start = Callable[..., Client]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Return a function that starts a server; keyword arguments replace fields of the Edge."""
    servers: list[EdgeServer] = []
    catalog = await real_catalog()

    def run(*, port: str = "rill", **fields: Any) -> Client:
        service = KeepingService()
        edge: Any = Edge(service=service, catalog=catalog, clock=lambda: NOW)  # type: ignore[arg-type]
        edge = replace(edge, **fields)
        application = make_application(edge) if port == "rill" else make_dapr_application(edge)
        listening, number = bind_unused_port()
        server = EdgeServer(application)
        server.add_sockets([listening])
        servers.append(server)
        return Client(f"http://127.0.0.1:{number}", service, catalog)

    yield run
    for server in servers:
        server.stop()
        await server.close_all_connections()


@pytest.fixture
def client(start: Start) -> Client:
    """Return a client of the main port that knows one running execution."""
    made = start()
    made.service.states["media:thumb_c_1"] = running_state()
    return made


@pytest.fixture
def connect() -> Callable[[str], Client]:
    """Return a function that makes a client of a base URL."""
    return Client
