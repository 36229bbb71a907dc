"""The sections that built-in stores and task types read. A test compares them with the packages' own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tornflow.config.about import setting


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """Used when the storage URL begins with sqlite://"""

    batch_limit: int = setting(256, "writes that share one transaction at most", unit="writes", minimum=1)
    max_pending_writes: int = setting(
        20_000, "writes that wait for the disk; more are refused", unit="writes", minimum=1
    )
    revision_cache: int = setting(65_536, "scopes whose revision is remembered", unit="scopes", minimum=1)
    page_cache_mib: int = setting(64, "page cache of the writing connection", unit="MiB", minimum=1)
    checkpoint_pages: int = setting(
        4000, "pages of 4 KiB in the write-ahead log before they move into the database file", unit="pages", minimum=1
    )
    journal_limit_mib: int = setting(64, "the write-ahead log is cut back to this", unit="MiB", minimum=1)
    busy_timeout_ms: int = setting(5000, "patience with other programs that lock the file", unit="ms", minimum=1)


@dataclass(frozen=True, slots=True)
class MongodbSettings:
    """Used when the storage URL begins with mongodb:// or mongodb+srv://"""

    driver: str = setting("motor", "which client library talks to the server", one_of=("motor", "pymongo"))
    server_selection_ms: int = setting(
        5000, "how long to look for a primary before storage counts as unavailable", unit="ms", minimum=1
    )
    socket_timeout_ms: int = setting(
        20_000, "how long one answer may take before its result counts as unknown", unit="ms", minimum=1
    )
    retry_ms: int = setting(
        20_000, "how long an interrupted write is tried again until its result is known", unit="ms", minimum=1
    )
    batch_limit: int = setting(128, "writes that share one round trip at most", unit="writes", minimum=1)
    bulks_in_flight: int = setting(2, "round trips with writes at the same time", minimum=1)
    max_pending_writes: int = setting(
        20_000, "writes that wait to be sent; more are refused", unit="writes", minimum=1
    )
    log_entries: int = setting(
        200, "part changes kept in the head document before they are moved out", unit="changes", minimum=1
    )
    log_kib: int = setting(256, "the same by size", unit="KiB", minimum=1)
    scopes_watched: int = setting(65_536, "scopes whose log size is remembered", unit="scopes", minimum=1)
    pool_size: int = setting(32, "connections to one member at most", unit="connections", minimum=1)


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where executions live"""

    url: str = setting(
        "sqlite:///var/tornflow.db",
        "memory://, sqlite:///relative.db, sqlite:////absolute.db or mongodb://...; relative to the working directory",
        environ=("TORNFLOW_STORAGE",),
        is_secret=True,
    )
    wait_s: float = setting(
        0.0, "how long the start waits for a store that cannot be reached yet; 0: not at all", unit="s", minimum=0
    )
    sqlite: SqliteSettings = field(default_factory=SqliteSettings)
    mongodb: MongodbSettings = field(default_factory=MongodbSettings)


@dataclass(frozen=True, slots=True)
class PythonPluginSettings:
    """Tasks python://name"""

    callables: Mapping[str, Any] = setting({}, "what python://name may run: {name: 'module:attribute'}")
    threads: int = setting(8, "threads for callables that are not async", unit="threads", minimum=1)
    timeout_s: float = setting(600.0, "longest run of one callable", unit="s", minimum=0.01)


@dataclass(frozen=True, slots=True)
class HttpPluginSettings:
    """Tasks http:// and https://"""

    secret: str = setting(
        "", "key that signs callback URLs where a task asks for generate_auth; empty: unsigned", is_secret=True
    )


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """One section per task type; those of other plugins are passed to them as they are"""

    disabled: tuple[str, ...] = setting((), "names of installed plugins that are left out")
    python: PythonPluginSettings = field(default_factory=PythonPluginSettings)
    http: HttpPluginSettings = field(default_factory=HttpPluginSettings)
