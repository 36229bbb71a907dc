"""The trigger contract: how executions are started without a request.

A trigger type is an object named by an entry point of the group ``tornflow.triggers``; the name of the entry point is
the ``type`` of ``add_trigger.json``. The server keeps triggers in its store and runs each of them on every node, from
the moment it is added until it is cancelled. ``TriggerHost.submit`` makes one execution of each occasion, however many
nodes report it and however often a crash repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger as it is stored. ``settings`` is what ``TriggerType.checked`` made of the request; ``created_at`` in
    ms since the epoch. ``id`` is never given again."""

    id: str
    descriptor_id: str
    settings: Mapping[str, Any]
    created_at: int


class TriggerHost(Protocol):
    """What the server offers to one trigger while it runs."""

    def now_ms(self) -> int:
        """Return the time of day, ms since the epoch."""

    async def sleep_until(self, moment_ms: int) -> None:
        """Return when the time of day has reached a moment, also when somebody sets the clock meanwhile. Of several
        nodes one returns at once and the others a little later, so that they find the work done."""

    async def state(self) -> Json:
        """Return what ``keep`` stored last, on any node; {} for nothing."""

    async def keep(self, state: Mapping[str, Any]) -> None:
        """Store a small document durably. The member ``error`` is shown to users until a state without it is kept."""

    async def submit(self, occasion: str, context: Mapping[str, Any]) -> str:
        """Start an execution and return its id once it is durably stored.

        The same ``occasion`` (up to 100 printable characters) gives the same execution, as long as that is kept. While
        the server is overloaded or its store is away, this waits.

        Raises:
            RequestError: this submission will never succeed, such as an unknown descriptor. Nothing was stored.
        """

    async def is_running(self, execution_id: str) -> bool:
        """Return whether an execution has not ended."""


class TriggerType(Protocol):
    title: str
    """One line for people."""

    def checked(self, body: Mapping[str, Any], now_ms: int) -> Json:
        """Return the settings of a new trigger, complete: what depends on this machine is resolved here.

        Raises:
            RequestError: the reason, for the sender of the request.
        """

    def shown(self, trigger: Trigger, now_ms: int) -> Json:
        """Return what users may want to know beside the body that they sent, such as the next runs."""

    async def run(self, trigger: Trigger, host: TriggerHost) -> None:
        """Watch for occasions and submit them until cancelled. Returning means that there will be none any more. When
        it raises it is logged, shown to users, and run again after a pause."""
