"""A whole server: reload, a store that comes late, sub paths in callback URLs, samples on any port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from tornado.httpclient import AsyncHTTPClient

from tornflow import server as server_module
from tornflow import wiring
from tornflow.config import Settings, load_settings
from tornflow.errors import ConfigError, StorageUnavailable
from tornflow.server import Server
from tornflow.wiring import open_store

ROOT = Path(__file__).parents[2]
FLOW = "workspace: demo\ndagName: {name}\ntype: flow\ntasks:\n- {{category: pass, name: only}}\n"


def settings(**more: Any) -> Settings:
    flags = {"server.port": 0, "server.dapr_port": 0, "storage.url": "memory://"}
    return load_settings(None, {}, flags, [f"{path.replace('__', '.')}={value}" for path, value in more.items()])


@asynccontextmanager
async def serving(given: Settings, **options: Any) -> AsyncIterator[Server]:
    server = Server(given, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def ask(server: Server, path: str, body: Any = None, method: str = "GET") -> Any:
    url = f"http://127.0.0.1:{server.ports[0]}{path}"
    text = body if isinstance(body, str | None) else json.dumps(body)
    answer = await AsyncHTTPClient().fetch(url, method=method, body=text)
    return answer.body.decode()


async def knows(server: Server, flow: str) -> bool:
    assert server.engine is not None
    return flow in [f"{one.business}:{one.feature}" for one in await server.engine.catalog.descriptor_ids()]


async def test_a_reload_brings_the_level_and_the_flows_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(FLOW.format(name="a"))
    levels: list[str] = []
    monkeypatch.setattr(server_module, "set_level", levels.append)
    now = {"log__level": "warning"}
    async with serving(
        settings(flows__directory=tmp_path), read_settings=lambda: settings(flows__directory=tmp_path, **now)
    ) as server:
        assert server.engine is not None
        assert await knows(server, "demo:a") and not await knows(server, "demo:b")
        looks: list[None] = []
        monkeypatch.setattr(server.engine.announcements, "look_at_level", lambda: looks.append(None))
        (tmp_path / "b.yml").write_text(FLOW.format(name="b"))
        await server.reload()
        assert await knows(server, "demo:b")
        assert (levels, looks) == (["warning"], [None])
        assert await ask(server, "/readyz")


async def test_a_reload_of_something_wrong_changes_nothing_and_is_logged(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FLOW.format(name="a"))
    async with serving(settings(flows__directory=tmp_path)) as server:
        (tmp_path / "again.yaml").write_text(FLOW.format(name="a"))
        with structlog.testing.capture_logs() as lines:
            await server.reload()
        (line,) = [line for line in lines if line["event"] == "not reloaded"]
        assert "both define demo:a" in line["reason"]
        assert await ask(server, "/readyz")


class LateStore:
    """Can be opened from the n-th try on."""

    def __init__(self, tries: int) -> None:
        self.left = tries

    async def open(self) -> None:
        self.left -= 1
        if self.left > 0:
            raise StorageUnavailable("nobody answers")


async def test_the_start_waits_for_a_store_that_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "_PAUSE_S", 0.001)
    store: Any = LateStore(3)
    with structlog.testing.capture_logs() as lines:
        await open_store(store, 60)
    assert store.left == 0
    assert [(line["event"], line["reason"]) for line in lines] == [("waiting for the store", "nobody answers")]


async def test_a_store_that_never_comes_is_an_error_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "_PAUSE_S", 0.001)
    store: Any = LateStore(10**9)
    with pytest.raises(StorageUnavailable, match=r"^nobody answers \(storage.wait_s = 0.01 s are over\)$"):
        await open_store(store, 0.01)


async def test_an_error_that_waiting_cannot_mend_is_raised_at_once() -> None:
    class Wrong:
        async def open(self) -> None:
            raise ConfigError("locked")

    store: Any = Wrong()
    with pytest.raises(ConfigError, match="locked"):
        await open_store(store, 60)


@pytest.mark.parametrize("more", [{}, {"server__public_url": "http://127.0.0.1:{port}/below"}])
async def test_the_published_example_runs_on_any_port(more: dict[str, str], unused_tcp_port: int) -> None:
    given = {name: text.format(port=unused_tcp_port) for name, text in more.items()}
    async with serving(settings(**given, server__port=unused_tcp_port)) as server:
        names = "business_id=demoFlowTest&feature_name=demoTest&alias=release"
        text = (ROOT / "conf" / "flows" / "demo.yaml").read_text("utf-8")
        assert ":8080/" in text
        await ask(server, f"/flow/bg/manage/descriptor/add_descriptor.json?{names}", text, "POST")
        submitted = "/flow/submit.json?descriptor_id=demoFlowTest:demoTest"
        body = {"left": 1, "right": 2, "expect_number": 3}
        execution_id = json.loads(await ask(server, submitted, body, "POST"))["execution_id"]
        async with asyncio.timeout(20):
            while (ret := await view(server, execution_id))["dag_status"] not in ("SUCCEED", "FAILED"):
                await asyncio.sleep(0.01)
    assert (ret["dag_status"], ret["context"].get("result")) == ("SUCCEED", True), ret


async def view(server: Server, execution_id: str) -> dict[str, Any]:
    ret: dict[str, Any] = json.loads(await ask(server, f"/flow/get.json?execution_id={execution_id}"))["ret"]
    return ret


async def test_metrics_of_process_loop_and_flows_are_there() -> None:
    async with serving(settings()) as server:
        text = await ask(server, "/metrics")
    for name in ("tornflow_loop_lag_seconds_bucket", "tornflow_commit_seconds_sum", "tornflow_process_info"):
        assert f"\n{name}" in text, name
    assert "process_cpu_seconds_total" in text or not Path("/proc").exists()
