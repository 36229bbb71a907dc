"""What became of everything that was accepted, compared with what the executor saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bench.failures import flows
from bench.failures.executor import CHILD, Attempt, Executor
from bench.failures.front import Front
from bench.failures.load import Load

AT_ONCE = 16
ENDED = ("SUCCEED", "FAILED")


@dataclass(slots=True)
class Verdict:
    """Every list holds one line per finding."""

    finished: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        kinds = (("lost", self.lost), ("wrong", self.wrong), ("stuck", self.stuck), ("doubled", self.doubled))
        return [f"{kind}: {line}" for kind, lines in kinds for line in lines]


async def drain(front: Front, executor: Executor, load: Load, patience_s: float) -> float:
    """Wait until every accepted flow has announced its end, nothing runs and no callback is due; return the seconds.

    Flows that are stuck cost ``patience_s`` once.
    """
    began = time.monotonic()
    while time.monotonic() - began < patience_s:
        await load.wake_forgotten()
        waiting = [one for one in load.accepted.values() if one not in executor.ends]
        if not waiting and not executor.pending and await _running(front) == 0:
            break
        await asyncio.sleep(0.3)
    return time.monotonic() - began


async def _running(front: Front) -> int:
    heard = await front.get("/api/executions?limit=1")
    if heard.status != 200:
        return -1
    counts: dict[str, int] = heard.json()["by_status"]
    return sum(counts.values()) - counts.get("succeed", 0) - counts.get("failed", 0)


async def examine(front: Front, executor: Executor, load: Load) -> Verdict:
    """Look at every accepted execution through every node in turn."""
    verdict = Verdict(doubled=list(executor.doubled))
    verdict.wrong += [*executor.early, *executor.complaints, *load.unwoken]
    by_number: dict[int, list[Attempt]] = {}
    for attempt in executor.attempts.values():
        by_number.setdefault(attempt.number, []).append(attempt)
    rest = iter(sorted(load.accepted.items()))

    async def worker() -> None:
        for number, execution in rest:
            view = await _view(front, execution)
            _judge(verdict, load.kinds[number], number, execution, view, executor, by_number.get(number, []))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
    _judge_executions(verdict, executor, load)
    return verdict


async def _view(front: Front, execution: str) -> dict[str, Any]:
    for _ in range(20):
        heard = await front.get(f"/flow/get.json?execution_id={quote(execution, safe='')}")
        if heard.status == 200:
            view: dict[str, Any] = (heard.json() or {}).get("ret") or {}
            return view
        await asyncio.sleep(0.2)
    return {"dag_status": f"answered {heard.status}"}


def _judge(
    verdict: Verdict, kind: flows.Kind, number: int, execution: str, view: dict[str, Any], executor: Executor,
    attempts: list[Attempt],
) -> None:  # fmt: skip
    status, name = view.get("dag_status"), f"{execution} ({kind.name} {number})"
    if not status:
        verdict.lost.append(f"{name} is not there")
        return
    if status not in ENDED:
        running = {task: one.get("status") for task, one in (view.get("tasks") or {}).items()}
        calls = [f"{one.instance} #{one.calls} acknowledged {sorted(one.acknowledged)}" for one in attempts]
        verdict.stuck.append(f"{name}: {status} {running}; the executor was called for {calls}")
        return
    verdict.finished += 1
    context = view.get("context") or {}
    if status != "SUCCEED":
        verdict.wrong.append(f"{name}: {status} {view.get('dag_invoke_msg')}")
        return
    if complaint := flows.check(kind, number, context):
        verdict.wrong.append(f"{name}: {complaint}")
        return
    ends = executor.ends.get(execution)
    if ends is None:
        verdict.lost.append(f"{name}: its end was never announced")
    elif len(ends.said) > 1:
        verdict.doubled.append(f"{name}: ended in {len(ends.said)} ways: {sorted(ends.said)[:2]}")
    verdict.doubled += [f"{name}: {line}" for line in _stamps(kind, context, attempts)]
    verdict.wrong += [f"{name}: {line}" for line in _attempts(attempts)]


def _stamps(kind: flows.Kind, context: dict[str, Any], attempts: list[Attempt]) -> Iterable[str]:
    """The answer that the context shows is one that was given, the one that was acknowledged, the one sent on."""
    stamps = context["stamps"]
    children = {one.execution for one in attempts if CHILD in one.execution}
    if len(children) > 1:
        yield f"its sub-flow ran as {sorted(children)}"
    if kind.is_loop:
        known = set().union(*(one.stamps for one in attempts if one.instance.endswith("-q")))
        yield from (
            f"item {place} shows stamp {one} that no call got" for place, one in enumerate(stamps) if one not in known
        )
        return
    for attempt in attempts:
        shown = stamps.get(attempt.instance)
        if attempt.acknowledged and shown not in attempt.acknowledged:
            yield f"{attempt.instance} shows {shown}, the callback {sorted(attempt.acknowledged)} was taken"
        following = _following(kind, attempt.instance)
        for later in attempts:
            if later.instance == following and later.prev != shown:
                yield f"{attempt.instance} shows {shown}, {following} was sent {later.prev}"


def _following(kind: flows.Kind, task: str) -> str:
    tasks = kind.tasks
    return tasks[tasks.index(task) + 1] if task in tasks[:-1] else ""


def _attempts(attempts: list[Attempt]) -> Iterable[str]:
    """Each task needs one attempt, and one more for each that was reported as failed."""
    by_task: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_task.setdefault(attempt.instance, []).append(attempt)
    for task, found in by_task.items():
        wanted = 1 + sum(one.failed for one in found)
        if len(found) != wanted:
            yield f"{task} had {len(found)} attempts, needed {wanted}: {sorted(one.key for one in found)}"


def _judge_executions(verdict: Verdict, executor: Executor, load: Load) -> None:
    """One number, one execution; what was begun without anybody knowing must have ended too."""
    for number, seen in executor.executions.items():
        known = load.accepted.get(number)
        if len(seen | ({known} if known else set())) > 1:
            verdict.doubled.append(f"number {number} was run as {sorted(seen)}, accepted {known}")
        elif known is None and not seen & set(executor.ends):
            verdict.stuck.append(f"number {number}: {sorted(seen)} was begun, nobody was told, and it has no end")
