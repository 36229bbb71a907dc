"""A stand-in for the server: raw protocols, no engine, nothing stored. It shows what the load generator can drive.

python -m bench.standin PORT
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

from bench.wire import Client, Request, answer, listen

_OK = answer(b'{"ret": true, "result": "ok"}')
_RESOURCE = re.compile(rb'resourceName: "http://127\.0\.0\.1:(\d+)')


class StandIn:
    """Takes the two-task flow, calls both tasks one after the other, and says SUCCEED of everything."""

    def __init__(self) -> None:
        self._count = 0
        self._done = 0
        self._executor: Client | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, request: Request) -> bytes | None:
        path = request.target.split(b"?", 1)[0]
        if path == b"/flow/submit.json":
            return self._submit()
        if path.endswith(b"add_descriptor.json"):
            found = _RESOURCE.search(request.body)
            if found:
                self._executor = Client(int(found.group(1)))
        if path == b"/flow/get.json":
            view = {"dag_status": "SUCCEED", "context": {"score1": 42, "greet": "hello Bob"}}
            return answer(json.dumps({"ret": view}).encode())
        if path == b"/api/executions":
            return answer(json.dumps({"by_status": {"succeed": self._done}}).encode())
        return _OK

    def _submit(self) -> bytes:
        self._count += 1
        execution_id = f"bench:twoTasks_c_{self._count:032d}"
        task = asyncio.get_running_loop().create_task(self._run(execution_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer(json.dumps({"execution_id": execution_id}).encode())

    async def _run(self, execution_id: str) -> None:
        assert self._executor is not None, "a flow is registered first"
        for user in ("Bob", "Alice"):
            quoted = execution_id.replace(":", "%3A")
            await self._executor.post(f"/greet.json?user={user}&execution_id={quoted}&name={user}", b"{}")
        self._done += 1


async def main(port: int) -> None:
    """Serve until killed."""
    await listen(StandIn().handle, port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
