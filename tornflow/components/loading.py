"""Component files to components: all problems at once, or everything (dapr-http-api 9.2).

Dapr starts with what it could load and warns about the rest; here nobody starts with half a configuration.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornflow.components.documents import FILE_LIMIT_BYTES, Broken, Part, read_documents
from tornflow.components.drafts import Draft, check_known, draft_of
from tornflow.components.kinds import ComponentKind, installed_kinds
from tornflow.components.loaded import Component, Loaded
from tornflow.components.values import Surroundings, value_of
from tornflow.errors import ConfigError
from tornflow.spi.component import ComponentSpec, SecretStore, WorkflowBinding

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class ComponentSource:
    """Where components come from. ``folder`` "": from nowhere; ``may_be_missing``: the folder need not exist."""

    folder: str = ""
    may_be_missing: bool = False
    app_id: str = "tornflow"
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    kinds: Mapping[str, ComponentKind] | None = None


def load_components(source: ComponentSource) -> Loaded:
    """Read every file of the folder. Blocks, foreign code too: call it at start, or in a thread.

    Raises:
        ConfigError: something cannot be used. The message is one line that names each problem with file, line, field
            and component; ``details["problems"]`` has them as a list.
    """
    if not source.folder:
        return Loaded()
    return _Loading(source).run()


class _Loading:
    def __init__(self, source: ComponentSource) -> None:
        self._source = source
        self._around = Surroundings(source.environ, source.app_id)
        self._kinds = installed_kinds() if source.kinds is None else source.kinds
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._stores: dict[str, SecretStore] = {}

    def run(self) -> Loaded:
        drafts = [draft for draft in self._distinct(self._drafts()) if self._is_meant(draft)]
        drafts.sort(key=lambda draft: draft.category == "workflow")  # secret stores first, else as they stand
        found = [component for draft in drafts if (component := self._component(draft)) is not None]
        if self._problems:
            raise ConfigError("; ".join(self._problems), problems=self._problems)
        return Loaded(tuple(found), tuple(self._warnings))

    # --- files

    def _drafts(self) -> list[Draft]:
        drafts: list[Draft] = []
        for path in self._files():
            try:
                if path.stat().st_size > FILE_LIMIT_BYTES:
                    raise Broken(f"larger than {FILE_LIMIT_BYTES} bytes")
                text = path.read_text("utf-8")
                drafts += self._drafts_in(text, str(path))
            except Broken as error:
                self._problems.append(_words(str(path), error))
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "is not UTF-8 text"
                self._problems.append(f"{path}: cannot be read: {reason}")
        return drafts

    def _files(self) -> list[Path]:
        folder = Path(self._source.folder)
        try:
            paths = sorted(folder.iterdir())
        except FileNotFoundError:
            if not self._source.may_be_missing:
                self._problems.append(f"dapr.resources_path: there is no folder {folder}")
            return []
        except OSError as error:
            self._problems.append(f"dapr.resources_path: {folder}: {error.strerror}")
            return []
        files = [path for path in paths if not path.is_dir() and not path.name.startswith(".")]
        self._warnings += [f"{path}: not read: no .yaml or .yml file" for path in files if path.suffix not in _SUFFIXES]
        return [path for path in files if path.suffix in _SUFFIXES]

    def _drafts_in(self, text: str, file: str) -> list[Draft]:
        drafts: list[Draft] = []
        for document in read_documents(text):
            try:
                draft = draft_of(document, file)
            except Broken as error:
                self._problems.append(_words(file, error, _name_of(document.value)))
                continue
            drafts += [] if draft is None else [draft]
        return drafts

    def _distinct(self, drafts: list[Draft]) -> list[Draft]:
        """Names are taken by every component, also by one that is not meant for this app."""
        taken: dict[str, Draft] = {}
        for draft in drafts:
            other = taken.setdefault(draft.name, draft)
            if other is not draft:
                text = f"with existing {other.name} ({other.type}) of {other.place}"
                self._refuse(draft, f"duplicate definition of Component name {draft.name} ({draft.type}) {text}")
        return list(taken.values())

    def _is_meant(self, draft: Draft) -> bool:
        namespace = self._around.namespace
        if namespace and draft.namespace and draft.namespace != namespace:
            return False
        return not draft.scopes or self._source.app_id in draft.scopes

    # --- components

    def _component(self, draft: Draft) -> Component | None:
        """Make a component; a problem is noted."""
        try:
            check_known(draft, self._kinds)
            return self._kept(draft, self._kinds[draft.type].load()(self._spec(draft)))
        except Broken as error:
            self._refuse(draft, _words(draft.file, error, draft.name), is_placed=True)
        except ConfigError as error:
            at = _metadata_of(draft, error.details.get("field"))
            self._refuse(draft, _words(draft.file, at.broken(error.message), draft.name), is_placed=True)
        except Exception as error:  # foreign code ran
            self._refuse(draft, f"{draft.type}: {type(error).__name__}: {error}")
        return None

    def _kept(self, draft: Draft, made: Any) -> Component:
        binding = WorkflowBinding()
        if draft.category == "workflow":
            if not isinstance(made, WorkflowBinding):
                raise ConfigError(f"the type {draft.type} gave {type(made).__name__}, no WorkflowBinding")
            binding = made
        elif callable(getattr(made, "secret", None)):
            self._stores[draft.name] = made
        else:
            raise ConfigError(f"the type {draft.type} gave {type(made).__name__}, no secret store")
        return Component(draft.name, draft.type, draft.version, binding, draft.place)

    def _spec(self, draft: Draft) -> ComponentSpec:
        store = self._store_of(draft)
        values: dict[str, str] = {}
        warnings: list[str] = []
        for item in draft.metadata:
            values[item.text("name")] = value_of(item, self._around, store, draft.secret_store.value, warnings)
        self._warnings += [f"{draft.place}: component {draft.name}: {text}" for text in warnings]
        return ComponentSpec(draft.name, draft.type, draft.version, values, self._source.app_id)

    def _store_of(self, draft: Draft) -> SecretStore | None:
        wanted = draft.secret_store.value
        if wanted and wanted not in self._stores:
            known = ", ".join(self._stores) or "none"
            raise draft.secret_store.broken(f"no secret store {wanted!r} is loaded; loaded: {known}")
        return self._stores.get(wanted)

    def _refuse(self, draft: Draft, text: str, *, is_placed: bool = False) -> None:
        line = text if is_placed else f"{draft.place}: component {draft.name}: {text}"
        if draft.ignores_errors:
            self._warnings.append(f"{line} (ignoreErrors: the component is not loaded)")
        else:
            self._problems.append(line)


def _metadata_of(draft: Draft, name: str | None) -> Part:
    """Return the place of the metadata that a type refuses, or where it should stand."""
    if name is None:
        return Part(None, draft.line, "")
    found = next((item for item in draft.metadata if item.text("name") == name), draft.spec)
    return Part(None, found.line, name)


def _words(file: str, error: Broken, component: str = "") -> str:
    place = f"{file}:{error.line}" if error.line else file
    parts = (place, f"component {component}" if component else "", error.field, error.reason)
    return ": ".join(part for part in parts if part)


def _name_of(document: Any) -> str:
    """Return the name of a component that may be broken anywhere."""
    about = document.get("metadata") if isinstance(document, dict) else None
    name = about.get("name") if isinstance(about, dict) else None
    return name if isinstance(name, str) else ""
