"""What somebody does first who has the package and no checkout; and what SIGHUP does to a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLOW = "workspace: demo\ndagName: {name}\ntype: flow\ntasks:\n- {{category: pass, name: only}}\n"
COMMAND = (sys.executable, "-m", "tornflow")


def environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}
    roots = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "storage")]
    return kept | {"NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(roots)}


def tornflow(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environ(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]]:
    """Start a server; yield it and its log lines, which end with it."""
    given = ["serve", "--port", "0", "--dapr-port", "0", "--storage", "memory://", "--set", "log.format=json"]
    with subprocess.Popen(
        [*COMMAND, *given, *arguments], cwd=cwd, env=environ(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stderr is not None
            yield server, (json.loads(line) for line in server.stderr if line.startswith("{"))
        finally:
            if server.poll() is None:
                server.kill()


def line_of(lines: Iterator[dict[str, Any]], event: str) -> dict[str, Any]:
    found = next((line for line in lines if line["event"] == event), None)
    assert found is not None, f"the server ended without saying {event!r}"
    return found


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = tornflow("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "tornflow"), done.stderr


def test_init_writes_what_serve_can_use_at_once(tmp_path: Path) -> None:
    done = tornflow("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tornflow serve --config tornflow.yaml" in done.stdout
    with serving("--config", "tornflow.yaml", cwd=tmp_path) as (_, lines):
        assert line_of(lines, "flows registered")["flows"] == ["demoFlowTest:demoTest", "samples:ticket"]


def test_init_writes_over_nothing_unless_told_to(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    mine = tmp_path / "sub" / "tornflow.yaml"
    mine.write_text("# mine\n")
    refused = tornflow("init", "sub", cwd=tmp_path)
    assert refused.returncode == 2 and "sub/tornflow.yaml is there already" in refused.stderr
    assert mine.read_text() == "# mine\n" and not (tmp_path / "sub" / "flows").exists()
    assert tornflow("init", "sub", "--force", cwd=tmp_path).returncode == 0
    assert mine.read_text() != "# mine\n"


def test_the_samples_of_the_package_are_those_of_the_checkout() -> None:
    here, there = ROOT / "conf" / "flows", ROOT / "tornflow" / "samples"
    assert {path.name: path.read_bytes() for path in here.glob("*.yaml")} == {
        path.name: path.read_bytes() for path in there.iterdir()
    }


def test_config_show_says_what_is_in_force_and_from_where_and_hides_secrets(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("server: {port: 9001}\ndapr: {api_token: abc}\nplugins: {shell: {key: abc}}\n")
    url = "storage.url=mongodb://user:abc@db1,db2/flows"
    done = tornflow("config", "show", "--config", "t.yaml", "--set", url, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert "server.port: 9001  # t.yaml:1" in lines and 'server.host: "127.0.0.1"' in lines
    assert 'storage.url: "mongodb://user:***@db1,db2/flows"  # --set' in lines
    assert "abc" not in done.stdout and "plugins.shell.key: ***" in lines
    changed = tornflow("config", "show", "--config", "t.yaml", "--changed", cwd=tmp_path).stdout.splitlines()
    assert [line.partition(":")[0] for line in changed] == ["server.port", "dapr.api_token", "plugins.shell.key"]


def test_config_check_lists_every_problem(tmp_path: Path) -> None:
    fine = tornflow("config", "check", cwd=tmp_path)
    assert (fine.returncode, fine.stdout) == (0, ""), fine.stderr
    wrong = tornflow("config", "check", "--set", "server.prt=1", "--set", "server.port=x", cwd=tmp_path)
    assert wrong.returncode == 1 and len(wrong.stdout.splitlines()) == 2
    (tmp_path / "bad.yaml").write_text("workspace: demo\n")
    sets = ["--set", "storage.url=nosql://x", "--set", f"flows.directory={tmp_path}"]
    beyond = tornflow("config", "check", *sets, cwd=tmp_path)
    assert beyond.returncode == 1
    assert [word in beyond.stdout for word in ("no store serves", "bad.yaml:1:")] == [True, True], beyond.stdout


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
def test_sighup_reloads_the_level_and_the_flows_and_the_server_stays(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "a.yaml").write_text(FLOW.format(name="a"))
    config = tmp_path / "t.yaml"
    config.write_text("flows: {directory: flows}\n")
    with serving("--config", "t.yaml", cwd=tmp_path) as (server, lines):
        url = line_of(lines, "serving")["url"]
        (tmp_path / "flows" / "b.yaml").write_text(FLOW.format(name="b"))
        server.send_signal(signal.SIGHUP)
        assert line_of(lines, "flows registered")["flows"] == ["demo:a"]
        assert line_of(lines, "reloaded")["log_level"] == "info"
        assert line_of(lines, "flows registered")["flows"] == ["demo:a", "demo:b"]
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            assert answer.status == 200
        config.write_text("flows: {directory: nowhere}\n")
        server.send_signal(signal.SIGHUP)
        assert "nowhere is not a folder" in line_of(lines, "not reloaded")["reason"]
        config.write_text("log: {level: debug}\n")
        server.send_signal(signal.SIGHUP)
        assert line_of(lines, "reloaded")["log_level"] == "debug"
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


def test_a_store_that_does_not_come_is_one_short_line(tmp_path: Path) -> None:
    url = "mongodb://127.0.0.1:1/x"
    sets = ["--set", "storage.mongodb.server_selection_ms=50", "--set", "storage.wait_s=0.5"]
    done = tornflow("serve", "--port", "0", "--dapr-port", "0", "--storage", url, *sets, cwd=tmp_path)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last == "tornflow: MongoDB: 127.0.0.1:1: [Errno 111] Connection refused (storage.wait_s = 0.5 s are over)"
    assert '"waiting for the store"' in done.stderr
