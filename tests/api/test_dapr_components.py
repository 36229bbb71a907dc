"""Component files on a whole server: names bound to businesses, the metadata page, start and change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tornflow.cli.plugins import plugins_command
from tornflow.components import watching
from tornflow.config import Settings, load_settings
from tornflow.server import Server

BILLING = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: billing
spec:
  type: workflow.rill
  version: v1
  metadata:
  - {name: business, value: shop}
"""
VAULT = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: vault}\nspec: {type: secretstores.local.env}\n"
FLOW = "workspace: %s\ndagName: ship\ntype: flow\ntasks: [{category: suspense, name: wait, event: never}]\n"
Serve = Callable[..., Awaitable[Any]]


def settings_of(folder: Path, **more: Any) -> Settings:
    flags = {"server.port": 0, "server.dapr_port": 0, "storage.url": "memory://"}
    return load_settings(None, {}, {**flags, "dapr.resources_path": str(folder), **more}, [])


@pytest.fixture
async def serve(tmp_path: Path, connect: Callable[[str], Any]) -> AsyncIterator[Serve]:
    """Return a function that starts a server over the folder of the test, with a flow ``ship`` in two businesses."""
    servers: list[Server] = []

    async def run(**more: Any) -> Any:
        server = Server(settings_of(tmp_path, **more))
        servers.append(server)
        await server.start()
        client = connect(f"http://127.0.0.1:{server.ports[0]}")
        for business in ("shop", "other"):
            names = {"business_id": business, "feature_name": "ship", "alias": "release"}
            added = await client.post("/flow/bg/manage/descriptor/add_descriptor.json", names, body=FLOW % business)
            assert added.status == 200, added.body
        return client

    yield run
    for server in servers:
        await server.close()


async def status_of(client: Any, component: str, name: str) -> tuple[str, str]:
    """Start an instance; return its status and its name."""
    started = await client.post(f"/v1.0/workflows/{component}/{name}/start")
    assert started.status == 202, started.body
    view = (await client.get(f"/v1.0/workflows/dapr/{started.json['instanceID']}")).json
    return view["runtimeStatus"], view["workflowName"]


async def test_a_bare_name_is_looked_up_in_the_business_of_the_component(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "billing.yaml").write_text(BILLING)
    client = await serve()
    assert await status_of(client, "billing", "ship") == ("RUNNING", "ship")
    assert await status_of(client, "billing", "other:ship") == ("RUNNING", "other:ship")
    assert await status_of(client, "dapr", "ship") == ("FAILED", "ship")  # no business is configured
    assert await status_of(client, "else", "ship") == ("FAILED", "ship")


async def test_a_component_without_a_business_has_the_configured_one(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "billing.yaml").write_text(BILLING.replace("value: shop", "value: nowhere"))
    (tmp_path / "plain.yaml").write_text(BILLING.replace("billing", "plain").replace("business", "region"))
    client = await serve(**{"dapr.business_id": "other"})
    assert await status_of(client, "plain", "ship") == ("RUNNING", "ship")
    assert await status_of(client, "dapr", "ship") == ("RUNNING", "ship")
    assert await status_of(client, "billing", "ship") == ("FAILED", "ship")


async def test_components_stand_on_the_metadata_page_in_the_order_of_their_start(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BILLING)
    (tmp_path / "b.yaml").write_text(VAULT)
    client = await serve()
    assert (await client.get("/v1.0/metadata")).json["components"] == [
        {"name": "vault", "type": "secretstores.local.env"},
        {"name": "billing", "type": "workflow.rill", "version": "v1"},
    ]


async def test_a_broken_file_ends_the_start_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "billing.yaml"
    file.write_text(BILLING.replace("workflow.rill", "workflow.ril"))
    assert await Server(settings_of(tmp_path)).run_until_signal() == 2
    told = capsys.readouterr().err
    assert told == (
        f"tornflow: {file}:6: component billing: spec.type: no such type 'workflow.ril', did you mean workflow.rill?\n"
    )


async def test_a_missing_folder_ends_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await Server(settings_of(tmp_path / "none")).run_until_signal() == 2
    assert "dapr.resources_path: there is no folder" in capsys.readouterr().err


async def test_a_change_is_taken_while_the_server_runs(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.02)
    file = tmp_path / "billing.yaml"
    file.write_text(BILLING)
    client = await serve()

    async def page(fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while not fits(shown := (await client.get("/v1.0/metadata")).json):
                await asyncio.sleep(0.01)
        return dict(shown)

    def names(shown: dict[str, Any]) -> list[str]:
        return [one["name"] for one in shown.get("components", ())]

    file.write_text(BILLING.replace("name: business, value: shop", "name: strict, value: perhaps"))
    shown = await page(lambda shown: "tornflowComponents" in shown["extended"])
    assert names(shown) == ["billing"]
    assert f"{file}:9: component billing: strict: must be true or false" in shown["extended"]["tornflowComponents"]
    assert await status_of(client, "billing", "ship") == ("RUNNING", "ship")  # as before

    file.write_text(BILLING.replace("billing", "ledger") + "  - {name: strict, value: true}\n")
    shown = await page(lambda shown: names(shown) == ["ledger"])
    assert "tornflowComponents" not in shown["extended"]
    refused = await client.post("/v1.0/workflows/billing/ship/start")
    assert (refused.status, refused.json["errorCode"]) == (400, "ERR_WORKFLOW_COMPONENT_NOT_FOUND")
    assert await status_of(client, "ledger", "ship") == ("RUNNING", "ship")

    file.unlink()
    await page(lambda shown: names(shown) == [])
    assert (await client.post("/v1.0/workflows/billing/ship/start")).status == 202


def test_tornflow_plugins_shows_types_and_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORNFLOW_DAPR_RESOURCES_PATH", str(tmp_path))
    (tmp_path / "a.yaml").write_text(BILLING)
    plugins_command.main([], standalone_mode=False)
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["component", "billing", f"{tmp_path}/a.yaml:1", "workflow.rill"] in rows
    assert {row[1] for row in rows if row[0] == "component type"} >= {"workflow.tornflow", "secretstores.local.file"}
    (tmp_path / "b.yaml").write_text("{")
    plugins_command.main([], standalone_mode=False)
    failed = [line.split("\t") for line in capsys.readouterr().out.splitlines() if line.startswith("failed")]
    assert [row[1] for row in failed] == ["component files"]
    assert failed[0][3].startswith(f"{tmp_path}/b.yaml:1: not YAML")
