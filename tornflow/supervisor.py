"""``tornflow serve --processes N``: several server processes behind one port, and one that keeps them running.

Each process is a whole server with its own node id, engine and caches; they share nothing but the store and the port.
Every one listens on a socket of its own with ``SO_REUSEPORT``: the kernel spreads the connections. Processes are
started as fresh interpreters, never forked, so that no loop, thread or connection is inherited.

A socket pair per process says what each side must know of the other: the process writes a byte when it serves, and
sees the end of the stream when the supervisor is gone, whatever ended it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from tornflow.config import Settings
from tornflow.errors import ConfigError
from tornflow.ports import Reservation
from tornflow.runtime.discovery import find_storage

_log = structlog.get_logger("tornflow.supervisor")

CANNOT_START = 2
HAD_TO_KILL = 1
_READY = b"R"
_CLOSING_S = 10.0  # what a server may need after draining: to store what it has in hand and to close connections


class Link:
    """The process's end of the pair."""

    def __init__(self, text: str) -> None:
        """``text`` is what the supervisor gave as ``--supervised``: ``<descriptor>,<number of the process>``."""
        descriptor, _, number = text.partition(",")
        self.number = int(number)
        self._socket = socket.socket(fileno=int(descriptor))
        self._socket.setblocking(False)
        os.set_inheritable(self._socket.fileno(), False)

    def watch(self, on_end: Callable[[], None]) -> None:
        """Call ``on_end`` once when the supervisor is gone; needs the running loop."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._socket)
            on_end()

        loop.add_reader(self._socket, ended)

    def say_ready(self) -> None:
        with suppress(OSError):
            self._socket.send(_READY)


@dataclass(frozen=True, slots=True)
class Patience:
    """Times of the supervisor, in seconds."""

    drain_s: float = 30.0
    """From SIGTERM until a process is killed."""
    first_pause_s: float = 0.1
    longest_pause_s: float = 30.0
    healthy_s: float = 10.0
    """A process that lived this long is started again after the first pause, another one after twice the last."""

    def pause_after(self, lifetime_s: float, last_pause_s: float) -> float:
        """Return how long to wait before the next start."""
        if lifetime_s >= self.healthy_s or not last_pause_s:
            return self.first_pause_s
        return min(2 * last_pause_s, self.longest_pause_s)


def supervise(settings: Settings, arguments: Sequence[str]) -> int:
    """Run ``server.processes`` servers until SIGTERM or SIGINT; return the exit code.

    ``arguments`` are those of ``tornflow serve``; the settings that the supervisor decides are added to them.

    Raises:
        ConfigError: the store cannot be shared, or a port is taken; nothing was opened.
    """
    count = settings.server.processes
    if not find_storage(settings.storage.url, settings.storage_values()).is_shared:
        scheme = settings.storage.url.partition("://")[0]
        raise ConfigError(
            f"server.processes: {count} processes need a store that they can share, and {scheme}:// serves one "
            "process; use mongodb://",
            field="server.processes",
        )
    host, second = settings.server.host, settings.server.dapr_port
    port = Reservation(host, settings.server.port)
    dapr_port = Reservation(host, second) if second else None
    ports = {"server.port": port.port, "server.dapr_port": dapr_port.port if dapr_port else 0, "server.processes": 1}
    decided = [word for path, value in ports.items() for word in ("--set", f"{path}={value}")]
    command = [sys.executable, "-m", "tornflow.cli", "serve", *arguments, *decided]
    _log.info("starting processes", processes=count, url=settings.server_url(port.port))
    return asyncio.run(Supervisor(command, count, Patience(settings.server.drain_timeout_s + _CLOSING_S)).run())


class Supervisor:
    """Keeps ``count`` processes of one command running."""

    def __init__(self, command: Sequence[str], count: int, patience: Patience | None = None) -> None:
        self.command = tuple(command)
        self.patience = patience or Patience()
        self.stopping = asyncio.Event()
        self.exit_code = 0
        self._roll = asyncio.Event()
        self._slots = [_Slot(self, number) for number in range(1, count + 1)]

    async def run(self) -> int:
        """Return the exit code: 0 stopped as asked, 1 a process had to be killed, 2 the first one cannot start."""
        self._take_signals()
        first, *others = self._slots
        keepers = [asyncio.create_task(first.keep())]
        # The first one alone: it creates what the store lacks, and a wrong setting is reported once.
        await _first_of(first.serving.wait(), self.stopping.wait())
        keepers += [asyncio.create_task(slot.keep()) for slot in others]
        rolling = asyncio.create_task(self._keep_rolling())
        try:
            await asyncio.gather(*keepers)
        finally:
            rolling.cancel()
        _log.info("stopped", exit_code=self.exit_code)
        return self.exit_code

    def give_up(self, exit_code: int) -> None:
        """Stop everything and end with this code."""
        self.exit_code = max(self.exit_code, exit_code)
        self.stopping.set()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._roll.set)

    def _stop(self) -> None:
        if self.stopping.is_set():  # asked twice: somebody does not want to wait
            for slot in self._slots:
                slot.kill()
        else:
            _log.info("draining", processes=len(self._slots))
        self.stopping.set()

    async def _keep_rolling(self) -> None:
        """Pass SIGHUP on to one process after the other, so that the port is served all the time."""
        while True:
            await self._roll.wait()
            self._roll.clear()
            for slot in self._slots:
                await slot.replace()


class _Slot:
    """The place of one process: when it ends, the next one is started here."""

    def __init__(self, supervisor: Supervisor, number: int) -> None:
        self.serving = asyncio.Event()
        self._supervisor = supervisor
        self._number = number
        self._process: Process | None = None
        self._is_replaced = False
        self._has_served = False

    async def keep(self) -> None:
        pause = 0.0
        patience, stopping = self._supervisor.patience, self._supervisor.stopping
        while not stopping.is_set():
            begun = time.monotonic()
            code = await self._run()
            if stopping.is_set():
                break
            if self._is_replaced:
                self._is_replaced = False
                continue
            if code == CANNOT_START and self._number == 1 and not self._has_served:
                self._supervisor.give_up(CANNOT_START)  # the process has said why
                break
            pause = patience.pause_after(time.monotonic() - begun, pause)
            _log.warning("a process ended", process=self._number, reason=_reason(code), next_start_in_s=pause)
            await _first_of(stopping.wait(), asyncio.sleep(pause))

    async def replace(self) -> None:
        """Let the process drain and end; return when the next one serves (at once when none runs)."""
        if self._process is None or self._supervisor.stopping.is_set():
            return
        _log.info("replacing a process", process=self._number)
        self.serving.clear()
        self._is_replaced = True
        self._process.send_signal(signal.SIGHUP)
        await self.serving.wait()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def _run(self) -> int:
        """Start a process and return its exit code when it has ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._supervisor.command,
                *("--supervised", f"{theirs.fileno()},{self._number}"),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C in a terminal is for the supervisor, which passes it on in its way
            )
        self._process = process
        _log.info("a process was started", process=self._number, pid=process.pid)
        reader, writer = await asyncio.open_connection(sock=ours)
        listening = asyncio.create_task(self._note_ready(reader))
        try:
            await _first_of(process.wait(), self._supervisor.stopping.wait())
            if process.returncode is None:
                await self._end(process)
            return await process.wait()
        finally:
            self._process = None
            self.serving.clear()
            listening.cancel()
            writer.close()

    async def _note_ready(self, reader: asyncio.StreamReader) -> None:
        if await reader.read(1) == _READY:
            self._has_served = True
            self.serving.set()

    async def _end(self, process: Process) -> None:
        process.terminate()
        await _first_of(process.wait(), asyncio.sleep(self._supervisor.patience.drain_s))
        if process.returncode is None:
            _log.error("a process did not end in time and is killed", process=self._number, pid=process.pid)
            process.kill()
            self._supervisor.give_up(HAD_TO_KILL)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


async def _first_of(*waits: Coroutine[Any, Any, Any]) -> None:
    """Return when the first one has ended; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
