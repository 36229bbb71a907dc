"""Name resolution under the network policy: only addresses that passed the check are ever connected to."""

from __future__ import annotations

import socket

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from tornflow_task_http.policy import NetworkPolicy


class AddressRefused(Exception):
    """The policy closes every address of a host. Not an OSError: the client must not take it for a network fault."""


class PolicyResolver(AbstractResolver):
    """Resolves through the system and drops what the policy refuses; the connector caches what is left."""

    def __init__(self, policy: NetworkPolicy, inner: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the permitted addresses of ``host``.

        Raises:
            AddressRefused: it has addresses, but none is permitted.
            OSError: it could not be resolved.
        """
        found = await self._inner.resolve(host, port, family)
        refusals = {result["host"]: self._policy.refusal(result["host"]) for result in found}
        permitted = [result for result in found if refusals[result["host"]] is None]
        if found and not permitted:
            raise AddressRefused(f"{host} is not reachable by policy: {'; '.join(filter(None, refusals.values()))}")
        return permitted

    async def close(self) -> None:
        await self._inner.close()
