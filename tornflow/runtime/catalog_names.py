"""The names under which descriptors are found: sets, version lines, gray rules, second names.

Records (kind, key -> body); names are alphanumeric, so ":" cannot stand in one:

    business      b                 -> {}         the three sets of rill-http-api 8.1 to 8.6
    feature       b:f               -> {}
    alias         b:f:a             -> {}
    version       b:f:a:<age>:<md5> -> {}         <age> falls with time: the first record of a line is its newest
    gray          b:f:a             -> rule text
    second_name   b:f               -> b:f of the descriptor that answers to it (decisions, "Rill HTTP" row 3)
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple

from tornflow.errors import NameRule
from tornflow.runtime.catalog_cache import Remembered
from tornflow.spi.storage import Record, Storage

MAX_NAME = 100
_NAME = re.compile(r"[a-zA-Z0-9]+")
_END_OF_TIME = 10**15  # ms; 15 digits reach the year 33658
_SETS = ("business", "feature", "alias")
_EMPTY = b"{}"
_PAGE = 1000


class Flow(NamedTuple):
    business: str
    feature: str

    @property
    def key(self) -> str:
        return f"{self.business}:{self.feature}"


@dataclass(frozen=True, slots=True)
class Version:
    """One entry of a version line. ``created_at``: when it was stored last, ms."""

    descriptor_id: str
    md5: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One line with at least one version (``rill-http-api`` 15.2); ``descriptor_id`` is the newest version."""

    business: str
    feature: str
    alias: str
    descriptor_id: str
    created_at: int
    updated_at: int


def is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def check_names(**names: str) -> None:
    """Raise NameRule for the first that is no name; ``details["field"]`` says which one (``rill-http-api`` 3.1)."""
    for field, name in names.items():
        if not is_name(name):
            raise NameRule("error data format", field=field, given=name[: 2 * MAX_NAME])


class Names:
    """All names of one store.

    ``newest``, ``home`` and ``gray_rules`` answer from ``remembered``, which the caller refreshes once per request;
    everything else reads the store. The caller also says where a change begins and ends.
    """

    def __init__(
        self, storage: Storage, clock: Callable[[], int], remembered: Remembered, *, max_versions: int
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._max_versions = max_versions
        self._remembered = remembered
        self._last_ms = 0

    # --- versions

    async def newest(self, flow: Flow, alias: str) -> str | None:
        """Return the md5 of the newest version of a line."""
        return await self._remembered.get(("newest", flow, alias), lambda: self._read_newest(f"{flow.key}:{alias}:"))

    async def home(self, flow: Flow) -> Flow:
        """Return the flow that a pair of names means: its own if it has versions, else that of the second name."""
        return await self._remembered.get(("home", flow), lambda: self._read_home(flow))

    async def has_versions(self, flow: Flow) -> bool:
        return await self._read_newest(f"{flow.key}:") is not None

    async def versions(self, flow: Flow, alias: str) -> list[Version]:
        """Return the versions of a line, newest first."""
        found: dict[str, Version] = {}
        async for record in self._all("version", f"{flow.key}:{alias}:"):
            _, _, _, age, md5 = record.key.split(":")
            # A crash while a version was moved to the top leaves it twice; the newer one counts.
            found.setdefault(md5, Version(f"{flow.key}:md5_{md5}", md5, _END_OF_TIME - int(age)))
        return list(found.values())

    async def add_version(self, flow: Flow, alias: str, md5: str) -> None:
        """Make ``md5`` the newest version of a line and drop what is too many (``rill-http-api`` 3.3)."""
        line = f"{flow.key}:{alias}:"
        before = [record.key async for record in self._all("version", line)]
        key = f"{line}{_END_OF_TIME - self._next_ms(before):015d}:{md5}"
        await self._storage.put_record("version", key, _EMPTY)
        same = [old for old in before if old.endswith(md5)]
        kept = [old for old in before if old not in same]
        for old in same + kept[self._max_versions - 1 :]:
            await self._storage.delete_record("version", old)

    async def listed(self) -> list[Listed]:
        """Return every line that is in the sets and has a version, newest line first."""
        known = {alias async for alias in self._keys("alias", "")}
        features = {feature async for feature in self._keys("feature", "")}
        businesses = {business async for business in self._keys("business", "")}
        lines: dict[tuple[str, str, str], list[Version]] = {}
        async for record in self._all("version", ""):
            business, feature, alias, age, md5 = record.key.split(":")
            flow = Flow(business, feature)
            if f"{flow.key}:{alias}" in known and flow.key in features and business in businesses:
                version = Version(f"{flow.key}:md5_{md5}", md5, _END_OF_TIME - int(age))
                lines.setdefault((business, feature, alias), []).append(version)
        found = [
            Listed(*names, line[0].descriptor_id, line[-1].created_at, line[0].created_at)
            for names, line in lines.items()
        ]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    # --- sets

    async def put(self, *names: str) -> None:
        """Add a business, a feature or an alias (one, two or three names) to its set and those above it."""
        for count, kind in enumerate(_SETS[: len(names)], start=1):
            key = ":".join(names[:count])
            if await self._storage.get_record(kind, key) is None:
                await self._storage.put_record(kind, key, _EMPTY)

    async def drop(self, kind: str, *names: str) -> None:
        """Remove from one set only; nothing cascades (``rill-http-api`` 8)."""
        await self._storage.delete_record(kind, ":".join(names))

    async def members(self, kind: str, *above: str) -> list[str]:
        """Return the names in one set, sorted."""
        prefix = "".join(f"{name}:" for name in above)
        return [key.removeprefix(prefix) async for key in self._keys(kind, prefix)]

    # --- gray rules and second names

    async def gray_rules(self, flow: Flow) -> dict[str, str]:
        """Return the rules by alias, in order of alias."""
        return await self._remembered.get(("gray", flow), lambda: self._read_gray(flow))

    async def set_gray(self, flow: Flow, alias: str, rule: str) -> None:
        await self._storage.put_record("gray", f"{flow.key}:{alias}", rule.encode())

    async def set_second(self, flow: Flow, home: Flow) -> None:
        await self._storage.put_record("second_name", flow.key, home.key.encode())

    async def second(self, flow: Flow) -> Flow | None:
        body = await self._storage.get_record("second_name", flow.key)
        return None if body is None else Flow(*body.decode().split(":"))

    # --- reading

    async def _read_newest(self, line: str) -> str | None:
        found = await self._storage.list_records("version", line, limit=1)
        return found[0].key.rpartition(":")[2] if found else None

    async def _read_home(self, flow: Flow) -> Flow:
        if await self.has_versions(flow):
            return flow
        return await self.second(flow) or flow

    async def _read_gray(self, flow: Flow) -> dict[str, str]:
        prefix = f"{flow.key}:"
        return {record.key.removeprefix(prefix): record.body.decode() async for record in self._all("gray", prefix)}

    async def _keys(self, kind: str, prefix: str) -> AsyncIterator[str]:
        async for record in self._all(kind, prefix):
            yield record.key

    async def _all(self, kind: str, prefix: str) -> AsyncIterator[Record]:
        after = ""
        while page := await self._storage.list_records(kind, prefix, after=after, limit=_PAGE):
            for record in page:
                yield record
            if len(page) < _PAGE:
                return
            after = page[-1].key

    def _next_ms(self, before: list[str]) -> int:
        """Return now, or the next ms after everything that this line or this process has stored: no ties."""
        newest = _END_OF_TIME - int(before[0].split(":")[3]) if before else 0
        self._last_ms = max(self._clock(), self._last_ms + 1, newest + 1)
        return self._last_ms
