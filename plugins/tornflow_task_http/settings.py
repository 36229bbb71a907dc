"""The settings of the http task type, read once at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_network
from typing import Any

from tornflow.errors import ConfigError
from tornflow_task_http.policy import Network, NetworkPolicy

_OWN = (
    "secret",
    "strict",
    "connect_timeout_s",
    "read_timeout_s",
    "answer_limit_bytes",
    "answer_header_bytes",
    "answer_headers",
    "connections",
    "connections_per_host",
    "keep_alive_s",
    "dns_cache_s",
    "redirects",
)
_FROM_HOST = ("outbound", "server_url")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Defaults of everything that can be set; docs/task-types.md says what each means.

    A value comes from ``plugins.http`` or else from the section ``outbound``. ``strict`` puts the reference's
    timeouts (0.5 s and 1.5 s) in place of the two given ones (decision 10).
    """

    policy: NetworkPolicy = NetworkPolicy()
    server_url: str = ""
    secret: str = ""
    strict: bool = False
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    answer_limit_bytes: int = 4 * 1024 * 1024
    answer_header_bytes: int = 256 * 1024  # as OkHttp, the reference's client
    answer_headers: int = 1000
    connections: int = 4096
    connections_per_host: int = 256
    keep_alive_s: float = 4.0  # below the 5 s of common servers: a connection they are about to close is not reused
    dns_cache_s: int = 10
    redirects: int = 5


def read_settings(settings: Mapping[str, Any]) -> HttpSettings:
    """Return the settings out of what the host offers.

    Raises:
        ConfigError: an unknown key or a value of the wrong type or range; names the setting and the reason.
    """
    _refuse_unknown(settings)
    outbound = settings.get("outbound") or {}
    if not isinstance(outbound, Mapping):
        raise ConfigError("outbound: must be a mapping", field="outbound")
    strict = _flag(settings, outbound, "strict", False)
    return HttpSettings(
        policy=_policy(outbound),
        server_url=_text(settings, "server_url"),
        secret=_text(settings, "secret"),
        strict=strict,
        connect_timeout_s=0.5 if strict else _number(settings, outbound, "connect_timeout_s", 5.0, 0.001),
        read_timeout_s=1.5 if strict else _number(settings, outbound, "read_timeout_s", 60.0, 0.001),
        answer_limit_bytes=int(_number(settings, outbound, "answer_limit_bytes", 4 * 1024 * 1024, 1)),
        answer_header_bytes=int(_number(settings, outbound, "answer_header_bytes", 256 * 1024, 1024)),
        answer_headers=int(_number(settings, outbound, "answer_headers", 1000, 1)),
        connections=int(_number(settings, outbound, "connections", 4096, 1)),
        connections_per_host=int(_number(settings, outbound, "connections_per_host", 256, 1)),
        keep_alive_s=_number(settings, outbound, "keep_alive_s", 4.0, 0),
        dns_cache_s=int(_number(settings, outbound, "dns_cache_s", 10, 0)),
        redirects=int(_number(settings, outbound, "redirects", 5, 0)),
    )


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    for key in settings:
        if key not in _OWN and key not in _FROM_HOST:
            near = get_close_matches(key, _OWN, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_OWN)}"
            raise ConfigError(f"plugins.http.{key}: unknown setting; {hint}", field=f"plugins.http.{key}")


def _policy(outbound: Mapping[str, Any]) -> NetworkPolicy:
    return NetworkPolicy(
        allow=_networks(outbound, "allow"),
        deny=_networks(outbound, "deny"),
        # None = not decided by the operator; the server decides it from its own address before it gets here.
        allow_loopback=_flag({}, outbound, "allow_loopback", False),
        allow_private=_flag({}, outbound, "allow_private", True),
    )


def _networks(outbound: Mapping[str, Any], key: str) -> tuple[Network, ...]:
    given = outbound.get(key) or ()
    if isinstance(given, str) or not isinstance(given, list | tuple):
        raise ConfigError(f"outbound.{key}: must be a list of networks such as 10.1.0.0/16", field=f"outbound.{key}")
    try:
        return tuple(ip_network(str(text)) for text in given)
    except ValueError as error:
        raise ConfigError(f"outbound.{key}: {error}", field=f"outbound.{key}") from error


def _find(settings: Mapping[str, Any], outbound: Mapping[str, Any], key: str) -> tuple[str, Any]:
    if settings.get(key) is not None:
        return f"plugins.http.{key}", settings[key]
    return f"outbound.{key}", outbound.get(key)


def _number(settings: Mapping[str, Any], outbound: Mapping[str, Any], key: str, default: float, least: float) -> float:
    field, value = _find(settings, outbound, key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise ConfigError(f"{field}: must be a number of at least {least:g}, not {value!r}", field=field)
    return value


def _flag(settings: Mapping[str, Any], outbound: Mapping[str, Any], key: str, default: bool) -> bool:
    field, value = _find(settings, outbound, key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ConfigError(f"{field}: must be true or false, not {value!r}", field=field)
    return value


def _text(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"plugins.http.{key}: must be a text", field=f"plugins.http.{key}")
    return value or ""
