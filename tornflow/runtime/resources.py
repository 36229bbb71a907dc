"""Which resources the tasks of each flow use, and which of them asked to be left alone (rill-http-api 11).

An executor asks in its answer: ``{"sys_info": {"retry_interval_seconds": 30}}``. While a resource of a flow is limited,
submissions of the flow are refused, as far as their ``resource_check`` says. All of it is of this process, in memory:
it is advice of a moment, and an executor under load says it to every node that calls it.

A submission pays for it only while something is limited, an attempt one look into a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tornflow.errors import ResourceLimited
from tornflow.runtime.clock import Clock
from tornflow.spi.task_type import Answered, Outcome

CHECK_TYPES = ("short_board", "long_board", "key_resource", "skip")
REMEMBERED_MS = 10_800_000
_USES = 50_000
_CHILD = "rillflow://"
_DEPTH = 5
_LONGEST_S = 10**9


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """``type``: one of CHECK_TYPES. short_board refuses when any resource is limited, long_board when all are,
    key_resource when any of ``keys`` is, skip never."""

    type: str = CHECK_TYPES[0]
    keys: tuple[str, ...] = ()


@dataclass(slots=True)
class Use:
    """A task of a flow with one resource: its last answer, and until when it is to be left alone; ms, 0: it is not."""

    task: str
    resource: str
    updated_at: int
    limited_until: int = 0


class Resources:
    """``has_limits``: something is limited, or was not long ago; the only thing that a submission looks at."""

    def __init__(self, clock: Clock, default: ResourceCheck = ResourceCheck()) -> None:
        self._clock = clock
        self._default = default
        self._services: dict[str, dict[tuple[str, str], Use]] = {}
        self._count = 0
        self._limited_until = 0
        self.has_limits = False

    def note(self, service: str, task: str, resource: str, outcome: Outcome) -> None:
        """Learn from the outcome of an attempt; called for each one. ``service``: ``business:feature``."""
        now = self._clock.wall_ms()
        uses = self._services.get(service)
        use = None if uses is None else uses.get((task, resource))
        if use is None:
            use = self._new_use(service, task, resource, now)
        use.updated_at = now
        if isinstance(outcome, Answered) and isinstance(answer := outcome.value, dict) and _may_hold_a_hint(answer):
            seconds = _retry_interval_s(answer)
            if seconds > 0:
                use.limited_until = now + int(seconds * 1000)
                self._limited_until = max(self._limited_until, use.limited_until)
                self.has_limits = True

    def check(self, service: str, check: ResourceCheck | None) -> None:
        """Raises ResourceLimited: a submission of this flow is refused."""
        unsatisfied = self.unsatisfied(service, check)
        if unsatisfied:
            text = f"resource limit resources: {','.join(unsatisfied)}"
            raise ResourceLimited(text, resources=unsatisfied)

    def unsatisfied(self, service: str, check: ResourceCheck | None) -> list[str]:
        """Return the resources for which a submission would be refused; none: it would not."""
        now = self._clock.wall_ms()
        if not self.has_limits:
            return []
        if self._limited_until < now:
            self.has_limits = False
            return []
        check = check or self._default
        limits = self.limits(service)
        limited = [resource for resource, until in limits.items() if until >= now]
        if check.type == "skip" or (check.type == "long_board" and len(limited) < len(limits)):
            return []
        if check.type == "key_resource":
            return [resource for resource in limited if resource in check.keys]
        return limited

    def limits(self, service: str) -> dict[str, int]:
        """Return until when each resource of a flow is to be left alone, those of its sub-flows as theirs."""
        found: dict[str, int] = {}
        for use in self.uses(service):
            found[use.resource] = max(found.get(use.resource, 0), self.limited_until(use))
        return found

    def limited_until(self, use: Use, depth: int = 1) -> int:
        """Return the moment for one use; a sub-flow inherits the latest of its own."""
        until = use.limited_until
        if use.resource.startswith(_CHILD) and depth < _DEPTH:
            child = ":".join(use.resource.removeprefix(_CHILD).split(":")[:2])
            until = max([until, *(self.limited_until(one, depth + 1) for one in self.uses(child))])
        return until

    def uses(self, service: str) -> Iterator[Use]:
        """Yield what is remembered of a flow, in order of first use."""
        since = self._clock.wall_ms() - REMEMBERED_MS
        for use in self._services.get(service, {}).values():
            if use.updated_at >= since:
                yield use

    def clear(self, service: str, resources: Sequence[str] | None) -> None:
        """Lift the limits of some resources of a flow; None: forget all about the flow."""
        if resources is None:
            self._count -= len(self._services.pop(service, {}))
            return
        for use in self._services.get(service, {}).values():
            if use.resource in resources:
                use.limited_until = 0

    def _new_use(self, service: str, task: str, resource: str, now: int) -> Use:
        if self._count >= _USES:
            self._forget(now - REMEMBERED_MS)
        use = Use(task, resource, now)
        if self._count < _USES:
            self._services.setdefault(service, {})[(task, resource)] = use
            self._count += 1
        return use

    def _forget(self, before: int) -> None:
        kept = {
            service: {key: use for key, use in uses.items() if use.updated_at >= before}
            for service, uses in self._services.items()
        }
        self._services = {service: uses for service, uses in kept.items() if uses}
        self._count = sum(map(len, self._services.values()))


def _may_hold_a_hint(answer: Mapping[str, Any]) -> bool:
    """Return whether a closer look is worth it: it rarely is, and this is done for every answer."""
    if "sys_info" in answer or "error_detail" in answer:
        return True
    data = answer.get("data")
    return data is not None and isinstance(data, dict) and "sys_info" in data


def _retry_interval_s(answer: Mapping[str, Any]) -> float:
    """Return the first hint that an answer holds (rill-http-api 6.1); 0: none."""
    data = answer.get("data")
    inner = data.get("sys_info") if isinstance(data, dict) else None
    for holder in (inner, answer.get("sys_info"), answer.get("error_detail")):
        if isinstance(holder, dict):
            seconds = holder.get("retry_interval_seconds")
            if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) < 10:
                seconds = int(seconds)
            if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
                return min(seconds, _LONGEST_S)
    return 0
