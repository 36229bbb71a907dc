"""Moments by cron expressions, as Spring reads them: six fields, seconds first (rill-http-api 13.1).

Where the clocks are changed (the rules of Debian's cron): an expression that names minutes and hours means times of
day. One that does not exist on that day comes at the end of the gap, one that exists twice comes once. An expression
with ``*`` in minutes or hours means a rhythm, and follows the time that really passes.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from tornflow.errors import MalformedField

_CHARACTERS = 200
_MACROS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_NAMED_LAST = re.compile(r"\b(SUN|MON|TUE|WED|THU|FRI|SAT)L\b")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_UNSUPPORTED = re.compile(r"\d+W|L-\d+")
_ZONE_FILE = Path("/etc/localtime")


class Cron:
    """One expression in one time zone. Raises MalformedField for what is none, or never comes true."""

    def __init__(self, expression: str, time_zone: str, now_ms: int) -> None:
        self.zone = zone_of(time_zone)
        self._expression = _normal(expression)
        minutes, hours = self._expression.split()[1:3]
        self._names_times = not minutes.startswith("*") and not hours.startswith("*")
        try:
            coming = self.after(now_ms)
        except CronSimError as error:
            raise _malformed(f"{expression!r}: {error}") from None
        if coming is None:
            raise _malformed(f"{expression!r} never comes true")

    def after(self, moment_ms: int) -> int | None:
        """Return the first moment later than ``moment_ms``; None: there is none."""
        local = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(self.zone)
        # A time zone of its own would let the iterator count real seconds; a rhythm wants that.
        found = CronSim(self._expression, local.replace(tzinfo=None) if self._names_times else local)
        found.day_and = True  # Spring: both days must fit; Debian's cron: one of them
        for one in found:
            moment = int(self._real(one).timestamp() * 1000)
            if moment > moment_ms:  # the second time of an hour that is there twice is passed over
                return moment
        return None

    def _real(self, local: datetime) -> datetime:
        if not self._names_times:
            return local
        there = local.replace(tzinfo=self.zone)
        while there.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != there.replace(tzinfo=None):
            local = local.replace(second=0) + timedelta(minutes=1)  # in the gap: go to its end
            there = local.replace(tzinfo=self.zone)
        return there


def zone_of(name: str) -> ZoneInfo:
    """Raises MalformedField."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        text = f"time_zone: there is no time zone {name[:100]!r}; write such as Europe/Berlin or UTC"
        raise MalformedField(text, field="time_zone") from None


def server_zone() -> str:
    """Return the name of this machine's time zone, UTC where it has none."""
    found = os.environ.get("TZ", "").lstrip(":") or str(_ZONE_FILE.resolve()).partition("zoneinfo/")[2]
    try:
        zone_of(found)
    except MalformedField:
        return "UTC"
    return found


def _normal(expression: str) -> str:
    """Return the expression in the words of the library."""
    text = expression.strip()
    if len(text) > _CHARACTERS:
        raise _malformed(f"an expression has at most {_CHARACTERS} characters")
    text = _MACROS.get(text.lower(), text).upper()
    if text.startswith("@"):
        raise _malformed(f"{text.lower()!r} is none of {', '.join(_MACROS)}")
    fields = text.split()
    if len(fields) != 6:
        raise _malformed(f"{expression!r} has {len(fields)} fields, not six: second minute hour day month weekday")
    if _UNSUPPORTED.search(fields[3]):
        raise _malformed(f"{fields[3]!r}: days such as 15W and L-3 are not supported; L and LW are")
    fields[3] = fields[3].replace("?", "*")
    weekday = _NAMED_LAST.sub(lambda found: f"{_DAYS.index(found[1])}L", fields[5])
    fields[5] = weekday.replace("?", "*").replace("-SUN", "-7")
    return " ".join(fields)


def _malformed(reason: str) -> MalformedField:
    return MalformedField(f"cron: {reason}", field="cron")
