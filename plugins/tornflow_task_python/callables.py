"""The register of callables: by entry point, by configuration, and how each one takes its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from typing import Any

from tornflow.errors import ConfigError
from tornflow_task_python.conversion import Convert, DoesNotFit, converter

GROUP = "tornflow.callables"
_Kind = inspect.Parameter


class Unusable(Exception):
    """The callable, or the input given to it, cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A callable and what its signature says. ``error`` is set, and the rest empty, when it could not be loaded."""

    name: str
    source: str
    call: Callable[..., Any] | None = None
    is_async: bool = False
    takes_whole_input: bool = False
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    takes_more: bool = False
    converters: Mapping[str, Convert] = field(default_factory=dict)
    error: str = ""

    def arguments(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for an input object.

        Raises:
            Unusable: a required entry is missing, an entry has no parameter, or one cannot become what its annotation
                asks for; names all of them.
        """
        if self.takes_whole_input:
            return self._converted({"input": dict(entries)})
        problems = []
        if missing := [name for name in self.required if name not in entries]:
            problems.append(f"missing {', '.join(missing)}")
        known = {*self.required, *self.optional}
        if not self.takes_more and (extra := [name for name in entries if name not in known]):
            problems.append(f"unexpected {', '.join(extra)}")
        if problems:
            takes = ", ".join([*self.required, *(f"[{name}]" for name in self.optional)]) or "nothing"
            raise Unusable(f"input does not fit: {'; '.join(problems)} (it takes {takes})")
        return self._converted(dict(entries))

    def _converted(self, arguments: dict[str, Any]) -> dict[str, Any]:
        problems = []
        for name in self.converters.keys() & arguments.keys():
            try:
                arguments[name] = self.converters[name](arguments[name])
            except DoesNotFit as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise Unusable(f"input does not fit: {'; '.join(sorted(problems))}")
        return arguments


class Register:
    """Every callable that ``python://`` may run."""

    def __init__(self, configured: Mapping[str, str], entry_points: Iterable[EntryPoint]) -> None:
        """Load all of them; the configuration wins over an entry point of the same name.

        A broken entry point is kept with its error, so that it spoils its own tasks only.

        Raises:
            ConfigError: a configured callable cannot be used, or two packages register one name.
        """
        self._known: dict[str, Registered] = {}
        for entry_point in entry_points:
            self._add_installed(entry_point)
        for name, place in configured.items():
            found = _load(EntryPoint(name, place, GROUP), f"plugins.python.callables.{name}")
            if found.error:
                field = f"plugins.python.callables.{name}"
                raise ConfigError(f"{field}: {place} cannot be used: {found.error}", field=field)
            self._known[name] = found

    def __iter__(self) -> Iterator[Registered]:
        return iter(self._known.values())

    def find(self, name: str) -> Registered:
        """Return a usable callable.

        Raises:
            Unusable: not registered, or it could not be loaded.
        """
        found = self._known.get(name)
        if found is None:
            near = get_close_matches(name, self._known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"register it in the entry-point group {GROUP}"
            raise Unusable(f"no callable is registered as {name!r}; {hint}")
        if found.error:
            raise Unusable(f"callable {name!r} of {found.source} could not be loaded: {found.error}")
        return found

    def _add_installed(self, entry_point: EntryPoint) -> None:
        source = f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist else entry_point.value
        if other := self._known.get(entry_point.name):
            raise ConfigError(f"callable {entry_point.name!r} is registered by both {other.source} and {source}")
        self._known[entry_point.name] = _load(entry_point, source)


def _load(entry_point: EntryPoint, source: str) -> Registered:
    try:
        return _described(entry_point.name, source, entry_point.load())
    except (Exception, SystemExit) as error:  # a foreign module runs here
        return Registered(entry_point.name, source, error=f"{type(error).__name__}: {error}")


def _described(name: str, source: str, call: Any) -> Registered:
    if not callable(call):
        return Registered(name, source, error=f"a {type(call).__name__} is not callable")
    parameters = _parameters(call)
    positional = [p.name for p in parameters if p.kind is _Kind.POSITIONAL_ONLY and p.default is _Kind.empty]
    if positional:
        return Registered(name, source, error=f"parameter {positional[0]!r} is positional only; entries have names")
    named = [p for p in parameters if p.kind in (_Kind.POSITIONAL_OR_KEYWORD, _Kind.KEYWORD_ONLY)]
    return Registered(
        name,
        source,
        call,
        is_async=inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__),
        takes_whole_input=[p.name for p in parameters] == ["input"] and bool(named),
        required=tuple(p.name for p in named if p.default is _Kind.empty),
        optional=tuple(p.name for p in named if p.default is not _Kind.empty),
        takes_more=any(p.kind is _Kind.VAR_KEYWORD for p in parameters),
        converters={p.name: made for p in named if (made := _converter(p))},
    )


def _parameters(call: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(call, eval_str=True).parameters.values())
    except Exception:  # an annotation names what exists for type checkers only; then nothing is converted
        return list(inspect.signature(call).parameters.values())


def _converter(parameter: inspect.Parameter) -> Convert | None:
    """Raises: TypeError: named after the parameter."""
    if parameter.annotation is _Kind.empty:
        return None
    try:
        return converter(parameter.annotation)
    except TypeError as error:
        raise TypeError(f"parameter {parameter.name!r}: {error}") from error
