"""The installed command, as a user meets it: output, exit codes, one clear line for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLOWS = ROOT / "conf" / "flows"

PASS_FLOW = """\
workspace: cli
dagName: copy
type: flow
tasks:
  - category: pass
    name: only
    outputMappings: [{source: $.context.a, target: $.context.b}]
"""


def command() -> str:
    path = shutil.which("tornflow", path=str(Path(sys.executable).parent))
    assert path, "tornflow is not installed in this environment: run scripts/install speed test"
    return path


def environ(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}
    return kept | {"NO_COLOR": "1"} | more


def tornflow(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command(), *arguments],
        cwd=cwd,
        env=environ(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def refused(*arguments: str, cwd: Path, **more: str) -> str:
    """Return the one line of a command that could not be carried out."""
    done = tornflow(*arguments, cwd=cwd, **more)
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tornflow: ")
    return line.removeprefix("tornflow: ")


def test_help_and_version_are_answered(tmp_path: Path) -> None:
    assert tornflow("--version", cwd=tmp_path).stdout.startswith("tornflow 0.")
    for arguments in ([], ["--help"], ["serve", "--help"], ["run", "-h"]):
        done = tornflow(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "") and "Usage: tornflow" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["sreve"], "No such command 'sreve'"),
        (["serve", "--port", "x"], "Invalid value for '--port'"),
        (["serve", "--port", "70000"], "--port: server.port: must be at most 65535, not 70000"),
        (["serve", "--set", "server.prt=1"], "--set: server.prt: no such setting, did you mean server.port?"),
        (["serve", "--config", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (["serve", "--storage", "nosql://x", "--port", "0", "--dapr-port", "0"], "storage.url: no store serves"),
        (["lint"], "Missing argument"),
        (["lint", "none.yaml"], "none.yaml: No such file or directory"),
        (["run", "none.yaml"], "none.yaml: No such file or directory"),
        (["run", str(FLOWS / "ticket.yaml"), "--input", "{"], "--input: not JSON"),
        (["run", str(FLOWS / "ticket.yaml"), "--input", "[1]"], "--input: must be a JSON object, not list"),
        (["run", str(FLOWS / "ticket.yaml"), "--input", '{"a": NaN}'], "--input: not JSON: NaN is not a JSON number"),
        (["run", str(FLOWS / "ticket.yaml"), "--input", "@none.json"], "none.json: No such file or directory"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(tmp_path: Path, arguments: list[str], line: str) -> None:
    assert refused(*arguments, cwd=tmp_path).startswith(line)


def test_a_wrong_environment_is_refused_by_every_command_that_reads_it(tmp_path: Path) -> None:
    line = "TORNFLOW_LOG_LEVLE: no such setting, did you mean TORNFLOW_LOG_LEVEL?"
    assert refused("plugins", cwd=tmp_path, TORNFLOW_LOG_LEVLE="debug") == line
    assert refused("serve", cwd=tmp_path, TORNFLOW_LOG_LEVLE="debug") == line


def test_run_prints_the_final_context_and_nothing_else_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(PASS_FLOW)
    done = tornflow("run", "f.yaml", "--input", '{"a": {"n": 12345678901234567890123, "t": "ä"}}', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    context = json.loads(done.stdout)
    assert context["b"] == {"n": 12345678901234567890123, "t": "ä"}
    lines = done.stderr.splitlines()
    assert lines[0].split() == ["SUCCEED", "only"] and lines[-1].startswith("SUCCEED in ")
    assert not (tmp_path / "var").exists()


def test_run_reads_its_input_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"age": 5}')
    done = tornflow("run", str(FLOWS / "ticket.yaml"), "--input", "@in.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ticket"] == {"price": 0}


def test_run_ends_with_1_when_the_flow_fails_and_says_why(tmp_path: Path) -> None:
    flow = PASS_FLOW.replace("category: pass", "category: function").replace(
        "    outputMappings", "    pattern: task_sync\n    resourceName: python://nobody\n    outputMappings"
    )
    (tmp_path / "f.yaml").write_text(flow)
    done = tornflow("run", "f.yaml", "--input", '{"a": 1}', cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["a"] == 1
    assert "FAILED" in done.stderr and "nobody" in done.stderr and "Traceback" not in done.stderr


def test_run_of_a_bad_descriptor_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(PASS_FLOW.replace("name: only", "name: not ok"))
    assert refused("run", "f.yaml", cwd=tmp_path).startswith("f.yaml:6:")


def test_lint_is_silent_about_good_flows_and_lists_every_problem_of_bad_ones(tmp_path: Path) -> None:
    good = tornflow("lint", *map(str, sorted(FLOWS.glob("*.yaml"))), cwd=tmp_path)
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    (tmp_path / "bad.yaml").write_text(PASS_FLOW.replace("name: only", "name: not ok\n    next: nowhere"))
    bad = tornflow("lint", "bad.yaml", cwd=tmp_path)
    assert bad.returncode == 1
    errors = [line for line in bad.stdout.splitlines() if " error: " in line]
    assert len(errors) == 2
    assert all(line.startswith(("bad.yaml:6:", "bad.yaml:7:")) for line in errors)


def test_plugins_lists_task_types_and_stores(tmp_path: Path) -> None:
    done = tornflow("plugins", cwd=tmp_path, TORNFLOW_PLUGINS_DISABLED="python")
    assert done.returncode == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {(row[0], row[1]) for row in rows} >= {
        ("loaded", "http"),
        ("loaded", "rillflow"),
        ("disabled", "python"),
        ("store", "memory"),
        ("store", "sqlite"),
        ("store", "mongodb"),
        ("store", "mongodb+srv"),
    }
    assert all(len(row) == 4 for row in rows)


def test_serve_listens_says_where_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    with subprocess.Popen(
        [command(), "serve", "--port", "0", "--dapr-port", "0"],
        cwd=tmp_path,
        env=environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            url = _serving(server)["url"]
            for path in ("/healthz", "/readyz"):
                with urllib.request.urlopen(url + path, timeout=10) as answer:
                    assert answer.status == 200
            assert (tmp_path / "var" / "tornflow.db").exists()
            port = url.rpartition(":")[2]
            arguments = ["serve", "--port", port, "--storage", "memory://", "--dapr-port", "0"]
            assert f"127.0.0.1:{port}" in refused(*arguments, cwd=tmp_path)
            server.send_signal(signal.SIGTERM)
            _, rest = server.communicate(timeout=20)
            assert server.returncode == 0, rest
        finally:
            if server.poll() is None:
                server.kill()


def _serving(server: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the log line that says that the server works; its end of file ends the wait too."""
    assert server.stderr is not None
    seen: list[str] = []
    for line in server.stderr:
        seen.append(line)
        if line.startswith("{") and (event := json.loads(line))["event"] == "serving":
            return dict(event)
    raise AssertionError("the server ended: " + "".join(seen))
