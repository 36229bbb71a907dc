from __future__ import annotations

import pytest

from tornflow.errors import ConfigError
from tornflow.spi.storage import Storage
from tornflow.testing.storage import StorageConformance
from tornflow_store_memory import open_storage


class TestMemoryStorage(StorageConformance):
    @pytest.fixture
    def storage(self) -> Storage:
        return open_storage("memory://", {})


def test_a_memory_url_with_more_in_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory://"):
        open_storage("memory://somewhere", {})


def test_the_memory_store_has_no_settings() -> None:
    with pytest.raises(ConfigError, match=r"storage\.memory\.size"):
        open_storage("memory://", {"size": 1})


def test_it_says_that_it_is_not_shared() -> None:
    assert open_storage("memory://", {}).is_shared is False
