"""The settings of the python task type, read once at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from tornflow.errors import ConfigError

_OWN = ("callables", "threads", "timeout_s")
_FROM_HOST = ("outbound", "server_url", "strict")


@dataclass(frozen=True, slots=True)
class PythonSettings:
    """``callables``: name -> ``module:attribute``, beside those that installed packages register."""

    callables: Mapping[str, str] = field(default_factory=dict)
    threads: int = 8
    timeout_s: float = 600.0


def read_settings(settings: Mapping[str, Any]) -> PythonSettings:
    """Return the settings out of what the host offers.

    Raises:
        ConfigError: an unknown key or a value of the wrong type or range; names the setting and the reason.
    """
    for key in settings:
        if key not in _OWN and key not in _FROM_HOST:
            near = get_close_matches(key, _OWN, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_OWN)}"
            raise _wrong(key, f"unknown setting; {hint}")
    threads, timeout_s = int(_number(settings, "threads", 8)), _number(settings, "timeout_s", 600.0)
    return PythonSettings(_callables(settings), threads, timeout_s)


def _callables(settings: Mapping[str, Any]) -> dict[str, str]:
    given = settings.get("callables") or {}
    if not isinstance(given, Mapping):
        raise _wrong("callables", "must map names to module:attribute")
    for name, place in given.items():
        if not isinstance(place, str) or not all(place.partition(":")[::2]):
            raise _wrong(f"callables.{name}", f"must be module:attribute, not {place!r}")
    return dict(given)


def _number(settings: Mapping[str, Any], key: str, default: float) -> float:
    value = settings.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise _wrong(key, f"must be a number above 0, not {value!r}")
    if key == "threads" and value != int(value):
        raise _wrong(key, f"must be a whole number, not {value!r}")
    return value


def _wrong(key: str, reason: str) -> ConfigError:
    return ConfigError(f"plugins.python.{key}: {reason}", field=f"plugins.python.{key}")
