"""A store of the form that was out there before lives: found in order, migrated, moved, and brought to the end.

``tests/golden/store_form_1.sql.gz`` is a dump of a SQLite store that version 0.1 left when it was killed in the middle
of everything: calls in flight at the top, in nested groups and in a sub-flow; callbacks, wakeups, retries and timers
waited for; a foreach of 70 large elements in parts; a paused and an ended execution.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.test_recovery import CHAIN, LOOP, WAIT, Server
from tests.e2e.test_storage_command import command, mongodb, mongodb_uri
from tornflow.testing.executor import Reply, ScriptedExecutor

__all__ = ["mongodb", "mongodb_uri"]

DUMP = Path(__file__).parents[1] / "golden" / "store_form_1.sql.gz"
EXECUTOR = b"127.0.0.1:18999"


def restore(folder: Path, executor: bytes = EXECUTOR) -> str:
    """Make the database; its flows call ``executor`` (as long as the original). Return its URL."""
    text = gzip.decompress(DUMP.read_bytes()).decode()
    assert len(executor) == len(EXECUTOR)
    text = text.replace(EXECUTOR.hex(), executor.hex()).replace(EXECUTOR.hex().upper(), executor.hex().upper())
    with closing(sqlite3.connect(folder / "flows.db")) as db:
        db.executescript(text)
        db.executescript(f"PRAGMA user_version=1; PRAGMA application_id={0x746F726E}")  # a dump leaves both out
    return "sqlite:///flows.db"


def checked(folder: Path, url: str) -> dict[str, int]:
    code, out, said = command(folder, "check", url, "--json")
    found = json.loads(out)
    assert (code, found["found"]) == (0, []), said
    return found["counts"]


def test_it_is_in_order_before_and_after_it_is_migrated(tmp_path: Path) -> None:
    url = restore(tmp_path)
    counts = checked(tmp_path, url)
    assert counts == {"executions": 11, "scopes": 89, "problems": 0, "warnings": 0}
    assert json.loads(command(tmp_path, "migrate", url, "--json")[1]) == {
        "scopes": 89, "rewritten": 89, "unreadable": []
    }  # fmt: skip
    assert command(tmp_path, "migrate", url)[2] == "migrated: 89 scopes, 0 rewritten, 0 unreadable\n"
    assert checked(tmp_path, url) == counts


def test_it_moves_to_mongodb_with_everything_that_runs(tmp_path: Path, mongodb: str) -> None:
    url = restore(tmp_path)
    assert command(tmp_path, "export", url, "--output", "all.jsonl")[0] == 0
    assert command(tmp_path, "import", "all.jsonl", mongodb)[0] == 0
    assert checked(tmp_path, mongodb)["scopes"] == 89
    assert command(tmp_path, "migrate", mongodb)[2] == "migrated: 89 scopes, 89 rewritten, 0 unreadable\n"
    assert checked(tmp_path, mongodb)["scopes"] == 89


@pytest.mark.parametrize("is_migrated", [False, True])
async def test_a_server_brings_it_to_the_end(tmp_path: Path, is_migrated: bool) -> None:
    async with ScriptedExecutor() as executor:
        address = executor.url.removeprefix("http://").encode()
        if len(address) != len(EXECUTOR):
            pytest.skip(f"the port of {executor.url} has not five digits")
        url = restore(tmp_path, address)
        if is_migrated:
            assert command(tmp_path, "migrate", url)[0] == 0
        executor.script("/held", Reply(json={"v": 2}))
        server = Server(tmp_path)
        await server.start()
        try:
            for name in ("chain", "nested", "caller", "done"):
                ids = [one for one in ids_of(tmp_path) if f":{name}flow_" in one]
                for execution_id in ids:
                    assert (await server.ended(execution_id))[0] == "SUCCEED"
            gates = next(one for one in ids_of(tmp_path) if ":gatesflow_" in one)
            for index in (0, 2):  # the middle one was woken before the crash
                answer = await server.ask(
                    "POST", "/flow/wakeup.json", {"go": index}, execution_id=gates, task_name=f"each_{index}-gate"
                )  # fmt: skip
                assert answer[0] == 200
            status, context = await server.ended(gates)
            assert (status, context["done"]) == ("SUCCEED", [0, 1, 2])
            large = next(one for one in ids_of(tmp_path) if ":largeflow_" in one)
            answers = await asyncio.gather(
                *(
                    server.ask("POST", "/flow/finish.json", {"v": index}, execution_id=large,
                               task_name=f"each_{index}-work", status="success")
                    for index in range(70)
                )
            )  # fmt: skip
            assert {status for status, _ in answers} == {200}
            status, context = await server.ended(large)
            assert status == "SUCCEED"
        finally:
            await server.kill()
    assert checked(tmp_path, url)["executions"] == 11


def ids_of(folder: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{folder}/flows.db?mode=ro", uri=True)) as db:
        return [row[0] for row in db.execute("SELECT DISTINCT execution_id FROM scope")]


async def test_a_store_is_in_order_when_its_server_was_killed_in_the_middle(tmp_path: Path) -> None:
    async with ScriptedExecutor() as executor:
        held = asyncio.Event()
        executor.script("/one", Reply(json={"v": 1}))
        executor.script("/held", Reply(until=held))
        server = Server(tmp_path)
        await server.start()
        try:
            for name, text in (("chain", CHAIN), ("loop", LOOP), ("wait", WAIT)):
                await server.add(text.format(url=executor.url), name)
            for name, context in (("loop", {"items": list(range(100))}), ("chain", {}), ("wait", {})):
                await server.submit(name, context)
            await executor.wait_for_calls("/held", 65)  # the second batch of groups is on its way
        finally:
            await server.kill()
            held.set()
        assert checked(tmp_path, "sqlite:///flows.db")["executions"] == 3


def test_what_somebody_broke_is_listed_with_its_place(tmp_path: Path) -> None:
    url = restore(tmp_path)
    command(tmp_path, "migrate", url)
    ids = {one.partition(":")[2].partition("flow_")[0]: one for one in sorted(ids_of(tmp_path))}
    with closing(sqlite3.connect(tmp_path / "flows.db")) as db, db:
        nested, ask, done = ids["nested"], ids["ask"], ids["done"]
        db.execute("DELETE FROM scope WHERE execution_id=? AND path='outer_0'", (nested,))
        db.execute("UPDATE scope SET head=? WHERE execution_id=?", (b"{", ask))
        db.execute("UPDATE execution SET status='running' WHERE execution_id=?", (done,))
    code, out, said = command(tmp_path, "check", url)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"{ask} (root): unreadable: ")
    assert lines[1:] == [
        f"{done} (root): summary: status is 'running', the state has 'succeed'",
        f"{nested} outer_0-inner_0: parent: the scope of its foreach or choice does not exist",
        f"{nested} outer_0-inner_1: parent: the scope of its foreach or choice does not exist",
    ]
    assert said.splitlines()[-1] == "checked: 11 executions, 88 scopes, 4 problems, 0 warnings"
    code, out, _ = command(tmp_path, "check", url, "--json")
    found = json.loads(out)
    assert (code, len(found["found"]), found["counts"]["problems"]) == (1, len(lines), len(lines))
    code, _, said = command(tmp_path, "migrate", url)
    assert code == 1 and f"left as it is: {ask}: " in said
