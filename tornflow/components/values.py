"""Values of a component's metadata: as written, from a secret store, or from the environment (dapr-http-api 9.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from tornflow.components.documents import Broken, Part
from tornflow.errors import ConfigError
from tornflow.model.jsontext import dumps
from tornflow.spi.component import SecretStore

_TEMPLATE = re.compile(r"\{(uuid|podName|namespace|appID)\}")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where components are loaded: the process's environment and the app they are for."""

    environ: Mapping[str, str]
    app_id: str

    @property
    def namespace(self) -> str:
        return self.environ.get("NAMESPACE", "")

    def may_read(self, name: str) -> bool:
        """Whether a component may read this variable: tokens of Dapr and of the app are not for it."""
        allowed = self.environ.get("DAPR_ENV_KEYS", "").split()
        return is_open_variable(name) and (not allowed or name in allowed)


def is_open_variable(name: str) -> bool:
    return not name.startswith("DAPR_") and name != "APP_API_TOKEN" and not any(char.isspace() for char in name)


def value_of(item: Part, around: Surroundings, store: SecretStore | None, store_name: str, warnings: list[str]) -> str:
    """Return the text of one element of ``spec.metadata``.

    Raises:
        Broken: it has a wrong form, or its secret is missing.
    """
    secret = item.mapping("secretKeyRef")
    if secret.value:
        return _secret(secret, store, store_name)
    given = item.member("value")
    if given is not None:
        return _filled(_rendered(given), around)
    variable = item.text("envRef")
    if variable and not around.may_read(variable):
        warnings.append(f"{item.field}.envRef: the variable {variable} may not be read, the value is empty")
        return ""
    return around.environ.get(variable, "")


def _rendered(part: Part) -> str:
    """Return scalars as text, objects and lists as JSON."""
    if isinstance(part.value, str):
        return part.value
    try:
        return dumps(part.value).decode()
    except (ValueError, TypeError, RecursionError) as error:
        raise part.broken("must be a text, a number, true, false, a list or a mapping") from error


def _filled(text: str, around: Surroundings) -> str:
    def value(match: re.Match[str]) -> str:
        match match[1]:
            case "uuid":
                return str(uuid4())
            case "podName":
                return around.environ.get("POD_NAME", "")
            case "namespace":
                return f"{around.namespace}.{around.app_id}"
            case _:
                return around.app_id

    return _TEMPLATE.sub(value, text)


def _secret(reference: Part, store: SecretStore | None, store_name: str) -> str:
    name = reference.text("name")
    key = reference.text("key") or name
    if not name:
        raise reference.broken("needs a name")
    if store is None:
        raise reference.broken("needs auth.secretStore: it says which secret store has it")
    try:
        found = store.secret(name)
    except ConfigError as error:
        raise reference.broken(f"secret store {store_name}: {error.message}") from error
    if found is None or key not in found:
        missing = f"secret {name!r}" if found is None else f"key {key!r} in the secret {name!r}"
        raise Broken(f"the secret store {store_name} has no {missing}", reference.line, reference.field)
    return found[key]
