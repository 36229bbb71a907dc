"""Makes ``form_1.json`` and ``form_1_split.json``: what the version before lives leaves behind when it dies.

Run it with the code of that version, the last commit before storage schema 2 (fc52460)::

    git worktree add /tmp/before fc52460 && cd /tmp/before
    PYTHONPATH=.:plugins:storage python <here>/make_form_1.py <here>/form_1.json 16384
    PYTHONPATH=.:plugins:storage python <here>/make_form_1.py <here>/form_1_split.json 0
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tornflow.errors import StorageUnavailable
from tornflow.model.execution import ScopeKey
from tornflow.runtime.discovery import Plugins
from tornflow.runtime.engine import Engine, EngineSettings
from tornflow.spi.storage import ExecutionQuery
from tornflow.spi.task_type import Answered
from tornflow_store_memory import open_storage

HEAD = "workspace: demo\ndagName: {name}\ntype: flow\ntasks:\n"
OUT = "outputMappings: [{source: $.output.v, target: $.context.v}]"
LOOP = """
  - category: foreach
    name: each
    inputMappings: [{source: $.context.items, target: $.input.items}]
    iterationMapping: {collection: $.input.items, item: x}
    outputMappings: [{source: "$.output.sub_context[*].v", target: $.context.done}]
    tasks: [BODY]
"""
FLOWS = {
    "chain": f"  - {{category: function, name: a, pattern: task_sync, resourceName: 'test://held', next: b, {OUT}}}\n"
    "  - {category: function, name: b, pattern: task_sync, resourceName: 'test://quick'}\n",
    "asynchronous": f"  - {{category: function, name: a, pattern: task_async, resourceName: 'test://quick', {OUT}}}\n",
    "loop": LOOP.replace(
        "BODY",
        "{category: function, name: work, pattern: task_sync, resourceName: 'test://each',\n"
        "      inputMappings: [{source: $.context.x, target: $.input.x}], " + OUT + "}",
    ),
    "waiters": LOOP.replace(
        "BODY",
        "{category: suspense, name: gate, event: go, outputMappings: [{source: $.output.event, target: $.context.v}]}",
    ),
    "parent": "  - {category: function, name: sub, pattern: flow_sync, resourceName: 'sub://demo:asynchronous',\n"
    f"     {OUT}}}\n",
    "starter": "  - {category: function, name: sub, pattern: flow_sync, resourceName: 'sub://demo:asynchronous',\n"
    f"     {OUT}}}\n",
    "timer": "  - {category: pass, name: later, timeline: {suspenseIntervalSeconds: 2}}\n",
    "quick": "  - {category: function, name: a, pattern: task_sync, resourceName: 'test://quick'}\n",
}


class Work:
    protocols = ("test",)
    title = "for tests"
    is_held = True

    async def start(self, host: Any) -> None: ...

    async def execute(self, attempt: Any) -> Any:
        if not attempt.task_name or attempt.rest == "held" or (attempt.rest == "each" and attempt.input["x"] != 1):
            await asyncio.Event().wait()
        return Answered({"v": 1})

    async def stop(self) -> None: ...


class Sub:
    protocols = ("sub",)
    title = "sub-flows"

    async def start(self, host: Any) -> None:
        self.host = host

    async def execute(self, attempt: Any) -> Any:
        return Answered({"execution_id": await self.host.start_child(attempt, attempt.rest, dict(attempt.input))})

    async def stop(self) -> None: ...


async def main(target: Path, inline_limit: int) -> None:
    store: Any = open_storage("memory://", {})
    plugins = Plugins({"test": Work(), "sub": Sub()}, {}, (), (), ())  # type: ignore[arg-type]
    engine: Any = Engine(store, plugins, EngineSettings(head_inline_limit_bytes=inline_limit), lambda *_: {})
    await engine.start()
    for name, tasks in FLOWS.items():
        text = HEAD.format(name=name) + tasks
        await engine.catalog.add(text, business="demo", feature=name, alias="release")
    service, ids = engine.service, {}
    for name in ("chain", "asynchronous", "timer"):
        ids[name] = await service.submit(f"demo:{name}", {})
    ids["loop"] = await service.submit("demo:loop", {"items": [1, 2, 3]})
    ids["waiters"] = await service.submit("demo:waiters", {"items": [1, 2, 3]})
    ids["parent"] = await service.submit("demo:parent", {})
    ids["told"] = await service.submit("demo:quick", {}, callback='{"resourceName": "test://told"}')
    ids["keyed"] = await service.submit("demo:quick", {}, idempotency_key="once")
    await service.start_workflow("demo:asynchronous", instance_id="order-7", raw_input='{"n": 1}', component="dapr")
    ids["paused"] = await service.submit("demo:loop", {"items": [2, 3]})
    ids["orphan"] = await service.submit("demo:parent", {})
    ids["kept"] = await service.submit("demo:asynchronous", {})
    await asyncio.sleep(0.3)
    await service.raise_event(ids["kept"], "Nobody", {"waits": 1})
    await service.pause(ids["paused"])
    await service.raise_event(ids["waiters"], "go", {"n": 0})
    await asyncio.sleep(0.3)
    (child,) = await store.executions(ExecutionQuery(parent_id=ids["orphan"]))
    ids["child"] = child.execution_id
    real = store.commit

    async def commit(write: Any) -> int:
        if write.key == ScopeKey(ids["orphan"]):
            raise StorageUnavailable("the parent is never told")
        if write.key.execution_id.startswith("demo:starter") and write.expected_revision:
            raise StorageUnavailable("its sub-flow is stored, its task does not know")
        return int(await real(write))

    store.commit = commit
    ids["starter"] = await service.submit("demo:starter", {})
    await service.finish(ids["child"], "a", {"v": 5}, success=True)
    await asyncio.sleep(0.1)
    target.write_text(json.dumps(dump(store, ids), indent=1, ensure_ascii=False) + "\n", "utf-8")
    os._exit(0)  # it dies


def dump(store: Any, ids: dict[str, str]) -> dict[str, Any]:
    scopes = [
        {
            "execution_id": execution_id, "path": path, "revision": one.revision, "head": one.head.decode(),
            "parts": {name: body.decode() for name, body in one.parts.items()}, "owner": one.owner,
            "due_at": one.due_at, "key": None if path else store._key_of.get(execution_id),
            "summary": None if path else asdict(store._summaries[execution_id]),
        }
        for execution_id, scopes in store._scopes.items() for path, one in scopes.items()
    ]  # fmt: skip
    records = [[kind, key, body.decode()] for kind, found in store._records.items() for key, body in found.items()]
    return {"ids": ids, "scopes": scopes, "records": records}


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
