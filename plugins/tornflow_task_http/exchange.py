"""One try: send a request, follow its redirects under the policy, read a bounded answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tornflow_task_http.answers import Again, Broken, Whole, read_excerpt, read_whole, status_line
from tornflow_task_http.connections import HeadTooLarge
from tornflow_task_http.deadline import Deadline
from tornflow_task_http.policy import NetworkPolicy, is_address
from tornflow_task_http.request import OutboundRequest
from tornflow_task_http.resolver import AddressRefused
from tornflow_task_http.settings import HttpSettings
from tornflow_task_http.slots import HostSlots
from tornflow_task_http.wire import NotHttp, Place, Wire

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The server behind them says that it did not do the work (decision 10).
_UNTOUCHED = frozenset({502, 503, 504})
_CREDENTIALS = ("Authorization", "Cookie", "Proxy-Authorization")


@dataclass(frozen=True, slots=True)
class _Moved:
    status: int
    target: str


class Exchange:
    """All tries of one task type, over one pool of connections. All calls on one event loop."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._refusal = _literal_check(settings.policy)
        self._wire = Wire(settings)
        self._slots = HostSlots(settings.connections, settings.connections_per_host)
        self._deadline = Deadline(settings.connect_timeout_s + settings.read_timeout_s)

    async def close(self) -> None:
        self._deadline.close()
        await self._wire.close()

    async def send(self, request: OutboundRequest) -> Whole | Broken:
        """Return the body of a 2xx answer, or what went wrong. Each hop ends within connect plus read timeout; the
        wait for a free connection does not count."""
        try:
            return await self._follow(request)
        except AddressRefused as error:
            return Broken(str(error), "policy", Again.NO)
        except aiohttp.ConnectionTimeoutError:
            return Broken(f"no connection within {self._settings.connect_timeout_s:g} s", "connect", Again.YES)
        except TimeoutError:
            return Broken(f"no complete answer within {self._settings.read_timeout_s:g} s", "timeout")
        except aiohttp.ClientConnectorError as error:
            return Broken(_connect_reason(error), "connect", Again.YES)
        except aiohttp.InvalidURL as error:
            return Broken(f"not a usable URL: {error}", "unsendable", Again.NO)
        except aiohttp.ServerDisconnectedError:
            return Broken("the connection was closed before an answer came", "closed")
        except HeadTooLarge as error:
            return Broken(error.message, "too_large", Again.NO)
        except NotHttp as error:
            return Broken(f"the answer is not HTTP: {error}", "not_http")
        except (aiohttp.ClientError, OSError) as error:
            return Broken(f"{type(error).__name__}: {error}".rstrip(": "), "closed")
        except ValueError as error:  # what the client refuses to put on the wire
            return Broken(f"cannot be sent: {error}", "unsendable", Again.NO)

    async def _follow(self, request: OutboundRequest) -> Whole | Broken:
        method, url, body = request.method, request.url, request.body
        headers = CIMultiDict(_DEFAULT_HEADERS)
        headers.update(request.headers)
        for _ in range(self._settings.redirects + 1):
            found = await self._hop(method, url, headers, body)
            if not isinstance(found, _Moved):
                return found
            came_from, goes_to = URL(url, encoded=True), _joined(URL(url, encoded=True), found.target)
            if goes_to.scheme not in ("http", "https") or not goes_to.host:
                return Broken(
                    f"redirected to {found.target[:200]!r}, which is not an http or https URL", "redirect", Again.NO
                )
            if found.status in (301, 302, 303):  # RFC 9110: in practice all three turn a POST into a GET
                method, body = "GET", None
                headers.popall("Content-Type", None)
            if goes_to.origin() != came_from.origin():
                for name in (*_CREDENTIALS, "Host"):
                    headers.popall(name, None)
            url = str(goes_to.with_fragment(None))
        return Broken(f"more than {self._settings.redirects} redirects", "redirect", Again.NO)

    async def _hop(
        self, method: str, url: str, headers: CIMultiDict[str], body: bytes | None
    ) -> Whole | Broken | _Moved:
        base, _, query = url.partition("?")
        place = self._wire.place(base)
        if reason := self._refusal(place.host):
            return Broken(f"not reachable by policy: {reason}", "policy", Again.NO)
        if not self._slots.take(place.site):
            await self._slots.wait(place.site)
        try:
            with self._deadline():
                return await self._ask(place, method, query, headers, body)
        finally:
            self._slots.give_back(place.site)

    async def _ask(
        self, place: Place, method: str, query: str, headers: CIMultiDict[str], body: bytes | None
    ) -> Whole | Broken | _Moved:
        connection, message, content = await self._wire.ask(place, method, query, headers, body)
        try:
            if 200 <= message.code < 300:
                return await read_whole(message, content, self._settings.answer_limit_bytes)
            target = message.headers.get("Location", "") if message.code in _REDIRECTS else ""
            if target:
                return _Moved(message.code, target)
            again = Again.YES if message.code in _UNTOUCHED else Again.IF_STRICT
            excerpt = await read_excerpt(message, content)
            return Broken(f"{status_line(message)}: {excerpt}", f"http_{message.code}", again)
        except BaseException:
            connection.close()
            raise
        finally:
            connection.release()  # the pool closes it when something of the answer was left unread


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
