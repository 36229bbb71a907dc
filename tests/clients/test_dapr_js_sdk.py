"""The published JavaScript SDK of Dapr, over HTTP, against a whole server: what it shows its users.

Needs Node, and npm once: the SDK is kept in var/clients. Without them the test is skipped and says why.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tornflow.api.dapr.sidecar import DAPR_VERSION
from tornflow.config import load_settings
from tornflow.server import Server

ROOT = Path(__file__).parents[2]
SDK = "@dapr/dapr@3.18.0"
KEPT = ROOT / "var" / "clients" / SDK.replace("/", "-")
FLOW = """\
workspace: shop
dagName: approval
type: flow
tasks:
  - {category: suspense, name: wait, event: approve, outputMappings: [{source: $.output.event, target: $.context.by}]}
"""
INSTALL_S, RUN_S = 25, 20


@pytest.fixture(scope="session")
def sdk() -> Path:
    """Return the folder of node_modules, filled when it is not yet."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        pytest.skip("the JavaScript SDK needs Node, which is not installed")
    modules = KEPT / "node_modules"
    if (KEPT / "complete").exists():
        return modules
    if npm is None:
        pytest.skip(f"{SDK} is not installed in {KEPT}, and there is no npm to install it")
    KEPT.mkdir(parents=True, exist_ok=True)
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev", "--fetch-retries=0", "--loglevel=error")
    try:
        done = subprocess.run(
            [npm, "install", *options, "--prefix", str(KEPT), SDK],
            capture_output=True, text=True, timeout=INSTALL_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm install {SDK} took longer than {INSTALL_S} s")
    if done.returncode != 0:
        pytest.skip(f"npm install {SDK} failed: {' '.join(done.stderr.split())[:300]}")
    (KEPT / "complete").touch()
    return modules


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    flags = {"server.port": 0, "server.dapr_port": 0, "storage.url": "memory://", "dapr.api_token": "s3cret"}
    running = Server(load_settings(None, {}, flags, []))
    await running.start()
    assert running.engine is not None
    await running.engine.catalog.add(FLOW, business="shop", feature="approval", alias="release")
    yield running
    await running.close()


def error_code(refusal: Any) -> tuple[int, str]:
    return refusal["status"], json.loads(refusal["error_msg"])["errorCode"]


async def test_the_javascript_sdk_finds_what_it_expects(sdk: Path, server: Server) -> None:
    process = await asyncio.create_subprocess_exec(
        "node", str(Path(__file__).with_name("dapr_js_sdk.cjs")), str(server.ports[0]),
        env={**os.environ, "NODE_PATH": str(sdk)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(RUN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    seen = json.loads(out)

    assert seen["isHealthy"] is True
    assert seen["set"] == [True, True]
    page = seen["metadata"]
    assert (page["id"], page["runtimeVersion"]) == ("tornflow", DAPR_VERSION)
    assert (page["extended"]["colour"], page["extended"]["nothing"]) == ("blue", "")

    running, completed = seen["running"], seen["completed"]
    assert (seen["started"], running["workflowName"]) == ("js-1", "shop:approval")
    assert running["properties"] == {"dapr.workflow.input": '{"order":17}'}
    assert completed["createdAt"] == running["createdAt"]
    assert completed["lastUpdatedAt"] >= seen["paused"]["lastUpdatedAt"] >= running["lastUpdatedAt"]
    assert json.loads(completed["properties"]["dapr.workflow.output"])["by"] == {"by": "lin"}
    assert error_code(seen["twice"]) == (500, "ERR_START_WORKFLOW")
    assert "already exists" in seen["twice"]["error_msg"]

    assert len(seen["own"]) == 36
    assert error_code(seen["early"]) == (500, "ERR_PURGE_WORKFLOW")
    assert "properties" not in seen["terminated"] or "dapr.workflow.output" not in seen["terminated"]["properties"]
    assert error_code(seen["gone"]) == (404, "ERR_INSTANCE_ID_NOT_FOUND")
    assert error_code(seen["missing"]) == (500, "ERR_RAISE_EVENT_WORKFLOW")

    assert seen["textInput"]["properties"]["dapr.workflow.input"] == "plain text"
    assert seen["failed"]["properties"]["dapr.workflow.failure.error_type"] == "WorkflowNotRegistered"
    assert error_code(seen["badId"]) == (400, "ERR_INSTANCE_ID_INVALID")
