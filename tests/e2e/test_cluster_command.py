"""``scripts/cluster``: a real replica set and three real nodes, tried out and gone again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.e2e.test_processes import is_alive
from tornflow.testing.replica_set import NoMongod, find_mongod

KEPT = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}
FLOW = "workspace: demo\ndagName: one\ntype: flow\ntasks:\n  - {category: pass, name: only}\n"


async def run(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tornflow.testing.cluster", *arguments), cwd=folder, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=KEPT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


async def command(folder: Path, *arguments: str) -> tuple[int | None, str, str]:
    process = await run(folder, *arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def ask(method: str, url: str, body: str | None = None, kind: str = "application/json") -> Any:
    request = HTTPRequest(url, method, {"Content-Type": kind}, body, allow_nonstandard_methods=True)
    return json.loads((await AsyncHTTPClient().fetch(request)).body)


async def test_a_cluster_is_tried_out_and_leaves_nothing_behind(tmp_path: Path) -> None:
    try:
        find_mongod()
    except NoMongod as error:
        pytest.skip(str(error))
    cluster = await run(tmp_path, "start", "--any-ports")
    assert cluster.stdout is not None and cluster.stderr is not None
    text = b""
    while b"stop with" not in text:
        line = await cluster.stdout.readline()
        assert line, (text, await cluster.stderr.read())
        text += line
    try:
        a, b, c = re.findall(r"^ +(http://\S+) +(http://\S+) +(http://\S+)$", text.decode(), re.MULTILINE)[0]
        query = "business_id=demo&feature_name=one&alias=release"
        await ask("POST", f"{a}/flow/bg/manage/descriptor/add_descriptor.json?{query}", FLOW, "text/plain")
        answer = await ask("POST", f"{b}/flow/submit.json?descriptor_id=demo:one", "{}")
        async with asyncio.timeout(20):
            while True:
                seen = await ask("GET", f"{c}/flow/get.json?execution_id={answer['execution_id']}")
                if "SUCCEED" in json.dumps(seen):
                    break
                await asyncio.sleep(0.05)

        code, out, _ = await command(tmp_path, "status")
        assert code == 0
        rows = re.findall(r"^(node|mongod) (\d) +running +process (\d+)", out, re.MULTILINE)
        assert [row[:2] for row in rows] == [(kind, n) for kind in ("node", "mongod") for n in "123"]
        code, _, err = await command(tmp_path, "start")
        assert (code, err) == (
            2, f"cluster: a cluster runs in {tmp_path}/var/cluster; stop it with: scripts/cluster stop\n"
        )  # fmt: skip

        os.kill(int(rows[0][2]), signal.SIGKILL)
        assert (await cluster.stdout.readline()).startswith(b"node 1 has died; the others take over")
        assert (await command(tmp_path, "stop"))[0] == 0
        assert await cluster.wait() == 0
    finally:
        if cluster.returncode is None:
            cluster.terminate()
            await cluster.wait()
    assert not any(is_alive(int(pid)) for _, _, pid in rows)
    assert not (tmp_path / "var" / "cluster").exists()


async def test_where_no_cluster_runs_that_is_said(tmp_path: Path) -> None:
    for name in ("stop", "status"):
        assert await command(tmp_path, name) == (2, "", f"cluster: no cluster runs in {tmp_path}/var/cluster\n")
