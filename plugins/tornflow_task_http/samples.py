"""The published example calls its two executors at ``http://127.0.0.1:8080``, wherever the server listens."""

from __future__ import annotations

from urllib.parse import urlsplit

_PUBLISHED = "http://127.0.0.1:8080"
SAMPLES = frozenset(f"{_PUBLISHED}/flow/sample/{name}_node.json" for name in ("start", "end"))
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def sample_here(resource: str, server_url: str) -> str:
    """Return where a sample executor is to be called: at this very server, when that is known by a loopback address.

    A server that others know by another name may not reach itself under it: then the URL stays as it is written.
    """
    if urlsplit(server_url).hostname not in _LOOPBACK:
        return resource
    return server_url + resource.removeprefix(_PUBLISHED)
