"""Durable stores: what was acknowledged is still there, after a close and after ``kill -9``."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest

from tornflow.spi.storage import NodeBeat, Storage, StoredScope
from tornflow.testing.storage_support import Place, SuiteFixtures, change, creation, key, scenario, summary

_IN_FLIGHT = 32
_ACKNOWLEDGED = 400


class CrashTests(SuiteFixtures):
    @scenario
    async def test_a_store_that_is_opened_again_has_everything(self, storage: Storage, place: Place | None) -> None:
        if place is None:
            pytest.skip("this store does not claim to be durable")
        await storage.commit(creation(parts={"a": b"1"}, owners=("n",), due_at=5, idempotency_key="k"))
        await storage.commit(change(1, head=b"2", parts={"b": b"\xff"}, owners=("n",), due_at=5))
        await storage.put_record("kind", "key", b"body")
        await storage.beat(NodeBeat("n", 1, 2, "x"))
        await storage.close()
        again = place.open_storage()
        await again.open()
        try:
            assert await again.load(key()) == StoredScope(
                key(), 2, b"2", {"a": b"1", "b": b"\xff"}, owners=("n",), due_at=5
            )
            assert await again.summary(key().execution_id) == summary()
            assert await again.execution_for_key("k") == key().execution_id
            assert await again.get_record("kind", "key") == b"body"
            assert list(await again.nodes()) == [NodeBeat("n", 1, 2, "x")] and list(await again.owners()) == ["n"]
            assert await again.commit(change(2)) == 3 and await again.commit(creation("e2")) == 1
        finally:
            await again.close()

    def test_every_acknowledged_commit_survives_kill_9(self, storage: Storage, place: Place | None) -> None:
        if place is None:
            pytest.skip("this store does not claim to be durable")
        acknowledged = _killed_child(place)
        asyncio.run(_check(place.open_storage(), acknowledged))


def _killed_child(place: Place) -> dict[str, int]:
    """Let another process commit until it has said enough, kill it, return what it was told: execution -> revision."""
    command = [sys.executable, "-m", "tornflow.testing.storage_crash", place.opener, place.url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(
        [*command, json.dumps(dict(place.settings))], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        try:
            for count, line in enumerate(child.stdout):
                if line.endswith("\n"):
                    name, revision = line.split()
                    acknowledged[name] = int(revision)
                if count == _ACKNOWLEDGED:
                    child.kill()
        finally:
            child.kill()
    assert len(acknowledged) > _IN_FLIGHT, "the child process did not work"
    return acknowledged


async def _check(storage: Storage, acknowledged: dict[str, int]) -> None:
    await storage.open()
    try:
        for name, revision in acknowledged.items():
            stored = await storage.load(key(name))
            assert stored is not None and stored.revision >= revision, name
            assert (stored.head, stored.parts) == _state(name, stored.revision), name
    finally:
        await storage.close()


def _state(name: str, revision: int) -> tuple[bytes, dict[str, bytes]]:
    body = f"{name} {revision}".encode()
    return body * 20, {"last": body, **{f"p{n}": b"x" for n in range(1, revision + 1)}}


async def _commit_until_killed(storage: Storage) -> None:
    await storage.open()

    async def work(worker: int) -> None:
        for n in range(10_000):
            name = f"e{worker}.{n}"
            for revision in range(1, 4):
                head, parts = _state(name, revision)
                changed = {"last": parts["last"], f"p{revision}": b"x"}
                about = summary(name) if revision == 1 else None
                await storage.commit(change(revision - 1, name, head=head, parts=changed, summary=about))
                os.write(1, f"{name} {revision}\n".encode())

    await asyncio.gather(*(work(n) for n in range(_IN_FLIGHT)))


if __name__ == "__main__":
    opener, url, settings = sys.argv[1:]
    asyncio.run(_commit_until_killed(Place(opener, url, json.loads(settings)).open_storage()))
