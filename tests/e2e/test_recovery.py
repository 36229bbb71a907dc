"""The real server on SQLite is killed in the middle of its work, again and again: nothing accepted is lost."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.netutil import bind_sockets

from tornflow.testing.executor import Reply, ScriptedExecutor

FLOW = """
workspace: demo
dagName: {name}
type: flow
tasks:
"""

CHAIN = (
    FLOW.format(name="chain")
    + """
  - {{category: function, name: one, next: two, pattern: task_sync, resourceName: "{url}/one",
     outputMappings: [{{source: $.output.v, target: $.context.one}}]}}
  - {{category: function, name: two, pattern: task_sync, resourceName: "{url}/held",
     inputMappings: [{{source: $.context.n, target: $.input.n}}],
     outputMappings: [{{source: $.output.v, target: $.context.two}}]}}
"""
)

LOOP = (
    FLOW.format(name="loop")
    + """
  - category: foreach
    name: each
    inputMappings: [{{source: $.context.items, target: $.input.items}}]
    iterationMapping: {{collection: $.input.items, item: x}}
    outputMappings: [{{source: "$.output.sub_context[*].done", target: $.context.done}}]
    tasks:
      - {{category: function, name: work, pattern: task_sync, resourceName: "{url}/held",
         inputMappings: [{{source: $.context.x, target: $.input.x}}],
         outputMappings: [{{source: $.output.v, target: $.context.done}}]}}
"""
)

WAIT = (
    FLOW.format(name="wait")
    + """
  - {{category: suspense, name: gate, next: later, conditions: [$.input.go],
     inputMappings: [{{source: $.context.go, target: $.input.go}}],
     outputMappings: [{{source: $.output.go, target: $.context.go}}]}}
  - {{category: pass, name: later, timeline: {{suspenseIntervalSeconds: 2}}}}
"""
)


class Server:
    """The installed command on one port and one database, started again after each kill."""

    def __init__(self, folder: Path, *settings: str) -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        for one in sockets:
            one.close()
        self.folder = folder
        self.settings = settings
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = shutil.which("tornflow", path=str(Path(sys.executable).parent))
        assert command, "tornflow is not installed in this environment"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                command, "serve", "--port", str(self.port), "--dapr-port", "0", "--storage", "sqlite:///flows.db",
                *self.settings, cwd=self.folder, env=kept, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(15):
            while (await self.ask("GET", "/readyz"))[0] != 200:
                assert self.process.returncode is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """Return (status, JSON); status 599 when nobody answers."""
        url = f"http://127.0.0.1:{self.port}{path}" + (f"?{urlencode(query)}" if query else "")
        content = body if isinstance(body, str) else None if body is None else json.dumps(body)
        kind = "text/plain" if isinstance(body, str) else "application/json"
        request = HTTPRequest(url, method, {"Content-Type": kind}, content, allow_nonstandard_methods=True)
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        except OSError:
            return 599, None
        try:
            return answer.code, json.loads(answer.body or b"null")
        except ValueError:
            return answer.code, None

    async def add(self, text: str, name: str) -> None:
        where = {"business_id": "demo", "feature_name": name, "alias": "release"}
        status, answer = await self.ask("POST", "/flow/bg/manage/descriptor/add_descriptor.json", text, **where)
        assert status == 200, answer

    async def submit(self, name: str, context: dict[str, Any]) -> str:
        status, answer = await self.ask("POST", "/flow/submit.json", context, descriptor_id=f"demo:{name}")
        assert status == 200, answer
        return str(answer["execution_id"])

    async def ended(self, execution_id: str) -> tuple[str, dict[str, Any]]:
        """Return final status and context."""
        async with asyncio.timeout(20):
            while True:
                _status, answer = await self.ask("GET", "/flow/get.json", execution_id=execution_id)
                found = (answer or {}).get("ret", answer or {})
                if str(found.get("dag_status", "")).upper() in ("SUCCEED", "FAILED"):
                    return str(found["dag_status"]).upper(), found["context"]
                await asyncio.sleep(0.03)


async def test_everything_accepted_survives_four_kills(tmp_path: Path) -> None:
    async with ScriptedExecutor() as executor:
        held = asyncio.Event()
        executor.script("/one", Reply(json={"v": 1}))
        executor.script("/held", Reply(json={"v": 2}, until=held))
        server = Server(tmp_path)
        await server.start()
        try:
            for name, text in (("chain", CHAIN), ("loop", LOOP), ("wait", WAIT)):
                await server.add(text.format(url=executor.url), name)
            loop = await server.submit("loop", {"items": list(range(50))})
            wait = await server.submit("wait", {})
            chains = [await server.submit("chain", {"n": 0})]
            await executor.wait_for_calls("/held", 51)
            for number in range(1, 5):
                await server.kill()
                await server.start()
                chains.append(await server.submit("chain", {"n": number}))
                await executor.wait_for_calls("/held", 51 * (number + 1) + number * (number + 1) // 2)
            woken = await server.ask("POST", "/flow/wakeup.json", {"go": 1}, execution_id=wait, task_name="gate")
            assert woken[0] == 200
            await server.kill()  # the timed start of the next task is armed: it must fire in the next life
            executor.script("/held", Reply(json={"v": 3}))
            await server.start()
            held.set()  # late answers to the dead: 2 instead of 3
            status, context = await server.ended(loop)
            assert (status, context["done"]) == ("SUCCEED", [3] * 50)
            for number, chain in enumerate(chains):
                status, context = await server.ended(chain)
                assert (status, context["n"], context["one"], context["two"]) == ("SUCCEED", number, 1, 3)
            assert (await server.ended(wait))[0] == "SUCCEED"
        finally:
            await server.kill()
        _assert_same_keys(executor, chains)


def _assert_same_keys(executor: ScriptedExecutor, chains: list[str]) -> None:
    """An attempt that comes again has its old key; one that was answered and stored never comes again."""
    keys: dict[str, int] = defaultdict(int)
    for call in executor.calls("/held"):
        keys[call.headers["X-Idempotency-Key"]] += 1
    assert len(keys) == 50 + len(chains)
    attempts = {key.rpartition("/")[2] for key in keys}
    assert all(re.fullmatch(r"[0-9a-f]{13,}\.1", attempt) for attempt in attempts), attempts
    lives = {key.partition("/")[0]: attempt for key in keys for attempt in [key.rpartition("/")[2]]}
    assert len(attempts) == len(lives) == 1 + len(chains), "one life for each execution"
    ones = [call.headers["X-Idempotency-Key"] for call in executor.calls("/one")]
    assert len(ones) == len(set(ones)) == len(chains)


async def test_a_full_disk_refuses_requests_and_work_goes_on_when_there_is_space(tmp_path: Path) -> None:
    async with ScriptedExecutor() as executor:
        held = asyncio.Event()
        executor.script("/one", Reply(json={"v": 1}))
        executor.script("/held", Reply(json={"v": 2}, until=held))
        server = Server(tmp_path)
        await server.start()
        try:
            await server.add(CHAIN.format(url=executor.url), "chain")
            chain = await server.submit("chain", {"n": 0})
            await executor.wait_for_calls("/held", 1)
            assert server.process is not None
            # No file of the server can grow beyond the first page from now on: to SQLite that is a full disk.
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            query = {"descriptor_id": "demo:chain"}
            status, answer = await server.ask("POST", "/flow/submit.json", {"n": "x" * 9000}, **query)
            assert status >= 500 and set(answer) >= {"error_code"}, (status, answer)
            named = re.search(r"demo:chain_c_[0-9a-f-]+", answer["error"])
            assert (named is not None) is ("outcome unknown" in answer["error"]), answer
            held.set()  # the answer comes in while nothing can be stored
            assert (await server.ask("GET", "/healthz"))[0] == 200
            status, answer = await server.ask("GET", "/flow/get.json", execution_id=chain)
            assert status == 200 and "RUNNING" in json.dumps(answer)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            status_text, context = await server.ended(chain)
            assert (status_text, context["two"]) == ("SUCCEED", 2)
            await server.ended(await server.submit("chain", {"n": 1}))
            if named is not None and (await server.ask("GET", "/flow/get.json", execution_id=named[0]))[0] == 200:
                await server.ended(named[0])  # it said that the outcome is unknown, and it stands
                assert len(executor.calls("/one")) == 3
            else:
                assert len(executor.calls("/one")) == 2, "the refused submission left nothing behind"
            assert server.process.returncode is None
        finally:
            await server.kill()


async def test_a_locked_database_refuses_requests_in_both_families_and_work_goes_on_afterwards(tmp_path: Path) -> None:
    async with ScriptedExecutor() as executor:
        held = asyncio.Event()
        executor.script("/one", Reply(json={"v": 1}))
        executor.script("/held", Reply(json={"v": 2}, until=held))
        server = Server(tmp_path, "--set", "storage.sqlite.busy_timeout_ms=100")
        await server.start()
        try:
            await server.add(CHAIN.format(url=executor.url), "chain")
            chain = await server.submit("chain", {"n": 0})
            await executor.wait_for_calls("/held", 1)
            with closing(sqlite3.connect(next(tmp_path.rglob("*.db")), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                status, answer = await server.ask("POST", "/flow/submit.json", {}, descriptor_id="demo:chain")
                assert (status, answer["error_code"]) == (500, 30101)
                assert (
                    answer["error"] == "storage unavailable: SQLite: database is locked; nothing was stored, try again"
                )
                status, answer = await server.ask("POST", "/v1.0/workflows/dapr/demo:chain/start", {})
                assert (status, answer["errorCode"]) == (500, "ERR_START_WORKFLOW")
                assert (await server.ask("GET", "/readyz"))[0] == 503
                held.set()  # the answer comes in while nothing can be stored
                other.execute("ROLLBACK")
            status_text, context = await server.ended(chain)
            assert (status_text, context["two"]) == ("SUCCEED", 2)
            await server.ended(await server.submit("chain", {"n": 1}))
            assert len(executor.calls("/one")) == 2, "the refused submissions left nothing behind"
        finally:
            await server.kill()
