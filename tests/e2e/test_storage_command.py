"""``tornflow storage``: the installed command on files of SQLite and on a real MongoDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tornflow.model.execution import ScopeKey
from tornflow.runtime.discovery import find_storage
from tornflow.spi.storage import NodeBeat, Storage, StoredRecord, StoredScope, Summary
from tornflow.testing.mongod import mongodb_uri as yield_mongodb_uri

KEPT = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}


@pytest.fixture(scope="module")
def mongodb_uri() -> Iterator[str]:
    yield from yield_mongodb_uri()


@pytest.fixture
def mongodb(mongodb_uri: str) -> str:
    """The URL of an empty database."""
    return mongodb_uri.replace("/?", f"/t{uuid.uuid4().hex[:12]}?")


def command(folder: Path, *arguments: str, text: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(
        (sys.executable, "-m", "tornflow.cli", "storage", *arguments), input=text, capture_output=True, cwd=folder,
        env=KEPT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def scope(number: int, path: str = "", *, note: int = 0) -> StoredRecord:
    execution_id = f"demo:flow_c_{number:04}"
    key = ScopeKey(execution_id, path)
    parts = {"c:n": b"%d" % number, "t:raw": b"\x00\xff"}
    stored = StoredScope(key, 3, b'{"v":9,"note":%d}' % note, parts, f"life{number}", ("gone",), 1000 + number)
    if path:
        return StoredRecord(stored)
    summary = Summary(execution_id, "demo", "flow", "running", submitted_at=number)
    return StoredRecord(stored, summary, f"key-{number}" if number % 2 else None)


async def fill(storage: Storage, scopes: Sequence[StoredRecord]) -> None:
    await storage.put_record("alias", "demo:flow:release", b"{}")
    await storage.put_record("descriptor", "0" * 32, b"z\x00packed")
    await storage.restore(scopes)


async def everything(url: str) -> tuple[list[StoredRecord], list[tuple[str, str, bytes]]]:
    storage = find_storage(url, {})
    await storage.open()
    scopes = list(await storage.scan(None, 1000))
    kinds = sorted(await storage.record_kinds())
    records = [(kind, one.key, one.body) for kind in kinds for one in await storage.list_records(kind)]
    await storage.close()
    return scopes, records


@pytest.fixture
async def filled(tmp_path: Path) -> str:
    """The URL of a SQLite store with more scopes than one page has."""
    url = f"sqlite:///{tmp_path}/flows.db"
    storage = find_storage(url, {})
    await storage.open()
    await fill(storage, [scope(number, path) for number in range(150) for path in ("", "loop_0", "loop_0-in_1")])
    await storage.close()
    return url


async def test_sqlite_to_mongodb_and_back_keeps_every_byte(filled: str, mongodb: str, tmp_path: Path) -> None:
    before = await everything(filled)
    assert len(before[0]) == 450
    assert command(tmp_path, "export", filled, "--output", "a.jsonl")[0] == 0
    assert command(tmp_path, "import", "a.jsonl", mongodb)[::2] == (
        0,
        "imported: 2 records, 450 scopes, 0 skipped, 0 conflicts\n",
    )
    assert await everything(mongodb) == before
    code, text, said = command(tmp_path, "export", mongodb)
    assert (code, said) == (0, "exported: 2 records, 450 scopes\n")
    back = f"sqlite:///{tmp_path}/back.db"
    assert command(tmp_path, "import", "-", back, text=text.encode())[0] == 0
    assert await everything(back) == before
    assert text.splitlines()[1:] == (tmp_path / "a.jsonl").read_text().splitlines()[1:]


async def test_an_import_that_broke_off_is_repeated(filled: str, tmp_path: Path) -> None:
    _, text, _ = command(tmp_path, "export", filled)
    lines = text.splitlines(keepends=True)
    (tmp_path / "half.jsonl").write_text("".join(lines[:200]))
    (tmp_path / "whole.jsonl").write_text(text)
    copy = f"sqlite:///{tmp_path}/copy.db"
    code, _, said = command(tmp_path, "import", "half.jsonl", copy)
    assert (code, said) == (
        2, "tornflow: half.jsonl: incomplete: lines are missing; what was read is stored, repeat the import\n"
    )  # fmt: skip
    code, out, _ = command(tmp_path, "import", "whole.jsonl", copy, "--json")
    counts = json.loads(out)
    assert code == 0 and counts["conflicts"] == []
    assert counts["scopes"] + counts["records"] + counts["skipped"] == 452
    assert counts["skipped"] >= 100
    assert await everything(copy) == await everything(filled)


async def test_a_store_that_is_not_empty_is_left_alone_unless_merged(filled: str, tmp_path: Path) -> None:
    command(tmp_path, "export", filled, "--output", "a.jsonl")
    other = f"sqlite:///{tmp_path}/other.db"
    storage = find_storage(other, {})
    await storage.open()
    await storage.restore([scope(7, note=1), scope(1000)])
    await storage.close()
    code, _, said = command(tmp_path, "import", "a.jsonl", other)
    assert (code, said) == (2, "tornflow: the store is not empty; choose an empty one, or say --merge\n")
    code, _, said = command(tmp_path, "import", "a.jsonl", other, "--merge")
    assert code == 1
    assert said.splitlines() == [
        "left alone: demo:flow_c_0007: the store has another state",
        "imported: 2 records, 449 scopes, 0 skipped, 1 conflicts",
    ]
    scopes, _ = await everything(other)
    assert scope(7, note=1) in scopes and scope(1000) in scopes and len(scopes) == 451


async def test_a_store_that_a_server_uses_is_refused(filled: str, mongodb: str, tmp_path: Path) -> None:
    storage = find_storage(filled, {})
    await storage.open()
    code, _, said = command(tmp_path, "export", filled)
    await storage.close()
    assert code == 2 and said.startswith("tornflow: ") and str(os.getpid()) in said and said.count("\n") == 1

    # Of two nodes that have beaten, one goes on.
    shared = find_storage(mongodb, {})
    await shared.open()
    await shared.beat(NodeBeat("gone", 1, 1))
    living = subprocess.Popen(
        (sys.executable, "-c", _BEATING, mongodb), env=KEPT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert living.stdout is not None and living.stdout.readline()
        code, out, said = command(tmp_path, "export", mongodb)
        assert (code, out) == (2, "")
        assert said == "tornflow: the store is used by 1 running node(s): busy; stop them first\n"
        assert command(tmp_path, "export", mongodb, "--live")[0] == 0
    finally:
        living.kill()
        living.communicate()
        await shared.close()


_BEATING = """
import asyncio, sys
from tornflow.runtime.discovery import find_storage
from tornflow.spi.storage import NodeBeat

async def main():
    storage = find_storage(sys.argv[1], {})
    await storage.open()
    for at in range(1, 10_000):
        await storage.beat(NodeBeat("busy", 1, at))
        print(at, flush=True)
        await asyncio.sleep(0.05)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "redis://x"), "tornflow: storage.url: no store serves 'redis://'; known: "),
        (("export", "sqlite:///missing.db"), "tornflow: sqlite:///missing.db: there is no such file\n"),
        (("import", "missing.jsonl", "sqlite:///new.db"), "tornflow: missing.jsonl: No such file or directory\n"),
        (("import", ".", "sqlite:///new.db"), "tornflow: .: Is a directory\n"),
        (("import", "empty", "sqlite:///new.db"), "tornflow: empty: not an export of tornflow\n"),
        (("import", "binary", "sqlite:///new.db"), "tornflow: binary:1: not JSON: "),
        (("import", "newer", "sqlite:///new.db"), "tornflow: newer:1: an export of version 99; this tornflow reads "),
        (("import", "twice", "sqlite:///new.db"), "tornflow: twice: goes on after its end\n"),
        (("export", "sqlite:///binary"), "tornflow: "),
        (("export", "sqlite:///x", "--json"), "tornflow: --json needs --output: standard output is the export (see "),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\x00\x01" * 600)
    header = {"tornflow": "export", "version": 1, "id": "1", "made_at": 1, "made_by": "x"}
    (tmp_path / "newer").write_text(json.dumps(header | {"version": 99}))
    end = json.dumps({"end": {"records": 0, "scopes": 0}})
    (tmp_path / "twice").write_text("\n".join([json.dumps(header), end, end]))
    code, out, err = command(tmp_path, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(said)


async def test_an_export_that_breaks_off_leaves_no_file(filled: str, tmp_path: Path) -> None:
    code, _, said = command(tmp_path, "export", filled, "--output", "no/such/folder/a.jsonl")
    assert code == 2 and said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.glob("*.jsonl*")) == []
