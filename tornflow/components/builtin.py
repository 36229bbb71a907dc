"""The types that come with the server; each is named by an entry point of ``tornflow.components``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tornflow.components.values import is_open_variable
from tornflow.errors import ConfigError
from tornflow.model.jsontext import loads
from tornflow.spi.component import ComponentSpec, WorkflowBinding

_SECRETS_LIMIT_BYTES = 1024 * 1024
_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def workflow(spec: ComponentSpec) -> WorkflowBinding:
    """``workflow.rill`` and ``workflow.tornflow``: ``business`` and ``strict``; the rest is ignored."""
    business = spec.metadata.get("business", "")
    if ":" in business or business != business.strip():
        raise ConfigError(f"{business!r} cannot be a business: no colon, no blanks around it", field="business")
    return WorkflowBinding(business, _flag(spec, "strict"))


class EnvironmentSecrets:
    """``secretstores.local.env``: a secret is a variable, its one key has the same name."""

    def __init__(self, spec: ComponentSpec) -> None:
        self._prefix = spec.metadata.get("prefix", "")

    def secret(self, name: str) -> Mapping[str, str] | None:
        variable = self._prefix + name
        if not is_open_variable(variable) or variable not in os.environ:
            return None
        return {name: os.environ[variable]}


class FileSecrets:
    """``secretstores.local.file``: a JSON file, read when the component is loaded.

    A name is a path of keys joined by ``nestedSeparator``; with ``multiValued`` a name is a top-level key, and its
    members are the keys of the secret.
    """

    def __init__(self, spec: ComponentSpec) -> None:
        file = spec.metadata.get("secretsFile", "")
        if not file:
            raise ConfigError("is required", field="secretsFile")
        separator = spec.metadata.get("nestedSeparator", "") or ":"
        root = _json_object(Path(file))
        flat: dict[str, str] = {}
        if _flag(spec, "multiValued"):
            self._secrets: dict[str, dict[str, str]] = {}
            for name, value in root.items():
                members: dict[str, str] = {}
                _flatten(value, "" if isinstance(value, dict) else name, separator, members)
                self._secrets[name] = members
        else:
            _flatten(root, "", separator, flat)
            self._secrets = {name: {name: value} for name, value in flat.items()}

    def secret(self, name: str) -> Mapping[str, str] | None:
        return self._secrets.get(name)


def _flag(spec: ComponentSpec, name: str) -> bool:
    text = spec.metadata.get(name, "").strip().lower()
    if text and text not in _WORDS:
        raise ConfigError("must be true or false", field=name)
    return _WORDS.get(text, False)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _SECRETS_LIMIT_BYTES:
            raise ConfigError(f"{path}: larger than {_SECRETS_LIMIT_BYTES} bytes", field="secretsFile")
        root = loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", field="secretsFile") from error
    except ValueError as error:
        # not the reason: it may quote a secret
        raise ConfigError(f"{path}: is not JSON", field="secretsFile") from error
    if not isinstance(root, dict):
        raise ConfigError(f"{path}: must be a JSON object", field="secretsFile")
    return root


def _flatten(value: Any, path: str, separator: str, found: dict[str, str]) -> None:
    if isinstance(value, dict | list):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for name, member in members:
            _flatten(member, f"{path}{separator}{name}" if path else str(name), separator, found)
    elif value is not None:
        found[path] = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
