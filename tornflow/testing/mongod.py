"""A real MongoDB for tests: the one that ``TORNFLOW_TEST_MONGODB_URI`` names, or one of our own on a free port.

Our own runs as a replica set of one member with a small cache in a temporary folder (see ``ReplicaSet``, which also
makes larger ones), and is always stopped, by its own process id.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tornflow.testing.replica_set import WHEEL, Member, NoMongod, ReplicaSet

__all__ = ["URI_VARIABLE", "Member", "NoMongod", "ReplicaSet", "mongodb_uri", "running_mongod"]

URI_VARIABLE = "TORNFLOW_TEST_MONGODB_URI"


def mongodb_uri() -> Iterator[str]:
    """The body of a pytest fixture: yields a URI without a database name. Without a server it skips, under ``CI`` it
    fails, and both say why."""
    given = os.environ.get(URI_VARIABLE)
    if given:
        yield given
        return
    try:
        with running_mongod() as uri:
            yield uri
    except NoMongod as error:
        reason = f"no MongoDB: {error}; set {URI_VARIABLE} or install {WHEEL}"
        print(reason)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def running_mongod() -> Iterator[str]:
    """Start a server, yield its URI, stop it and remove its data whatever happened.

    Raises:
        NoMongod: there is no binary, or it does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="tornflow-mongod-"))
    try:
        with ReplicaSet(folder, members=1) as database:
            yield database.uri
    finally:
        shutil.rmtree(folder, ignore_errors=True)
