"""One document to a draft of a component: its form is checked, nothing is looked up yet (dapr-http-api 9.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from tornflow.components.documents import Part

API_VERSION = "dapr.io/v1alpha1"
KIND = "Component"
OTHER_KINDS = ("Configuration", "HTTPEndpoint", "MCPServer", "Resiliency", "Subscription")
"""Dapr's own, which may stand in the same folder."""

VERSIONS = ("", "v0", "v1", "v1.0-alpha1")
_SEGMENT = re.compile(r"[^/?#%\\\x00-\x20\x7f]+")
_BUILT_IN = "dapr"


@dataclass(frozen=True, slots=True)
class Draft:
    """A component that has the right form; ``line`` is where it begins."""

    file: str
    line: int
    name: str
    type: str
    version: str
    namespace: str
    metadata: tuple[Part, ...]
    secret_store: Part
    scopes: tuple[str, ...]
    ignores_errors: bool
    spec: Part

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def category(self) -> str:
        return self.type.partition(".")[0]


def draft_of(document: Part, file: str) -> Draft | None:
    """Return None for a document of another kind of Dapr's.

    Raises:
        Broken
    """
    if not isinstance(document.value, dict):
        raise document.broken("a component must be a mapping")
    kind = document.text("kind")
    if kind in OTHER_KINDS:
        return None
    if kind != KIND:
        raise _at(document, "kind").broken(_no_such(kind, "kind", (KIND, *OTHER_KINDS)))
    version = document.text("apiVersion")
    if version != API_VERSION:
        raise _at(document, "apiVersion").broken(_no_such(version, "apiVersion", (API_VERSION,)))
    about, spec = document.mapping("metadata"), document.mapping("spec")
    return Draft(
        file=file,
        line=document.line,
        name=_name(about),
        type=_type(spec),
        version=spec.text("version"),
        namespace=about.text("namespace"),
        metadata=tuple(_metadata(spec)),
        secret_store=_secret_store(document.mapping("auth")),
        scopes=tuple(_scopes(document)),
        ignores_errors=spec.flag("ignoreErrors"),
        spec=spec,
    )


def check_known(draft: Draft, types: Iterable[str]) -> None:
    """Raise Broken unless type and version are known and the name is free to take."""
    types = sorted(types)
    if draft.type not in types:
        raise _at(draft.spec, "type").broken(_no_such(draft.type, "type", types))
    if draft.version not in VERSIONS:
        raise _at(draft.spec, "version").broken(_no_such(draft.version, "version", ("v1", "v1.0-alpha1")))
    if draft.category == "workflow" and draft.name == _BUILT_IN:
        raise _at(draft.spec, "type").broken("the name dapr belongs to the built-in engine, it cannot be redefined")


def _name(about: Part) -> str:
    name = about.text("name")
    if not name:
        raise _at(about, "name").broken("is required")
    if _SEGMENT.fullmatch(name) is None or name in (".", ".."):
        raise _at(about, "name").broken(f"{name!r} cannot stand in a URL as one segment")
    return name


def _secret_store(auth: Part) -> Part:
    """Return the place of its name, which is "" for none."""
    name = auth.text("secretStore")
    place = _at(auth, "secretStore")
    return Part(name, place.line, place.field)


def _type(spec: Part) -> str:
    found = spec.text("type")
    if not found:
        raise _at(spec, "type").broken("is required")
    return found


def _metadata(spec: Part) -> Iterable[Part]:
    names: set[str] = set()
    for item in spec.list("metadata"):
        if not isinstance(item.value, dict):
            raise item.broken("must be a mapping with name and value")
        name = item.text("name")
        if not name:
            raise _at(item, "name").broken("is required")
        if name in names:
            raise _at(item, "name").broken(f"{name!r} stands twice")
        names.add(name)
        yield item


def _scopes(document: Part) -> Iterable[str]:
    for item in document.list("scopes"):
        if not isinstance(item.value, str):
            raise item.broken("must be a text: the id of an app")
        yield item.value


def _at(holder: Part, key: str) -> Part:
    """Return the place of a member, or where it should stand."""
    found = holder.member(key)
    return found or Part(None, holder.line, f"{holder.field}.{key}" if holder.field else key)


def _no_such(given: str, what: str, known: Iterable[str]) -> str:
    if not given:
        return f"is required: {', '.join(known)}"
    near = get_close_matches(given, known, 1, 0.5) or [one for one in known if one.lower() == given.lower()]
    return f"no such {what} {given!r}, " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")
