"""Where and with what the figures are measured: interpreter, folders, stores."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.bare import BareProgram
from bench.processes import REPO, Database, Server, cpu_seconds, database, quiet
from bench.report import say

STORES = ("memory", "sqlite", "mongodb")


@dataclass(frozen=True, slots=True)
class Store:
    """One empty store: ``kind`` is of ``STORES``, ``url`` what the server is given."""

    kind: str
    url: str
    folder: Path
    database: Database | None = None

    def watched(self) -> dict[str, int]:
        """Processes whose CPU time belongs to it."""
        return {"mongod": self.database.pid} if self.database is not None else {}


@dataclass(slots=True)
class Lab:
    """What every figure needs. Use it inside ``with open_lab(...)``: that ends and removes everything."""

    python: str
    repo: Path
    bare_home: Path
    work: Path
    patience_s: float
    server_settings: Sequence[str]
    exits: ExitStack
    busy_starts: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _database: Database | None = None

    def folder(self, name: str) -> Path:
        """Return a new empty folder."""
        path = self.work / f"{next(self._numbers):03d}-{name}"
        path.mkdir(parents=True)
        return path

    def store(self, kind: str) -> Store:
        """Return a new empty store; the first one of MongoDB starts a mongod."""
        folder = self.folder(kind)
        match kind:
            case "memory":
                return Store(kind, "memory://", folder)
            case "sqlite":
                return Store(kind, f"sqlite:///{folder / 'bench.db'}", folder)
            case "mongodb":
                return Store(kind, self.mongod().url(f"bench_{folder.name[:3]}"), folder, self.mongod())
            case _:
                raise ValueError(f"no such store: {kind!r}; there are {', '.join(STORES)}")

    def mongod(self) -> Database:
        if self._database is None:
            say("starting a mongod")
            self._database = self.exits.enter_context(database())
        return self._database

    def server(
        self, store: Store, settings: Sequence[str] = (), command: Sequence[str] = (), repo: Path | None = None
    ) -> Server:
        """A server that is stopped with the lab at the latest; ``repo``: of another checkout than the lab's."""
        given = [*settings, *self.server_settings]
        server = Server(self.python, repo or self.repo, store.url, store.folder, given, command)
        self.exits.callback(server.stop)
        return server

    def bare(self, store: Store, executor_port: int) -> BareProgram:
        """A bare program of the variant for this store, on an empty collection."""
        uri = "mongodb://unused"
        if store.database is not None:
            uri = store.database.bare_uri
            store.database.drop("bench", "flow")
        return BareProgram(self.python, self.bare_home, store.kind, executor_port, store.folder, uri)

    def clear(self, store: Store) -> None:
        """Remove what a store holds; its processes are stopped before."""
        shutil.rmtree(store.folder, ignore_errors=True)
        if store.database is not None:
            store.database.drop(f"bench_{store.folder.name[:3]}")

    async def settle(self) -> None:
        """Wait (bounded) until the machine is idle, and count when it would not become so."""
        if not await quiet(self.patience_s):
            self.busy_starts += 1


def watch(pids: dict[str, int]) -> dict[str, float]:
    """Return the CPU seconds of some processes, and of this one as ``load``."""
    return {name: cpu_seconds(pid) for name, pid in {**pids, "load": os.getpid()}.items()}


@contextmanager
def open_lab(
    *,
    python: str,
    bare_home: Path,
    repo: Path = REPO,
    disk: Path | None = None,
    patience_s: float = 5.0,
    settings: Sequence[str] = (),
) -> Iterator[Lab]:
    """``repo``: checkout whose server is measured. ``disk``: folder on the disk for the stores; default: temporary."""
    with ExitStack() as exits:
        work = Path(tempfile.mkdtemp(prefix="tornflow-bench-", dir=disk))
        exits.callback(shutil.rmtree, work, ignore_errors=True)
        yield Lab(python, repo.resolve(), bare_home.resolve(), work, patience_s, settings, exits)
