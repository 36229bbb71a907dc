"""A TCP proxy of ours between one node and the database: it passes, delays, swallows answers, or cuts."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum

_CHUNK = 1 << 16


class Mode(StrEnum):
    PASS = "pass"
    DELAY = "delay"
    """Everything arrives 0.3 s late, in both directions."""
    SWALLOW = "swallow"
    """Requests reach the database, its answers are lost: every outcome is unknown. Then the connections are cut."""
    SILENT = "silent"
    """Nothing passes in either direction, connections stay open: a cable that was pulled."""
    CUT = "cut"
    """Connections break and new ones are refused at once."""


DELAY_S = 0.3


class Proxy:
    """``port`` is where the node connects."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._mode = Mode.PASS
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._cut()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def set(self, mode: Mode) -> None:
        """Change what happens from now on. Leaving SILENT or SWALLOW breaks what was open: half of it was lost."""
        was, self._mode = self._mode, mode
        if mode is Mode.SILENT:
            self._open.clear()
        else:
            self._open.set()
        if mode is Mode.CUT or was in (Mode.SILENT, Mode.SWALLOW):
            self._cut()

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._mode is Mode.CUT:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(back)
            try:
                pumps = [
                    asyncio.create_task(self._pump(reader, back, is_answer=False)),
                    asyncio.create_task(self._pump(there, writer, is_answer=True)),
                ]
                self._pumps.update(pumps)
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                self._pumps.difference_update(pumps)
            finally:
                self._writers.discard(back)
                back.transport.abort()
        except OSError:
            pass  # the database does not listen now
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._open.wait()
                if self._mode is Mode.DELAY:
                    await asyncio.sleep(DELAY_S)
                if self._mode is Mode.SWALLOW and is_answer:
                    continue
                sink.write(data)
                await sink.drain()
