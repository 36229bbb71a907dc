"""``tornflow serve --processes``: the installed command with several processes behind one port, on a real MongoDB."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tornflow.supervisor import HAD_TO_KILL, Patience, Supervisor
from tornflow.testing.mongod import mongodb_uri as yield_mongodb_uri

KEPT = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}


@pytest.fixture(scope="module")
def mongodb_uri() -> Iterator[str]:
    yield from yield_mongodb_uri()


class Supervised:
    """The command, what it logged, and who answers on its port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        self.log = folder / "log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tornflow.cli", "serve", "--set", "log.format=json", *self.arguments),
                cwd=self.folder, env=KEPT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def wait(self) -> int:
        assert self.process is not None
        async with asyncio.timeout(90):
            return await self.process.wait()

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text("utf-8").splitlines() if line.startswith("{")]
        return [line for line in found if not event or line["event"] == event]

    def pids(self) -> list[int]:
        """Return every process that was started, oldest first."""
        return [line["pid"] for line in self.lines("a process was started")]

    @property
    def url(self) -> str:
        return str(self.lines("starting processes")[0]["url"])

    async def serving(self, count: int) -> None:
        """Return when ``count`` processes have said that they serve, all starts together."""
        await until(lambda: is_true(len(self.lines("serving")) >= count))

    async def answering(self) -> dict[str, int]:
        """Return number -> pid of the process that took one new connection; empty when it was cut."""
        try:
            answer = await AsyncHTTPClient(force_instance=True).fetch(HTTPRequest(self.url + "/metrics"))
        except OSError:
            return {}
        found = re.search(r'tornflow_process_info\{node="\w+",pid="(\d+)",process="(\d+)"\} 1', answer.body.decode())
        assert found
        return {found[2]: int(found[1])}

    async def everyone(self, count: int) -> dict[str, int]:
        """Return number -> pid of everyone who answers, asked until there are ``count``."""
        seen: dict[str, int] = {}
        async with asyncio.timeout(20):
            while len(seen) < count:
                seen |= await self.answering()
        return seen


async def is_true(value: bool) -> bool:
    return value


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while not await holds():
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
async def supervised(mongodb_uri: str, tmp_path: Path) -> AsyncIterator[Supervised]:
    url = mongodb_uri.replace("/?", f"/t{uuid.uuid4().hex[:12]}?")
    server = Supervised(
        tmp_path, "--processes", "2", "--port", "0", "--dapr-port", "0", "--storage", url,
        "--set", "server.drain_timeout_s=5",
    )  # fmt: skip
    await server.start()
    await server.serving(2)
    yield server
    assert server.process is not None
    if server.process.returncode is None:
        server.send(signal.SIGTERM)
        await server.wait()
    for pid in server.pids():
        assert not is_alive(pid)


async def test_a_killed_process_is_replaced_while_the_other_answers(supervised: Supervised) -> None:
    before = await supervised.everyone(2)
    assert sorted(before) == ["1", "2"]
    assert sorted(before.values()) == sorted(supervised.pids())
    os.kill(before["2"], signal.SIGKILL)
    await supervised.serving(3)
    after = await supervised.everyone(2)
    assert after["1"] == before["1"]
    assert after["2"] == supervised.pids()[-1] != before["2"]
    (ended,) = supervised.lines("a process ended")
    assert (ended["process"], ended["reason"]) == (2, "signal SIGKILL")


async def test_what_one_process_stored_every_process_shows(supervised: Supervised) -> None:
    flow = "workspace: demo\ndagName: one\ntype: flow\ntasks:\n  - {category: pass, name: only}\n"
    query = "business_id=demo&feature_name=one&alias=release"
    await ask(supervised, "POST", f"/flow/bg/manage/descriptor/add_descriptor.json?{query}", flow)
    started = [await ask(supervised, "POST", "/flow/submit.json?descriptor_id=demo:one", "{}") for _ in range(8)]
    for answer in started:
        for _ in range(4):  # new connections: the kernel gives them to either process
            await ask(supervised, "GET", f"/flow/get.json?execution_id={answer['execution_id']}")


async def ask(server: Supervised, method: str, path: str, body: str | None = None) -> Any:
    """Ask over a new connection; anything but 200 raises."""
    kind = "text/plain" if "add_descriptor" in path else "application/json"
    request = HTTPRequest(server.url + path, method, {"Content-Type": kind, "Connection": "close"}, body)
    return json.loads((await AsyncHTTPClient(force_instance=True).fetch(request)).body)


async def test_sigterm_drains_every_process_and_exits_0(supervised: Supervised) -> None:
    supervised.send(signal.SIGTERM)
    assert await supervised.wait() == 0
    assert len(supervised.lines("stopped")) == 3  # two processes and the supervisor
    assert not any(map(is_alive, supervised.pids()))


async def test_the_processes_end_when_the_supervisor_is_killed(supervised: Supervised) -> None:
    supervised.send(signal.SIGKILL)
    await supervised.wait()
    await until(lambda: is_true(not any(map(is_alive, supervised.pids()))))
    assert len(supervised.lines("stopped")) == 2  # drained, not cut off


async def test_sighup_replaces_one_process_after_the_other(supervised: Supervised) -> None:
    before = supervised.pids()
    supervised.send(signal.SIGHUP)
    await supervised.serving(4)
    events = [line["event"] for line in supervised.lines() if line["event"] in ("replacing a process", "serving")]
    assert events == ["serving", "serving", "replacing a process", "serving", "replacing a process", "serving"]
    assert not any(map(is_alive, before))
    assert sorted((await supervised.everyone(2)).values()) == sorted(supervised.pids()[-2:])
    assert supervised.lines("a process ended") == []


@pytest.mark.parametrize("url", ["sqlite:///flows.db", "memory://"])
async def test_a_store_of_one_process_is_refused_before_it_is_opened(tmp_path: Path, url: str) -> None:
    server = Supervised(tmp_path, "--processes", "2", "--port", "0", "--storage", url)
    await server.start()
    assert await server.wait() == 2
    scheme = url.partition("://")[0]
    assert server.log.read_text() == (
        "tornflow: server.processes: 2 processes need a store that they can share, and "
        f"{scheme}:// serves one process; use mongodb://\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


async def test_what_stops_the_first_process_stops_the_server(mongodb_uri: str, tmp_path: Path) -> None:
    server = Supervised(
        tmp_path, "--processes", "3", "--port", "0", "--dapr-port", "0", "--storage", mongodb_uri,
        "--set", "flows.directory=nowhere",
    )  # fmt: skip
    await server.start()
    assert await server.wait() == 2
    assert len(server.pids()) == 1
    assert "tornflow: flows.directory: nowhere is not a folder" in server.log.read_text()


async def test_a_port_of_another_server_is_not_shared_with_it(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        server = Supervised(tmp_path, "--processes", "2", "--port", port, "--storage", "mongodb://127.0.0.1:1/x")
        await server.start()
        assert await server.wait() == 2
    assert server.log.read_text() == f"tornflow: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_process_that_dies_at_once_is_started_again_ever_later() -> None:
    patience = Patience(first_pause_s=1, longest_pause_s=5, healthy_s=10)
    pauses = [0.0]
    for _ in range(5):
        pauses.append(patience.pause_after(0.3, pauses[-1]))
    assert pauses[1:] == [1, 2, 4, 5, 5]
    assert patience.pause_after(10, pauses[-1]) == 1


async def run_until(supervisor: Supervisor, holds: Callable[[], bool]) -> int:
    running = asyncio.create_task(supervisor.run())
    await until(lambda: is_true(holds()))
    supervisor.stopping.set()
    async with asyncio.timeout(20):
        return await running


async def test_a_process_that_never_serves_is_tried_again(tmp_path: Path) -> None:
    note = tmp_path / "starts"
    script = f"open({str(note)!r}, 'a').write('x'); raise SystemExit(3)"
    supervisor = Supervisor([sys.executable, "-c", script], 1, Patience(first_pause_s=0.01, longest_pause_s=0.02))
    assert await run_until(supervisor, lambda: note.exists() and len(note.read_text()) >= 3) == 0


async def test_a_process_that_does_not_end_is_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    note = tmp_path / "deaf"
    script = (
        "import signal, pathlib, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(note)!r}).touch(); time.sleep(60)"
    )
    supervisor = Supervisor([sys.executable, "-c", script], 1, Patience(drain_s=0.1))
    assert await run_until(supervisor, note.exists) == HAD_TO_KILL
