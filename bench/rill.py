"""What the bench asks of a server of the Rill family, and the flows that it registers there."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from bench.wire import Client

BUSINESS = "bench"
Pairs = Sequence[tuple[str, str]]
"""Mapping rules: source and target."""


class Refused(Exception):
    """The server answered something else than what a working one answers."""


class Rill:
    """Raises Refused for unexpected answers and Broken for broken connections, from every method."""

    def __init__(self, port: int, timeout_s: float = 30.0) -> None:
        self.client = Client(port, timeout_s)

    def close(self) -> None:
        self.client.close()

    async def register(self, feature: str, text: str) -> None:
        names = f"business_id={BUSINESS}&feature_name={feature}&alias=release"
        target = f"/flow/bg/manage/descriptor/add_descriptor.json?{names}"
        status, body = await self.client.post(target, text.encode())
        if status != 200:
            raise Refused(f"{feature} was not registered: {status} {body[:600]!r}")

    async def submit(self, feature: str, context: bytes, *, headers: bytes = b"", callback: str = "") -> str:
        target = f"/flow/submit.json?descriptor_id={BUSINESS}:{feature}"
        if callback:
            target += "&callback=" + quote(callback, safe="")
        status, body = await self.client.post(target, context, headers)
        if status != 200:
            raise Refused(f"submit answered {status} {body[:300]!r}")
        return str(json.loads(body)["execution_id"])

    async def view(self, execution_id: str, *, brief: bool = True) -> dict[str, Any]:
        """The flow as ``get.json`` shows it."""
        more = "&brief=true" if brief else ""
        status, body = await self.client.get(f"/flow/get.json?execution_id={quote(execution_id, safe='')}{more}")
        if status != 200:
            raise Refused(f"get.json answered {status} {body[:300]!r}")
        view: dict[str, Any] = json.loads(body)["ret"]
        return view

    async def finish(self, execution_id: str, task: str, body: bytes) -> None:
        target = f"/flow/finish.json?execution_id={quote(execution_id, safe='')}&task_name={quote(task, safe='')}"
        status, reply = await self.client.post(target, body)
        if status != 200:
            raise Refused(f"finish.json answered {status} {reply[:300]!r}")

    async def count_by_status(self) -> dict[str, int]:
        """Executions of the whole store by status (our own list, ``/api/executions``)."""
        status, body = await self.client.get("/api/executions?limit=1")
        if status != 200:
            raise Refused(f"/api/executions answered {status} {body[:300]!r}")
        counts: dict[str, int] = json.loads(body)["by_status"]
        return counts


def two_tasks(port: int) -> str:
    """The published example's shape: one synchronous HTTP task after the other, with mappings."""
    url = f"http://127.0.0.1:{port}/greet.json?user="
    bob = [("$.context.Bob", "$.input.Bob")]
    alice = [("$.context.Alice", "$.input.Alice"), ("$.context.score1", "$.input.prev")]
    score, greet = [("$.output.score", "$.context.score1")], [("$.output.greet", "$.context.greet")]
    tasks = [
        _function("Bob", url + "Bob", "task_sync", next="Alice", inputs=bob, outputs=score),
        _function("Alice", url + "Alice", "task_sync", inputs=alice, outputs=greet),
    ]
    return _flow("twoTasks", tasks)


def chain(feature: str, tasks: int, *, mapped: bool) -> str:
    """``tasks`` pass tasks in a row; mapped: each copies ``seed`` into a key of its own."""
    return _flow(feature, (_pass(number, tasks, mapped) for number in range(1, tasks + 1)))


def waiting(port: int) -> str:
    """One asynchronous task."""
    return _flow("waiting", [_function("job", f"http://127.0.0.1:{port}/job", "task_async",
        inputs=[("$.context.number", "$.input.number")], outputs=[("$.output.done", "$.context.done")])])  # fmt: skip


def checkable(port: int) -> str:
    """Three tasks that compute a, b and c from ``number``: synchronous, called back, synchronous with one retry."""
    base = f"http://127.0.0.1:{port}"
    number = ("$.context.number", "$.input.number")
    return _flow("checkable", [
        _function("first", f"{base}/first", "task_sync", next="second", inputs=[number],
            outputs=[("$.output.a", "$.context.a")]),
        _function("second", f"{base}/second", "task_async", next="third",
            inputs=[number, ("$.context.a", "$.input.a")], outputs=[("$.output.b", "$.context.b")]),
        _function("third", f"{base}/third", "task_sync", retries=1,
            inputs=[number, ("$.context.b", "$.input.b")], outputs=[("$.output.c", "$.context.c")]),
    ])  # fmt: skip


def loop(port: int, at_once: int) -> str:
    """A foreach over ``items``: one pass task and one synchronous HTTP task each; ``vs`` gathers what they answer."""
    prep = _task("pass", "prep", "call",
        inputs=[("$.context.x", "$.input.x")], outputs=[("$.output.x", "$.context.y")])  # fmt: skip
    call = _function("call", f"http://127.0.0.1:{port}/item", "task_sync",
        inputs=[("$.context.y", "$.input.y")], outputs=[("$.output.v", "$.context.v")])  # fmt: skip
    return _flow("loop", [
        "  - category: foreach\n"
        "    name: each\n"
        "    inputMappings: [{source: $.context.items, target: $.input.items}]\n"
        "    iterationMapping: {collection: $.input.items, item: x, index: i}\n"
        f"    synchronization: {{maxConcurrency: {at_once}}}\n"
        '    outputMappings: [{source: "$.output.sub_context[*].v", target: $.context.vs}]\n'
        f"    tasks:\n  {prep}\n  {call}",
    ])  # fmt: skip


def layered(feature: str, layers: int, width: int, url: str = "") -> str:
    """``layers`` of ``width`` tasks, each task linked to every one of the next layer; pass tasks when ``url`` is "".

    Names are numbers in as few letters as they need: with 40 by 50 they make up half of the text.
    """
    names = [_short(number) for number in range(layers * width)]
    tasks = []
    for number, name in enumerate(names):
        first = (number // width + 1) * width
        category, more = ("function", f', pattern: task_sync, resourceName: "{url}"') if url else ("pass", "")
        inputs, outputs = [("$.context.a", "$.input.a")], [("$.output.a", f"$.context.k{name}")]
        tasks.append(_task(category, name, ",".join(names[first : first + width]), more, inputs, outputs))
    return _flow(feature, tasks)


def _short(number: int) -> str:
    letters = string.ascii_letters
    # Three letters with a first one that begins no word that YAML takes for a truth value (no, on, yes, off).
    return "t" + letters[number // len(letters)] + letters[number % len(letters)]


def _flow(feature: str, tasks: Iterable[str]) -> str:
    head = f"version: 1.0.0\nworkspace: {BUSINESS}\ndagName: {feature}\ntype: flow\ntasks:\n"
    return head + "\n".join(tasks) + "\n"


def _function(
    name: str, resource: str, pattern: str, *, next: str = "", retries: int = 0, inputs: Pairs, outputs: Pairs,
) -> str:  # fmt: skip
    more = f', pattern: {pattern}, resourceName: "{resource}"'
    if retries:
        more += f", retry: {{maxRetryTimes: {retries}, intervalInSeconds: 0}}"
    return _task("function", name, next, more, inputs, outputs)


def _task(category: str, name: str, next: str, more: str = "", inputs: Pairs = (), outputs: Pairs = ()) -> str:
    text = f"  - {{category: {category}, name: {name}{more}"
    if next:
        text += f', next: "{next}"'
    for kind, pairs in (("inputMappings", inputs), ("outputMappings", outputs)):
        if pairs:
            rules = ", ".join(f"{{source: {source}, target: {target}}}" for source, target in pairs)
            text += f", {kind}: [{rules}]"
    return text + "}"


def _pass(number: int, last: int, mapped: bool) -> str:
    following = f"t{number + 1}" if number < last else ""
    inputs, outputs = [("$.context.seed", "$.input.v")], [("$.output.v", f"$.context.k{number}")]
    return _task("pass", f"t{number}", following, "", inputs if mapped else (), outputs if mapped else ())
