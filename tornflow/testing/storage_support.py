"""What the storage suite is written with: short builders, and a loop for each test."""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tornflow.model.execution import ScopeKey
from tornflow.spi.storage import ScopeWrite, Storage, Summary

TEST_LIMIT_S = 60.0
# Short and long, with common beginnings, in two scripts: their order must be that of code points.
PAGED_IDS = ("a", "ab", "b", "shop:order_c_1", "shop:order_c_10", "shop:order_c_2", "zz", "ä", "中", "\U0001f600")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a durable store keeps its data: ``opener`` is ``module:function``, as in an entry point."""

    opener: str
    url: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def open_storage(self) -> Storage:
        """Build one more store of this place, not opened."""
        module, _, name = self.opener.partition(":")
        return cast(Storage, getattr(importlib.import_module(module), name)(self.url, self.settings))


class SuiteFixtures:
    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError("subclasses of StorageConformance give a `storage` fixture")

    @pytest.fixture
    def place(self) -> Place | None:
        return None


def scenario(body: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Turn ``async def test_...([self,] storage, ...)`` into a plain test with an open store, on its own loop."""

    @functools.wraps(body)
    def test(*self: object, **fixtures: Any) -> None:
        asyncio.run(_with_open(fixtures["storage"], functools.partial(body, *self, **fixtures)))

    return test


def key(execution: str = "shop:order_c_1", path: str = "") -> ScopeKey:
    return ScopeKey(execution, path)


def summary(execution: str = "shop:order_c_1", **changes: Any) -> Summary:
    values: dict[str, Any] = {"business": "shop", "feature": "order", "status": "running", "submitted_at": 1_000}
    return Summary(execution_id=execution, **{**values, **changes})


def creation(execution: str = "shop:order_c_1", path: str = "", head: bytes = b"{}", **changes: Any) -> ScopeWrite:
    """A create; root scopes get a summary."""
    if not path:
        changes.setdefault("summary", summary(execution))
    return ScopeWrite(ScopeKey(execution, path), 0, head, **changes)


def change(
    expected: int, execution: str = "shop:order_c_1", path: str = "", head: bytes = b"{}", **rest: Any
) -> ScopeWrite:
    return ScopeWrite(ScopeKey(execution, path), expected, head, **rest)


async def outcomes(*waiting: Awaitable[Any]) -> list[Any]:
    """Results and exceptions, in the order of the arguments."""
    return await asyncio.gather(*waiting, return_exceptions=True)


async def _with_open(storage: Storage, body: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(TEST_LIMIT_S):
        await storage.open()
        try:
            await body()
        finally:
            await storage.close()
