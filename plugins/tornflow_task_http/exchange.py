"""One try: send a request, follow its redirects under the policy, read a bounded answer."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tornflow_task_http.policy import NetworkPolicy, is_address
from tornflow_task_http.request import OutboundRequest
from tornflow_task_http.resolver import AddressRefused, PolicyResolver
from tornflow_task_http.settings import HttpSettings

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The server behind them says that it did not do the work (decision 10).
_UNTOUCHED = frozenset({502, 503, 504})
_CREDENTIALS = ("Authorization", "Cookie", "Proxy-Authorization")


class Again(Enum):
    """When a second try is right: nothing was processed; only in strict mode; it would end the same."""

    YES = auto()
    IF_STRICT = auto()
    NO = auto()


@dataclass(frozen=True, slots=True)
class Broken:
    """The try failed; ``reason`` is for people."""

    reason: str
    again: Again = Again.IF_STRICT


class Exchange:
    """The one client session of a task type. All calls on one event loop."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._refusal = _literal_check(settings.policy)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections,
                keepalive_timeout=settings.keep_alive_s,
                ttl_dns_cache=settings.dns_cache_s,
                use_dns_cache=settings.dns_cache_s > 0,
                resolver=PolicyResolver(settings.policy),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # it is done here, under the size limit
            timeout=aiohttp.ClientTimeout(
                total=settings.connect_timeout_s + settings.read_timeout_s, sock_connect=settings.connect_timeout_s
            ),
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, request: OutboundRequest) -> bytes | Broken:
        """Return the body of a 2xx answer, or what went wrong. Ends within connect plus read timeout per hop."""
        try:
            return await self._follow(request)
        except AddressRefused as error:
            return Broken(str(error), Again.NO)
        except aiohttp.ConnectionTimeoutError:
            return Broken(f"no connection within {self._settings.connect_timeout_s:g} s", Again.YES)
        except TimeoutError:
            return Broken(f"no complete answer within {self._settings.read_timeout_s:g} s")
        except aiohttp.ClientConnectorError as error:
            return Broken(_connect_reason(error), Again.YES)
        except aiohttp.InvalidURL as error:
            return Broken(f"not a usable URL: {error}", Again.NO)
        except aiohttp.ServerDisconnectedError:
            return Broken("the connection was closed before an answer came")
        except (aiohttp.ClientError, OSError) as error:
            return Broken(f"{type(error).__name__}: {error}".rstrip(": "))
        except ValueError as error:  # what the client refuses to put on the wire
            return Broken(f"cannot be sent: {error}", Again.NO)

    async def _follow(self, request: OutboundRequest) -> bytes | Broken:
        method, url, body = request.method, URL(request.url, encoded=True), request.body
        headers = CIMultiDict(_DEFAULT_HEADERS)
        headers.update(request.headers)
        for _ in range(self._settings.redirects + 1):
            if reason := self._refusal(url.host or ""):
                return Broken(f"not reachable by policy: {reason}", Again.NO)
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                if 200 <= status < 300:
                    return await self._read(response)
                target = response.headers.get("Location", "") if status in _REDIRECTS else ""
                if not target:
                    again = Again.YES if status in _UNTOUCHED else Again.IF_STRICT
                    return Broken(f"the answer was {status} {response.reason or ''}".rstrip(), again)
            came_from, url = url, _joined(url, target)
            if url.scheme not in ("http", "https") or not url.host:
                return Broken(f"redirected to {target[:200]!r}, which is not an http or https URL", Again.NO)
            if status in (301, 302, 303):  # RFC 9110: in practice all three turn a POST into a GET
                method, body = "GET", None
                headers.popall("Content-Type", None)
            if url.origin() != came_from.origin():
                for name in (*_CREDENTIALS, "Host"):
                    headers.popall(name, None)
        return Broken(f"more than {self._settings.redirects} redirects", Again.NO)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | Broken:
        limit = self._settings.answer_limit_bytes
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        length = response.content_length
        if length is not None and length <= limit and coding == "identity":
            return await response.read()
        if coding not in ("identity", "gzip", "x-gzip", "deflate"):
            return Broken(f"the answer has the unknown Content-Encoding {coding[:40]!r}", Again.NO)
        unpack = None if coding == "identity" else zlib.decompressobj(wbits=47)
        found = bytearray()
        async for chunk in response.content.iter_any():
            try:
                found += chunk if unpack is None else unpack.decompress(chunk, limit + 1)
            except zlib.error as error:
                return Broken(f"the compressed answer is damaged: {error}")
            if len(found) > limit:
                response.close()
                return Broken(f"the answer is larger than outbound.answer_limit_bytes = {limit}", Again.NO)
        return bytes(found)


_DEFAULT_HEADERS = CIMultiDict({"User-Agent": "tornflow", "Accept": "*/*", "Accept-Encoding": "identity"})


def _literal_check(policy: NetworkPolicy) -> Callable[[str], str | None]:
    """The client does not resolve addresses, so the resolver never sees them; decisions never change, so cache."""

    @lru_cache(maxsize=4096)
    def refusal(host: str) -> str | None:
        return policy.refusal(host) if is_address(host) else None

    return refusal


def _joined(url: URL, target: str) -> URL:
    try:
        return url.join(URL(target))
    except ValueError:
        return URL()


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    place = f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the host name {error.host!r} could not be resolved ({error.os_error.strerror or error.os_error})"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate of {place} was not accepted ({error.certificate_error})"
    return f"no connection to {place} ({error.os_error.strerror or error.os_error})"

