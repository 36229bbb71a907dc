from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tornflow.testing")


@pytest.fixture(scope="session")
def mongod() -> Iterator[str]:
    from tornflow.testing.mongod import mongodb_uri

    yield from mongodb_uri()
