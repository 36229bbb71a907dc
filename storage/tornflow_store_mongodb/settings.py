"""``storage.mongodb`` of the configuration."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tornflow.errors import ConfigError

DRIVERS = ("motor", "pymongo")


@dataclass(frozen=True, slots=True)
class MongoSettings:
    """Whole numbers above 0, except ``driver``."""

    driver: str = "motor"  # or "pymongo": PyMongo's own asynchronous client
    server_selection_ms: int = 5_000  # how long to look for a primary before StorageUnavailable
    socket_timeout_ms: int = 20_000  # how long one answer may take before its result counts as unknown
    retry_ms: int = 20_000  # how long an interrupted write is tried again, until its result is known
    batch_limit: int = 128  # writes that share one round trip at most
    bulks_in_flight: int = 2
    max_pending_writes: int = 20_000  # writes waiting to be sent; more are refused with StorageUnavailable
    log_entries: int = 200  # part changes kept in the head document before they are moved out
    log_kib: int = 256  # the same by size
    scopes_watched: int = 65_536  # scopes whose log size is remembered between writes, about 0.2 kB each
    pool_size: int = 32  # connections to one member at most

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Raises: ConfigError: an unknown key (the nearest known one is named) or a bad value."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key, value in values.items():
            where = f"storage.mongodb.{key}"
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)
                raise ConfigError(f"{where}: there is no such setting; {hint}", field=where)
            if key == "driver":
                if value not in DRIVERS:
                    raise ConfigError(f"{where}: must be motor or pymongo, not {value!r}", field=where)
            elif type(value) is not int or not 1 <= value < 2**31:
                raise ConfigError(f"{where}: must be a whole number from 1, not {value!r}", field=where)
        return cls(**values)
