"""The storage contract as tests. A store is right when it passes them; what they do not ask is the store's choice.

How to use it::

    class TestMyStore(StorageConformance):
        @pytest.fixture
        def storage(self, tmp_path):                  # built, not opened: each test opens and closes it
            return open_storage(f"mine:///{tmp_path}/db", {})

        @pytest.fixture
        def place(self, tmp_path):                    # durable stores only: where a second one finds the same data
            return Place("my_package:open_storage", f"mine:///{tmp_path}/db", {})

Every test needs an empty store. Tests are plain functions that run their own event loop, so the suite asks for no
pytest plugin and no mode of one. Call ``pytest.register_assert_rewrite("tornflow.testing")`` in a ``conftest.py``
before the import, to see values when an assertion fails.
"""

from __future__ import annotations

from tornflow.testing.storage_copy import CopyTests
from tornflow.testing.storage_crash import CrashTests
from tornflow.testing.storage_lists import ListTests
from tornflow.testing.storage_lives import LifeTests
from tornflow.testing.storage_records import RecordTests
from tornflow.testing.storage_removal import RemovalTests
from tornflow.testing.storage_scopes import ScopeTests
from tornflow.testing.storage_support import Place

__all__ = ["Place", "StorageConformance"]


class StorageConformance(ScopeTests, LifeTests, ListTests, RemovalTests, CopyTests, RecordTests, CrashTests):
    """Subclass it, give a ``storage`` fixture, and a ``place`` fixture if the store is durable."""
