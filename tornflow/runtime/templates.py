"""Task templates: what the graph editor offers beside the categories (rill-http-api 14), kept in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tornflow.errors import MalformedField
from tornflow.model.status import Category
from tornflow.runtime.clock import Clock
from tornflow.runtime.identities import Identities
from tornflow.runtime.numbered import NumberedRecords
from tornflow.spi.storage import Storage

KIND = "template"
FUNCTION, PLUGIN, LOGIC = 0, 1, 2
_NAME_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Template:
    """``type``: FUNCTION, PLUGIN or LOGIC. ``schema`` and ``output`` are JSON texts, ``task_yaml`` the keys of the task
    that the editor begins with."""

    name: str
    type: int
    category: str
    icon: str = ""
    task_yaml: str = ""
    schema: str = "{}"
    output: str = "{}"
    enable: int = 1


class Templates:
    """The templates of one store. Names are unique among those that one process adds or changes at a time."""

    def __init__(self, storage: Storage, clock: Clock, identities: Identities) -> None:
        self._records = NumberedRecords(storage, KIND, clock.wall_ms, identities.chance)
        self._clock = clock

    async def all(self) -> AsyncIterator[tuple[int, Template]]:
        """Yield (id, template) by ascending id."""
        async for number, document in self._records.all():
            yield number, _template(document)

    async def add(self, template: Template) -> int:
        """Store a new template, return its id.

        Raises:
            MalformedField: a value that cannot be, or a name that another template has; nothing was stored.
            LimitExceeded
        """
        check(template)
        async with self._records.change:
            await self._refuse_second(template.name, None)
            now = self._clock.wall_ms()
            return await self._records.add({**asdict(template), "created_at": now, "updated_at": now})

    async def change(self, number: int, values: Mapping[str, Any]) -> bool:
        """Change the named fields of a template; return whether there is one. Raises as ``add``."""
        async with self._records.change:
            document = await self._records.get(number)
            if document is None:
                return False
            before = _template(document)
            changed = replace(before, **values)
            check(changed)
            if changed.name != before.name:
                await self._refuse_second(changed.name, number)
            await self._records.put(number, {**document, **asdict(changed), "updated_at": self._clock.wall_ms()})
            return True

    async def _refuse_second(self, name: str, owner: int | None) -> None:
        async for number, other in self.all():
            if other.name == name and number != owner:
                raise MalformedField(f"a template with the name {name!r} exists already: id {number}", field="name")


def check(template: Template) -> None:
    """Raises MalformedField."""
    for field in ("name", "category", "icon", "task_yaml", "schema", "output"):
        if not isinstance(getattr(template, field), str):
            raise MalformedField(f"'{field}' must be a text", field=field)
    if not 0 < len(template.name.strip()) <= len(template.name) <= _NAME_CHARACTERS:
        raise MalformedField(f"'name' must have 1 to {_NAME_CHARACTERS} characters", field="name")
    if isinstance(template.type, bool) or template.type not in (FUNCTION, PLUGIN, LOGIC):
        raise MalformedField("'type' must be 0 (function), 1 (plugin) or 2 (logic)", field="type")
    if template.category not in list(Category):
        known = ", ".join(Category)
        raise MalformedField(f"'category' must be one of {known}", field="category")


def _template(document: Mapping[str, Any]) -> Template:
    return Template(**{field: document[field] for field in Template.__dataclass_fields__ if field in document})
