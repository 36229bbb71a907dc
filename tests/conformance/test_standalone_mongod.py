"""A ``mongod`` that is no member of a replica set is used, and named at the start for what it is."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from tornflow.testing.replica_set import NoMongod, find_mongod, free_ports
from tornflow_store_mongodb import open_storage

SETTINGS = {"driver": "pymongo", "server_selection_ms": 60_000}
# PyMongo's asynchronous client forgets a socket when close() meets a connection that is just being made.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("standalone")
    try:
        binary = find_mongod()
    except NoMongod as error:
        pytest.skip(f"no mongod: {error}")
    (port,) = free_ports(1)
    command = [binary, "--port", str(port), "--dbpath", folder, "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB"]
    with subprocess.Popen([*map(str, command), "0.25", "--nounixsocket"], stdout=subprocess.DEVNULL) as running:
        try:
            yield f"mongodb://127.0.0.1:{port}/standalone"
        finally:
            running.kill()


async def opened(url: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    store = open_storage(url, SETTINGS)
    with caplog.at_level(logging.WARNING, "tornflow.mongodb"):
        await store.open()
    await store.close()
    return [record.getMessage() for record in caplog.records if record.name == "tornflow.mongodb"]


async def test_a_standalone_server_is_named(standalone: str, caplog: pytest.LogCaptureFixture) -> None:
    with MongoClient[dict[str, object]](standalone) as client:
        assert "setName" not in client.admin.command("hello")
    (line,) = await opened(standalone, caplog)
    assert "standalone" in line


async def test_a_replica_set_is_not(mongod: str, caplog: pytest.LogCaptureFixture) -> None:
    assert await opened(mongod, caplog) == []
