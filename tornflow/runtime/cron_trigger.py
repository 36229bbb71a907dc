"""The trigger type ``cron``: executions at moments of the wall clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from tornflow.errors import MalformedField, RequestError
from tornflow.runtime.cron import Cron, server_zone
from tornflow.spi.trigger import Json, Trigger, TriggerHost

LATE_MS = 10_000
"""What is not later than this is fired as if it were on time, whatever the policy for missed runs."""

_KEYS = ("cron", "context", "time_zone", "missed", "overlap")
_MISSED = ("skip", "once", "all")
_OVERLAP = ("allow", "skip")
_SHOWN_RUNS = 5


class CronTrigger:
    """State: ``position`` is the moment up to which everything is done, ``execution_id`` what was started last."""

    title = "Start a flow at moments of a cron expression"

    def checked(self, body: Mapping[str, Any], now_ms: int) -> Json:
        unknown = sorted(set(body) - set(_KEYS))
        if unknown:
            raise MalformedField(f"{unknown[0]!r} is none of {', '.join(_KEYS)}", field=unknown[0])
        context = body.get("context")
        settings = {
            "cron": _text(body, "cron", None),
            "time_zone": _text(body, "time_zone", server_zone()),
            "missed": _one_of(body, "missed", _MISSED),
            "overlap": _one_of(body, "overlap", _OVERLAP),
            "context": {} if context is None else context,
        }
        if not isinstance(settings["context"], dict):
            raise MalformedField("context: must be an object", field="context")
        Cron(settings["cron"], settings["time_zone"], now_ms)
        return settings

    def shown(self, trigger: Trigger, now_ms: int) -> Json:
        cron = _cron(trigger)
        runs = [_iso(moment, cron) for moment in islice(_moments(cron, now_ms), _SHOWN_RUNS)]
        return {"time_zone": trigger.settings["time_zone"], "next_runs": runs}

    async def run(self, trigger: Trigger, host: TriggerHost) -> None:
        cron = _cron(trigger)
        while True:
            done = await _done(trigger, host)
            moment = cron.after(done)
            if moment is None:
                return
            await host.sleep_until(moment)
            if await _done(trigger, host) == done:  # else another node has done it
                await self._fire(trigger, host, moment)

    async def _fire(self, trigger: Trigger, host: TriggerHost, moment: int) -> None:
        """Do what is right for a moment that has come, and keep that it is done.

        The occasion is the first moment that is not done: what follows from the store alone is the same on all nodes.
        """
        settings, state, now = trigger.settings, await host.state(), host.now_ms()
        is_missed = now - moment > LATE_MS
        after: Json = {name: state[name] for name in ("execution_id", "fired_at") if name in state}
        after["position"] = moment
        if is_missed and settings["missed"] != "all":
            after["position"] = max(moment, now - LATE_MS)
        skips = is_missed and settings["missed"] == "skip"
        if not skips and settings["overlap"] == "skip" and state.get("execution_id"):
            skips = await host.is_running(state["execution_id"])
        if not skips:
            try:
                after["execution_id"] = await host.submit(str(moment), settings["context"])
                after["fired_at"] = moment
            except RequestError as error:
                after["error"] = error.message
        await host.keep(after)


async def _done(trigger: Trigger, host: TriggerHost) -> int:
    return int((await host.state()).get("position", trigger.created_at))


def _cron(trigger: Trigger) -> Cron:
    return Cron(trigger.settings["cron"], trigger.settings["time_zone"], trigger.created_at)


def _moments(cron: Cron, moment: int | None) -> Any:
    while moment is not None and (moment := cron.after(moment)) is not None:
        yield moment


def _iso(moment: int, cron: Cron) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).astimezone(cron.zone).isoformat()


def _text(body: Mapping[str, Any], name: str, default: str | None) -> str:
    value = body.get(name)
    if value is None:
        value = default
    if not isinstance(value, str) or not value.strip():
        raise MalformedField(f"{name}: must be a text", field=name)
    return value.strip()


def _one_of(body: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = body.get(name)
    if value is None:
        return allowed[0]
    if value not in allowed:
        raise MalformedField(f"{name}: must be one of {', '.join(allowed)}", field=name)
    return str(value)
