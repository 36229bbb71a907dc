"""A whole cluster on one machine, to try out what happens when parts of it die (``scripts/cluster``).

Three ``mongod`` in one replica set and three ``tornflow serve``. Whatever dies is started again a little later, so that
there is time to see the others take over. Everything ends with this process; the data go too unless ``--keep``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tornflow.testing.replica_set import Member, NoMongod, ReplicaSet, free_ports

NODE_PORTS = (8080, 8081, 8082)  # the sample flows call 8080
MEMBER_PORTS = (27117, 27118, 27119)
DATABASE = "tornflow"
FLOWS = Path(__file__).parents[2] / "conf" / "flows"
_READY_S = 60.0
_DRAIN_S = 45.0
_AGAIN_S = 15.0
_LOOK_S = 0.2


class Node:
    """One ``tornflow serve`` on a port of its own."""

    def __init__(self, number: int, port: int, storage: str, folder: Path) -> None:
        self.name = f"node {number}"
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.output = folder / f"node-{number}.log"
        self._command = [
            *(sys.executable, "-m", "tornflow.cli", "serve", "--port", str(port), "--dapr-port", "0"),
            *("--storage", storage),
            *(("--set", f"flows.directory={FLOWS}") if FLOWS.is_dir() else ()),
        ]

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        self.terminate()
        if self.process is None:
            return
        try:
            self.process.wait(_DRAIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_ready(self) -> None:
        """Raises TryOutFailed when it does not come up."""
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self.is_running:
            if is_ready(self.url):
                return
            time.sleep(_LOOK_S)
        text = self.output.read_text("utf-8", "replace")[-500:]
        raise TryOutFailed(f"{self.name} does not come up: {text}")


class TryOutFailed(Exception):
    """The message says why."""


def is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


class Cluster:
    """What ``start`` runs; ``stopping`` ends it."""

    def __init__(self, folder: Path, node_ports: Sequence[int], member_ports: Sequence[int]) -> None:
        self.stopping = threading.Event()
        self._folder = folder
        self._database = ReplicaSet(folder, ports=member_ports)
        self.storage = self._database.uri.replace("/?", f"/{DATABASE}?")
        self.nodes = [Node(number, port, self.storage, folder) for number, port in enumerate(node_ports, start=1)]
        self._gone: dict[str, float] = {}

    def start(self) -> None:
        self._database.start()
        for node in self.nodes:  # the first one makes what the database lacks
            node.start()
            node.wait_ready()
        self.write_state()

    def close(self) -> None:
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.stop()
        self._database.close()

    def watch(self) -> None:
        """Say what died, and start it again after a while; return when told to stop."""
        while not self.stopping.wait(_LOOK_S):
            for name, part in self.parts().items():
                if part.is_running:
                    continue
                now = time.monotonic()
                if name not in self._gone:
                    self._gone[name] = now
                    say(f"{name} has died; the others take over. It starts again in {_AGAIN_S:.0f} s")
                elif now - self._gone[name] >= _AGAIN_S:
                    del self._gone[name]
                    part.start()
                    self.write_state()
                    say(f"{name} was started again, process {pid_of(part)}")

    def parts(self) -> dict[str, Node | Member]:
        found: dict[str, Node | Member] = {node.name: node for node in self.nodes}
        return found | {f"mongod {number}": one for number, one in enumerate(self._database.members, start=1)}

    def write_state(self) -> None:
        state = {
            "pid": os.getpid(),
            "storage": self.storage,
            "parts": {name: pid_of(part) for name, part in self.parts().items()},
            "urls": {node.name: node.url for node in self.nodes},
        }
        new = self._folder / "state.new"
        new.write_text(json.dumps(state, indent=1), "utf-8")
        new.replace(self._folder / "state.json")


def pid_of(part: Node | Member) -> int:
    return part.process.pid if part.process is not None else 0


def start(folder: Path, *, keep: bool, any_ports: bool) -> int:
    if read_state(folder):
        return fail(f"a cluster runs in {folder}; stop it with: scripts/cluster stop")
    folder.mkdir(parents=True, exist_ok=True)
    node_ports, member_ports = (free_ports(3), free_ports(3)) if any_ports else (NODE_PORTS, MEMBER_PORTS)
    if not any_ports and (taken := [port for port in (*NODE_PORTS, *MEMBER_PORTS) if is_taken(port)]):
        return fail(f"port {taken[0]} is taken; --any-ports takes free ones")
    cluster = Cluster(folder, node_ports, member_ports)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: cluster.stopping.set())
    say("starting three members of MongoDB and three nodes ...")
    try:
        cluster.start()
        explain(cluster, folder)
        cluster.watch()
    except (NoMongod, TryOutFailed) as error:
        return fail(str(error))
    finally:
        say("stopping ...")
        cluster.close()
        (folder / "state.json").unlink(missing_ok=True)
        if not keep:
            remove(folder)
    return 0


def remove(folder: Path) -> None:
    """Remove what a cluster has left, and nothing that somebody else put there."""
    for log in folder.glob("node-*.log"):
        log.unlink()
    for member in folder.glob("member-*"):
        shutil.rmtree(member, ignore_errors=True)
    with suppress(OSError):  # not empty
        folder.rmdir()


def explain(cluster: Cluster, folder: Path) -> None:
    first, second, third = cluster.nodes
    say(f"""
ready. Any node takes any request:

    {first.url}    {second.url}    {third.url}

start a flow at one node, look at it at another (its first answer has the execution_id):

    curl -s -H 'Content-Type: application/json' -d '{{"left": 1, "right": 2, "expect_number": 3}}' \\
      '{second.url}/flow/submit.json?descriptor_id=demoFlowTest:demoTest'
    curl -s '{third.url}/flow/get.json?execution_id=...'

kill a node, or a member of the database, and see that nothing is lost:

    kill -9 {pid_of(first)}       # node 1; processes: scripts/cluster status

logs: {folder}/node-*.log    database: {cluster.storage}
stop with Ctrl-C, or with: scripts/cluster stop""")


def stop(folder: Path) -> int:
    state = read_state(folder)
    if not state:
        return fail(f"no cluster runs in {folder}")
    os.kill(state["pid"], signal.SIGTERM)
    while is_alive(state["pid"]):
        time.sleep(_LOOK_S)
    return 0


def status(folder: Path) -> int:
    state = read_state(folder)
    if not state:
        return fail(f"no cluster runs in {folder}")
    for name, pid in state["parts"].items():
        url = state["urls"].get(name, "")
        words = "gone" if not is_alive(pid) else "running" if not url or is_ready(url) else "not ready"
        say(f"{name:10} {words:10} process {pid:<8} {url}".rstrip())
    return 0


def read_state(folder: Path) -> dict[str, Any]:
    """Return what the running cluster wrote; empty when none runs."""
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return state if is_alive(state["pid"]) else {}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def say(text: str) -> None:
    print(text, flush=True)


def fail(text: str) -> int:
    print(f"cluster: {text}", file=sys.stderr)
    return 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/cluster", description="Try out a cluster on this machine.")
    parser.add_argument("command", nargs="?", choices=("start", "stop", "status"), default="start")
    parser.add_argument("--folder", type=Path, default=Path("var/cluster"), help="data and logs [%(default)s]")
    parser.add_argument("--keep", action="store_true", help="leave data and logs there at the end")
    parser.add_argument("--any-ports", action="store_true", help=f"free ports instead of {NODE_PORTS}")
    given = parser.parse_args(arguments)
    folder = given.folder.resolve()
    if given.command == "start":
        return start(folder, keep=given.keep, any_ports=given.any_ports)
    return stop(folder) if given.command == "stop" else status(folder)


if __name__ == "__main__":
    sys.exit(main())
