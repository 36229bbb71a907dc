"""The sample flows run end to end: the installed server and the sample executor, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLOWS = ROOT / "examples" / "flows"
PATIENCE_S = 20


@contextmanager
def process(*arguments: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}
    with subprocess.Popen(
        [str(one) for one in arguments],
        cwd=cwd,
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.terminate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that has the sample flows, beside an executor that they call."""
    place = tmp_path_factory.mktemp("samples")
    executor_script = ROOT / "examples" / "executor" / "sample_executor.py"
    with process(sys.executable, executor_script, "--port", "0", cwd=place) as executor:
        assert executor.stderr is not None
        line = executor.stderr.readline()
        match = re.search(r":(\d+)$", line.strip())
        assert match, line
        for path in FLOWS.glob("*.yaml"):
            text = path.read_text(encoding="utf-8").replace("127.0.0.1:8000", f"127.0.0.1:{match[1]}")
            (place / path.name).write_text(text, encoding="utf-8")
        options = ["--port", "0", "--dapr-port", "0", "--storage", "memory://"]
        sets = ["--set", "log.format=json", "--set", f"flows.directory={place}"]
        with process(Path(sys.executable).parent / "tornflow", "serve", *options, *sets, cwd=place) as running:
            assert running.stderr is not None
            line = running.stderr.readline()
            assert '"serving"' in line, line
            yield str(json.loads(line)["url"])


def asked(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read() or b"null")


def settled(server: str, execution_id: str) -> Any:
    """Ask until the flow has ended; the deadline only bounds a failure."""
    deadline = time.monotonic() + PATIENCE_S
    while (ret := asked(f"{server}/flow/get.json?execution_id={execution_id}")["ret"])["dag_status"] == "RUNNING":
        assert time.monotonic() < deadline, ret
        time.sleep(0.02)
    return ret


def submitted(server: str, flow: str, context: Any) -> str:
    return str(asked(f"{server}/flow/submit.json?descriptor_id=samples:{flow}", context)["execution_id"])


@pytest.mark.parametrize(
    ("flow", "context", "result"),
    [
        ("callApi", {"user": "Ada", "left": 20, "right": 22}, {"sum": 42, "message": "Hello Ada, the sum is 42"}),
        (
            "choice",
            {"order": {"amount": 1500, "express": True}},
            {"approval": {"amount": 1500, "by": "sample"}, "shipping": "express"},
        ),
        ("choice", {"order": {"amount": 5, "express": False}}, {"approval": None, "shipping": "parcel"}),
        ("switch", {"score": 95}, {"certificate": "excellent (95)"}),
        ("switch", {"score": 60}, {"certificate": "passed (60)"}),
        ("switch", {"score": 1}, {"certificate": "try again (1)"}),
        ("parallelAsync", {"left": 1, "right": 2}, {"sum": 3, "greeting": "Hello Grace"}),
        ("foreach", {"segments": [4, 1, 3, 2]}, {"encoded": [40, 10, 30, 20], "total": 100}),
        ("subDag", {"prices": [4, 5]}, {"gross": 9, "text": "to pay: 9"}),
    ],
)
def test_a_sample_flow_does_what_its_first_lines_say(server: str, flow: str, context: Any, result: Any) -> None:
    ret = settled(server, submitted(server, flow, context))
    assert ret["dag_status"] == "SUCCEED", ret
    assert {key: ret["context"].get(key) for key in result} == result


@pytest.mark.parametrize(("is_granted", "decision"), [(True, "go"), (False, "stay")])
def test_the_approval_sample_waits_for_its_event(server: str, is_granted: bool, decision: str) -> None:
    execution_id = submitted(server, "approval", {})
    event = f"{server}/v1.0/workflows/dapr/{execution_id}/raiseEvent/approval"
    asked(event, {"by": "Eve", "granted": is_granted})
    ret = settled(server, execution_id)
    assert (ret["dag_status"], ret["context"]["decision"]) == ("SUCCEED", decision)
    assert ret["context"]["answer"] == {"by": "Eve", "granted": is_granted}


def test_every_sample_flow_is_run_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8").partition("def test_every_sample_flow")[0]
    names = [re.search(r"^dagName: (\w+)$", path.read_text("utf-8"), re.MULTILINE) for path in FLOWS.glob("*.yaml")]
    missing = [name[1] for name in names if name and f'"{name[1]}"' not in text]
    assert missing == ["subDagChild"]  # which subDag calls
