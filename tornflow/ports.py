"""Ports to listen on: one server's own, or one that several processes share with ``SO_REUSEPORT``."""

from __future__ import annotations

import socket
from typing import Any

from tornado.netutil import bind_sockets

from tornflow.errors import ConfigError

_BACKLOG = 1024


class Listening:
    """Open sockets of one port; ``port`` is the one really bound."""

    def __init__(self, sockets: list[Any]) -> None:
        self.sockets = sockets
        self.port: int = sockets[0].getsockname()[1]


def listen(host: str, port: int, *, is_shared: bool = False) -> Listening:
    """Bind and listen; a shared port must be held by a ``Reservation`` of the supervisor.

    Raises:
        ConfigError
    """
    try:
        return Listening(bind_sockets(port, host, backlog=_BACKLOG, reuse_port=is_shared))
    except OSError as error:
        raise cannot_listen(host, port, error) from error


def cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}")


class Reservation:
    """A shared port that is held while its owner lives: bound here, listened on by other processes only."""

    def __init__(self, host: str, port: int) -> None:
        """Bind every address of ``host``; port 0 takes a free one.

        Raises:
            ConfigError: the port is taken, the host is unknown, or this system cannot share a port.
        """
        if not hasattr(socket, "SO_REUSEPORT"):
            raise ConfigError("server.processes: this system cannot share a port (no SO_REUSEPORT)")
        self.port = port
        self._sockets: list[socket.socket] = []
        try:
            for family, address in _addresses(host):
                self._sockets.append(_bind(family, address, self.port))
                self.port = int(self._sockets[-1].getsockname()[1])
        except OSError as error:
            self.close()
            raise cannot_listen(host, port, error) from error

    def close(self) -> None:
        for one in self._sockets:
            one.close()


def _addresses(host: str) -> list[tuple[int, str]]:
    """Return (family, address) as ``bind_sockets`` would bind them, each once."""
    found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), str(place[0])) for family, _, _, _, place in found))


def _bind(family: int, address: str, port: int) -> socket.socket:
    if port:
        # Two servers of one user that both set SO_REUSEPORT would share the port in silence: this one does not set it.
        with _socket(family) as probe:
            probe.bind((address, port))
    bound = _socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def _socket(family: int) -> socket.socket:
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
