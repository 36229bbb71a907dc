"""Triggers of all types: kept as records, run on every node (``spi.trigger``).

Why each occasion becomes one execution: the key of its submission names trigger and occasion, so that a second one,
by another node or by a process that crashed before it kept its state, finds the first. To spare the others that work,
the node to which a trigger falls goes first; nothing depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import structlog

from tornflow.errors import AdmissionRefused, ConfigError, ServerNotReady, StorageUnavailable, TornflowError
from tornflow.model.execution import ScopeKey
from tornflow.model.jsontext import dumps, loads
from tornflow.model.status import FlowStatus
from tornflow.runtime.clock import Clock
from tornflow.runtime.cron_trigger import CronTrigger
from tornflow.runtime.identities import Identities
from tornflow.runtime.numbered import NumberedRecords
from tornflow.runtime.resources import ResourceCheck
from tornflow.runtime.retrying import while_unavailable
from tornflow.runtime.tasks import Tasks
from tornflow.spi.storage import Storage
from tornflow.spi.trigger import Json, Trigger, TriggerType

_log = structlog.get_logger("tornflow.triggers")

GROUP = "tornflow.triggers"
KIND, STATE_KIND = "trigger", "trigger_state"
_LOOK_S = 2.0  # how long a trigger that another node has taken may be unknown here
_SLICE_S = 5.0  # the longest sleep without a look at the wall clock
_BEHIND_S = 0.5
_PAUSE_S = 1.0
_BROKEN_PAUSE_S = 10.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A trigger as users see it. ``body`` is what was posted; ``state`` what its type keeps."""

    trigger: Trigger
    body: Json
    state: Json
    shown: Json


class _Cancelled(Exception):
    """The trigger is not in the store any more."""


class Triggers:
    """Types are found by ``installed_types``. ``start`` begins to run what is stored. ``submit`` is that of the service
    (``runtime.starting``)."""

    def __init__(
        self,
        storage: Storage,
        submit: Callable[..., Awaitable[str]],
        clock: Clock,
        identities: Identities,
        types: Mapping[str, TriggerType],
        falls_to_us: Callable[[ScopeKey], bool] = lambda key: True,
    ) -> None:
        self._storage = storage
        self._submit = submit
        self._clock = clock
        self._types = types
        self._falls_to_us = falls_to_us
        self._records = NumberedRecords(storage, KIND, clock.wall_ms, identities.chance)
        self._tasks = Tasks()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_started = False

    @property
    def types(self) -> Mapping[str, TriggerType]:
        return self._types

    def start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._tasks.keep_running("triggers", self._keep_looking)

    async def stop(self) -> None:
        await self._tasks.close()
        self._running.clear()

    async def add(
        self,
        kind: str,
        descriptor_id: str,
        body: Mapping[str, Any],
        *,
        callback: str | None = None,
        check: ResourceCheck | None = None,
    ) -> str:
        """Store a new trigger, run it, return its id. ``callback`` and ``check`` are for each submission.

        Raises:
            RequestError: the type refuses the body. Nothing was stored.
        """
        now = self._clock.wall_ms()
        settings = self._types[kind].checked(body, now)
        document = {
            "type": kind, "descriptor_id": descriptor_id, "settings": settings, "body": dict(body),
            "callback": callback, "check": None if check is None else asdict(check), "created_at": now,
        }  # fmt: skip
        trigger_id = str(await self._records.add(document))
        if self._is_started:
            self._begin(trigger_id, document)
        return trigger_id

    async def cancel(self, kind: str, trigger_id: str) -> bool:
        """Return whether there was one. No node makes an execution of it after this has returned, except one whose
        submission is on its way."""
        document = await self._document(trigger_id)
        if document is None or document["type"] != kind:
            return False
        was_there = await self._records.remove(int(trigger_id))
        await self._storage.delete_record(STATE_KIND, trigger_id)
        self._end(trigger_id)
        return was_there

    async def listed(self, kind: str) -> list[Listed]:
        """Return the triggers of a type by age."""
        found: list[Listed] = []
        async for number, document in self._records.all():
            if document["type"] == kind:
                trigger, state = _trigger(str(number), document), await self._state(str(number))
                try:
                    shown = self._types[kind].shown(trigger, self._clock.wall_ms())
                except Exception as error:  # of a plug-in, or an expression that an older version took
                    shown = {"error": str(error)}
                found.append(Listed(trigger, document["body"], state, shown))
        return found

    # --- what runs

    async def _keep_looking(self) -> None:
        """Run what is stored and nothing else. On a store of our own one look is enough."""
        while True:
            try:
                await self._look()
            except StorageUnavailable as error:
                _log.warning("cannot look for triggers", reason=str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            if not self._storage.is_shared:
                await asyncio.Event().wait()
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        before = set(self._running)
        found = {str(number): document async for number, document in self._records.all()}
        for trigger_id in before - found.keys():
            self._end(trigger_id)
        for trigger_id, document in found.items():
            self._begin(trigger_id, document)

    def _begin(self, trigger_id: str, document: Json) -> None:
        if trigger_id in self._running:
            return
        task = self._tasks.start(self._keep_running, trigger_id, document)
        if task is not None:
            self._running[trigger_id] = task

    def _end(self, trigger_id: str) -> None:
        task = self._running.pop(trigger_id, None)
        if task is not None:
            task.cancel()

    async def _keep_running(self, trigger_id: str, document: Json) -> None:
        trigger, host = _trigger(trigger_id, document), _Host(self, trigger_id, document)
        kind = self._types.get(document["type"])
        if kind is None:
            _log.error("no plug-in for a trigger", trigger=trigger_id, type=document["type"])
            return
        while True:
            try:
                return await kind.run(trigger, host)
            except _Cancelled:
                return
            except StorageUnavailable as error:
                _log.warning("a trigger waits for the store", trigger=trigger_id, reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            except Exception as error:
                _log.exception("a trigger broke; it is run again", trigger=trigger_id)
                await self._keep_error(trigger_id, f"{type(error).__name__}: {error}")
                await asyncio.sleep(_BROKEN_PAUSE_S)

    async def _keep_error(self, trigger_id: str, error: str) -> None:
        try:
            await self._keep(trigger_id, {**await self._state(trigger_id), "error": error})
        except TornflowError as failure:
            _log.warning("cannot keep the state of a trigger", trigger=trigger_id, reason=str(failure))

    async def _document(self, trigger_id: str) -> Json | None:
        is_id = trigger_id.isascii() and trigger_id.isdigit() and len(trigger_id) <= 16
        return await self._records.get(int(trigger_id)) if is_id else None

    async def _state(self, trigger_id: str) -> Json:
        body = await self._storage.get_record(STATE_KIND, trigger_id)
        return {} if body is None else cast(Json, loads(body))

    async def _keep(self, trigger_id: str, state: Mapping[str, Any]) -> None:
        await self._storage.put_record(STATE_KIND, trigger_id, dumps(dict(state)))


class _Host:
    """What one trigger sees of us (``spi.trigger.TriggerHost``)."""

    def __init__(self, triggers: Triggers, trigger_id: str, document: Json) -> None:
        self._all = triggers
        self._id = trigger_id
        self._document = document

    def now_ms(self) -> int:
        return self._all._clock.wall_ms()

    async def sleep_until(self, moment_ms: int) -> None:
        while (left_ms := moment_ms - self.now_ms()) > 0:
            await asyncio.sleep(min(left_ms / 1000, _SLICE_S))
        if not self._all._falls_to_us(ScopeKey(f"trigger:{self._id}")):
            await asyncio.sleep(_BEHIND_S)

    async def state(self) -> Json:
        return await self._all._state(self._id)

    async def keep(self, state: Mapping[str, Any]) -> None:
        await self._refuse_cancelled()
        await self._all._keep(self._id, state)

    async def submit(self, occasion: str, context: Mapping[str, Any]) -> str:
        document = self._document
        submit = partial(
            self._all._submit, document["descriptor_id"], context, callback=document["callback"],
            trigger=f"{self._id}:{occasion}", resource_check=_check(document["check"]),
        )  # fmt: skip
        while True:
            await self._refuse_cancelled()
            try:
                return await while_unavailable(submit)
            except (AdmissionRefused, ServerNotReady) as error:
                _log.warning("a trigger waits", trigger=self._id, reason=error.message)
                await asyncio.sleep(_PAUSE_S)
            except TornflowError as error:
                _log.warning("a trigger could not start its flow", trigger=self._id, reason=error.message)
                raise

    async def is_running(self, execution_id: str) -> bool:
        summary = await self._all._storage.summary(execution_id)
        return summary is not None and not FlowStatus(summary.status.upper()).is_completed

    async def _refuse_cancelled(self) -> None:
        if await self._all._document(self._id) is None:
            raise _Cancelled


def installed_types(found: Iterable[EntryPoint] | None = None) -> dict[str, TriggerType]:
    """Return the trigger types by name: ``cron``, and what plug-ins bring. One that cannot be loaded is logged.

    Raises:
        ConfigError: two have one name.
    """
    types: dict[str, TriggerType] = {"cron": CronTrigger()}
    for point in entry_points(group=GROUP) if found is None else found:
        if point.name in types:
            raise ConfigError(f"two trigger types have the name {point.name!r}")
        try:
            types[point.name] = point.load()()
        except (Exception, SystemExit) as error:  # foreign code ran
            _log.error("trigger type not loaded", type=point.name, reason=f"{type(error).__name__}: {error}")
    return types


def _check(document: Json | None) -> ResourceCheck | None:
    return None if document is None else ResourceCheck(document["type"], tuple(document["keys"]))


def _trigger(trigger_id: str, document: Json) -> Trigger:
    return Trigger(trigger_id, document["descriptor_id"], document["settings"], document["created_at"])
