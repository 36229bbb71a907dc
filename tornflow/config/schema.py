"""The settings as a flat table: path, kind, default. Sources, checks and documents all read this one table."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tornflow.config.about import About
from tornflow.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf: ``path`` is ``section.key`` or ``section.part.key``."""

    path: str
    kind: type
    is_optional: bool
    default: Any
    about: About

    @property
    def environ(self) -> tuple[str, ...]:
        """Names of its environment variables, the regular one first."""
        return (f"TORNFLOW_{self.path.replace('.', '_').upper()}", *self.about.environ)


@dataclass(frozen=True, slots=True)
class Section:
    """One group of settings; ``doc`` is a line for people."""

    path: str
    doc: str


def settings_below(cls: type, prefix: str) -> Iterator[Section | Setting]:
    """Walk a section class in the order of its fields: first the section itself, then its leaves and parts."""
    hints = typing.get_type_hints(cls)
    yield Section(prefix, (cls.__doc__ or "").strip())
    for field in dataclasses.fields(cls):
        path = f"{prefix}.{field.name}"
        if "about" in field.metadata:
            kind, is_optional = _kind(hints[field.name])
            yield Setting(path, kind, is_optional, _default(field), field.metadata["about"])
        else:
            yield from settings_below(hints[field.name], path)


def build(
    values: Mapping[str, Any], other_plugins: Mapping[str, Mapping[str, Any]], warnings: tuple[str, ...] = ()
) -> Settings:
    """Return the settings with ``values`` (path -> checked value) in place of the defaults."""
    sections = {name: _build(cls, name, values) for name, cls in _sections()}
    return Settings(**sections, other_plugins=other_plugins, warnings=warnings)


def _build(cls: type, prefix: str, values: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        path = f"{prefix}.{field.name}"
        if "about" not in field.metadata:
            given[field.name] = _build(hints[field.name], path, values)
        elif path in values:
            given[field.name] = values[path]
    return cls(**given)


def _sections() -> Iterator[tuple[str, type]]:
    hints = typing.get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        if dataclasses.is_dataclass(hints[field.name]):
            yield field.name, hints[field.name]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _kind(hint: Any) -> tuple[type, bool]:
    """Return (str | int | float | bool | tuple | dict, may it be null)."""
    is_optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
    if is_optional:
        (hint,) = (arg for arg in typing.get_args(hint) if arg is not type(None))
    origin = typing.get_origin(hint) or hint
    return (dict if origin is Mapping else origin), is_optional


TABLE: tuple[Section | Setting, ...] = tuple(row for name, cls in _sections() for row in settings_below(cls, name))
SETTINGS: Mapping[str, Setting] = {row.path: row for row in TABLE if isinstance(row, Setting)}
