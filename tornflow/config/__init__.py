"""Settings: flags over ``TORNFLOW_*`` over file over default. Read once, in ``cli`` and ``server``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornflow.config.schema import SETTINGS, build
from tornflow.config.settings import Settings, is_loopback
from tornflow.config.sources import Found, Given, Refused, Retired, from_environ, from_file, from_flags, from_sets
from tornflow.config.values import check
from tornflow.errors import ConfigError

__all__ = ["Settings", "is_loopback", "load_settings", "load_with_places"]


def load_settings(
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
) -> Settings:
    """Return the settings in force.

    Args:
        flags: path -> value, such as ``{"server.port": 9000}``; None means that the flag was not given.
        sets: texts ``section.key=value``; they win over flags, later ones over earlier ones.

    Raises:
        ConfigError: something is unknown or wrong. The message is one line that names every problem, each with
            its place; ``details["problems"]`` has them as a list.
    """
    return load_with_places(config_file, environ, flags, sets)[0]


def load_with_places(
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
) -> tuple[Settings, dict[str, str]]:
    """The same, and for each setting that was given the place that won (``tornflow.yaml:12``, ``--set``)."""
    found: list[Found] = [
        *(from_file(config_file) if config_file else ()),
        *from_environ(environ or {}),
        *from_flags(flags or {}),
        *from_sets(sets),
    ]
    problems = [item.message for item in found if isinstance(item, Refused)]
    given = [item for item in found if isinstance(item, Given)]
    values, places = _checked([item for item in given if item.path in SETTINGS], problems)
    settings = build(
        values,
        _other_plugins([item for item in given if item.path not in SETTINGS], problems),
        tuple(item.message for item in found if isinstance(item, Retired)),
    )
    problems.extend(f"{places.get(path, 'default')}: {path}: {reason}" for path, reason in _disagreements(settings))
    if problems:
        raise ConfigError("; ".join(problems), problems=problems)
    return settings, places


def _checked(given: Iterable[Given], problems: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (path -> value, path -> place of the value that won); every source is checked, not only the winner."""
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for item in given:
        try:
            values[item.path] = check(SETTINGS[item.path], item.value)
            places[item.path] = item.place
        except ValueError as error:
            problems.append(f"{item.place}: {item.path}: {error}")
    return values, places


def _other_plugins(given: Iterable[Given], problems: list[str]) -> dict[str, dict[str, Any]]:
    """Collect ``plugins.<name>`` (a mapping) and ``plugins.<name>.<key>`` (from --set) of third-party plugins."""
    result: dict[str, dict[str, Any]] = {}
    for item in given:
        _, name, *rest = item.path.split(".", 2)
        if rest:
            result.setdefault(name, {})[rest[0]] = item.value
        elif isinstance(item.value, dict):
            result.setdefault(name, {}).update(item.value)
        elif item.value is not None:
            problems.append(f"{item.place}: {item.path}: must be a mapping of settings of the plugin {name}")
    return result


def _disagreements(settings: Settings) -> Iterable[tuple[str, str]]:
    """Yield (path, reason) for values that are fine alone and wrong together, or wrong in form."""
    if settings.server.port and settings.server.port == settings.server.dapr_port:
        yield "server.dapr_port", "must differ from server.port; 0 closes it"
    if settings.engine.node_timeout_s < 2 * settings.engine.node_heartbeat_s:
        yield "engine.node_timeout_s", "must be at least twice engine.node_heartbeat_s"
    if not settings.rill.trigger_uri.startswith("/"):
        yield "rill.trigger_uri", "must begin with /"
    if settings.server.public_url and not _is_http_url(settings.server.public_url):
        yield "server.public_url", "must be http://host[:port] or https://host[:port]; a path may follow"
    if "://" not in settings.storage.url:
        yield "storage.url", "must be a URL such as sqlite:///var/tornflow.db"
    for name in ("allow", "deny"):
        for network in getattr(settings.outbound, name):
            if not _is_network(network):
                yield f"outbound.{name}", f"{network!r} is not a network such as 10.0.0.0/8"
    for name, target in settings.plugins.python.callables.items():
        if not isinstance(target, str) or not all(target.partition(":")):
            yield "plugins.python.callables", f"{name} must be a text 'module:attribute'"


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        return is_whole and not parts.query and not parts.fragment and "//" not in parts.path
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
