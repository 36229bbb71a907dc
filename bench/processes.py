"""Processes under test: started on their own core, watched through /proc, and always ended. Linux only."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.wire import Broken, Client

REPO = Path(__file__).resolve().parent.parent
SERVER_CPU = 0
LOAD_CPU = 1 if (os.cpu_count() or 1) > 1 else 0
READY_TIMEOUT_S = 60.0
ALONE_TIMEOUT_S = 300.0
_PR_SET_PDEATHSIG = 1


class NotRunning(Exception):
    """A process did not start or ended by itself; the message ends with what it said last."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pin(cpu: int, pid: int = 0) -> None:
    """Bind a process (0: this one) and what it will start to one core; nothing on machines without that core."""
    if cpu < (os.cpu_count() or 1):
        os.sched_setaffinity(pid, {cpu})


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads that the process has now, in seconds (nanosecond precision)."""
    return sum(thread_seconds(pid).values())


def thread_seconds(pid: int) -> dict[int, float]:
    """Return the CPU time of each thread by its system id, in seconds."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            pass  # the thread has just ended
    return found


def memory_bytes(pid: int) -> int:
    """Return the resident set without pages of files: what the process itself has written."""
    return _kilobytes(pid, "RssAnon") * 1024


def peak_bytes(pid: int) -> int:
    """Return the most that a process ever had resident, pages of files included."""
    return _kilobytes(pid, "VmHWM") * 1024


def resident_bytes(pid: int) -> int:
    """Return what it has resident now, counted as ``peak_bytes`` does."""
    return _kilobytes(pid, "VmRSS") * 1024


def children(pid: int) -> list[int]:
    """Return the ids of a process's direct children."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in found.split()]


def _kilobytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise NotRunning(f"process {pid} has no memory figures")


def stop_on_signals() -> None:
    """Let SIGINT and SIGTERM end the measurement with a KeyboardInterrupt, so that everything is cleaned up.

    A shell without job control starts its background jobs with SIGINT ignored; that is undone here.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))


def machine() -> dict[str, object]:
    """What a reader of the figures must know."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": os.uname().release.split("-")[0],
        "python": sys.version.split()[0],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


async def quiet(patience_s: float, busy_limit: float = 0.12) -> bool:
    """Wait until other work leaves the machine idle; False when it did not within ``patience_s``."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        busy, whole = _busy_ticks()
        await asyncio.sleep(0.25)
        busy_then, whole_then = _busy_ticks()
        if busy_then - busy <= busy_limit * max(1, whole_then - whole):
            return True
    return False


def _busy_ticks() -> tuple[int, int]:
    fields = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


_alive: set[subprocess.Popen[bytes]] = set()


def spawn(
    command: Sequence[str],
    *,
    cpu: int,
    output: Path,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process on one core; what it says is appended to ``output``. It dies with this process at the latest."""
    with output.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environ or {})},
            start_new_session=True,  # Ctrl-C reaches us alone, and we end them in order
            preexec_fn=_prepare(cpu),
        )
    _alive.add(process)
    return process


def _prepare(cpu: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        pin(cpu)

    return prepare


def end(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Ask a process that we started to stop; insist after ``patience_s``."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _alive.discard(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """``kill -9`` and wait until it is gone."""
    process.kill()
    process.wait()
    _alive.discard(process)


@atexit.register
def _end_all() -> None:
    for process in list(_alive):
        end(process, patience_s=2.0)


async def run_alone(python: str, repo: Path, script: Path, given: Mapping[str, object], folder: Path) -> Any:
    """Run a script that measures inside its own process, on the server's core, with the code of ``repo``.

    The script takes the name of a JSON file as its only argument and prints JSON, which is returned.

    Raises:
        NotRunning: it failed, or took longer than ``ALONE_TIMEOUT_S``.
    """
    task, output = folder / f"{script.stem}.task.json", folder / f"{script.stem}.out"
    task.write_text(json.dumps(given), "utf-8")
    environ = {"PYTHONPATH": import_roots(repo), "PYTHONDONTWRITEBYTECODE": "1"}
    # -P: names of files beside the script must not hide the standard library's
    command = [python, "-P", str(script), str(task)]
    process = spawn(command, cpu=SERVER_CPU, output=output, environ=environ, folder=folder)
    try:
        async with asyncio.timeout(ALONE_TIMEOUT_S):
            while process.poll() is None:
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise NotRunning(f"{script.name} took longer than {ALONE_TIMEOUT_S:g} s") from error
    finally:
        end(process)
    said = output.read_text("utf-8", "replace")
    if process.returncode:
        raise NotRunning(f"{script.name} ended with {process.returncode}: {said[-1500:]}")
    return json.loads(said)


def import_roots(repo: Path) -> str:
    """Where a checkout's packages are imported from; this bench comes last."""
    return os.pathsep.join(map(str, (repo, repo / "plugins", repo / "storage", REPO)))


class Server:
    """One tornflow process. ``storage`` is a storage URL, ``settings`` are values for ``--set``.

    The code comes from ``repo``, which need not be the checkout that this bench lies in. ``cpu``: a number that no core
    has leaves it on all of them.
    """

    def __init__(
        self,
        python: str,
        repo: Path,
        storage: str,
        folder: Path,
        settings: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.storage = storage
        self.output = folder / f"server-{self.port}.log"
        self.cpu = SERVER_CPU
        self._process: subprocess.Popen[bytes] | None = None
        self._repo = repo
        self.command = list(command) or [
            python, "-m", "tornflow.cli", "serve", "--port", str(self.port), "--dapr-port", "0", "--storage", storage,
            "--set", "log.level=warning", "--set", "log.format=json",
        ]  # fmt: skip
        for one in settings:
            self.command += ["--set", one]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start() comes first"
        return self._process

    def launch(self) -> None:
        """Start the process without waiting for it."""
        environ = {"PYTHONPATH": import_roots(self._repo), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [one.replace("{port}", str(self.port)) for one in self.command]
        self._process = spawn(command, cpu=self.cpu, output=self.output, environ=environ, folder=self._repo)

    async def start(self, timeout_s: float = READY_TIMEOUT_S) -> float:
        """Start it and return the seconds until ``/readyz`` answered 200.

        Raises:
            NotRunning: it ended, or was not ready in time.
        """
        started = time.perf_counter()
        self.launch()
        client = Client(self.port, timeout_s=5.0)
        try:
            while time.perf_counter() - started < timeout_s:
                if self.process.poll() is not None:
                    raise NotRunning(f"the server ended with {self.process.returncode}: {self.last_words()}")
                try:
                    status, _ = await client.get("/readyz")
                    if status == 200:
                        return time.perf_counter() - started
                except Broken:
                    pass
                await asyncio.sleep(0.01)
        finally:
            client.close()
        raise NotRunning(f"the server was not ready within {timeout_s:g} s: {self.last_words()}")

    def kill(self) -> None:
        kill(self.process)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def last_words(self, size: int = 1500) -> str:
        return self.output.read_text("utf-8", "replace")[-size:] if self.output.exists() else ""


class Database:
    """A private mongod on the load side's core; ``pid`` is that of the database."""

    def __init__(self, uri: str, pid: int) -> None:
        self._uri = uri
        self.pid = pid

    def url(self, name: str) -> str:
        """The storage URL of one database of it."""
        return self._uri.replace("/?", f"/{name}?", 1)

    @property
    def bare_uri(self) -> str:
        """As the bare program wants it."""
        return self._uri + "&directConnection=true&maxPoolSize=256"

    def drop(self, name: str, collection: str = "") -> None:
        import pymongo

        with pymongo.MongoClient[dict[str, object]](self._uri) as client:
            if collection:
                client[name].drop_collection(collection)
            else:
                client.drop_database(name)


@contextmanager
def database() -> Iterator[Database]:
    """Start a mongod (replica set of one, small cache) and stop it afterwards."""
    from tornflow.testing.mongod import running_mongod

    before = set(children(os.getpid()))
    with running_mongod() as uri:
        started = [pid for pid in children(os.getpid()) if pid not in before]
        if len(started) != 1:
            raise NotRunning(f"one new mongod was expected, there are {len(started)} new processes")
        pin(LOAD_CPU, started[0])
        yield Database(uri, started[0])
