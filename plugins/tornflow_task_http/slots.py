"""How many calls may be out at a time: in all, and per host, so that a host that never answers holds nobody else up."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class HostSlots:
    """``take`` or else ``wait``, then ``give_back``. All on one event loop.

    Who waits for a full host takes nothing from others. Where the total is what is short, hosts take turns, and within
    a host who came first comes first. Hosts without calls are forgotten.
    """

    def __init__(self, total: int, per_host: int) -> None:
        self._total = total
        self._per_host = per_host
        self._hosts: dict[str, _Host] = {}
        self._ready: OrderedDict[_Host, None] = OrderedDict()  # with a free slot and somebody who waits
        self._taken = 0

    def take(self, name: str) -> bool:
        """Take a slot if one is free; False: ``wait`` for one."""
        host = self._hosts.get(name)
        if self._taken >= self._total or (host is not None and host.taken >= self._per_host):
            return False
        if host is None:
            host = self._hosts[name] = _Host()
        self._taken += 1
        host.taken += 1
        return True

    async def wait(self, name: str) -> None:
        """Return with a slot taken. When it is cancelled, none is."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        host.waiting[turn] = None
        if host.taken < self._per_host:
            self._ready.setdefault(host)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._give_up(name, host, turn)
            else:
                self.give_back(name)
            raise

    def give_back(self, name: str) -> None:
        host = self._hosts[name]
        self._taken -= 1
        host.taken -= 1
        if host.waiting:
            self._ready[host] = None
        elif not host.taken:
            del self._hosts[name]
        if self._ready:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._ready and self._taken < self._total:
            host, _ = self._ready.popitem(last=False)
            turn, _ = host.waiting.popitem(last=False)
            if not turn.cancelled():  # else its call has not run since, and still has to clean up
                self._taken += 1
                host.taken += 1
                turn.set_result(None)
            if host.waiting and host.taken < self._per_host:
                self._ready[host] = None

    def _give_up(self, name: str, host: _Host, turn: asyncio.Future[None]) -> None:
        host.waiting.pop(turn, None)
        if not host.waiting:
            self._ready.pop(host, None)
            if not host.taken and self._hosts.get(name) is host:
                del self._hosts[name]


class _Host:
    __slots__ = ("taken", "waiting")

    def __init__(self) -> None:
        self.taken = 0
        self.waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
