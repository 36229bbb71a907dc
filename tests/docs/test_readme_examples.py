"""The examples of the README do what it says, run as printed against a real server on a free port."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CURLS = [block for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) if block.startswith("curl ")]
PATIENCE_S = 20


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The port of a server over memory storage; it serves both families."""
    tornflow = Path(sys.executable).parent / "tornflow"
    assert tornflow.exists(), "tornflow is not installed in this environment: run scripts/install speed test"
    arguments = ["serve", "--port", "0", "--dapr-port", "0", "--storage", "memory://", "--set", "log.format=json"]
    with subprocess.Popen(
        [tornflow, *arguments],
        cwd=tmp_path_factory.mktemp("readme"),
        env={name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            line = server.stderr.readline()  # the first line is "serving", or the reason why it is not
            assert '"serving"' in line, line
            yield str(json.loads(line)["ports"][0])
        finally:
            server.terminate()


def carried_out(command: str, port: str) -> Any:
    """Do what a curl command says (curl itself may be missing) and return the JSON of its answer."""
    method, url, body, headers = "GET", "", None, {}
    words = iter(shlex.split(command.replace("\\\n", " "))[1:])
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word in ("-d", "--data-binary"):
            text = next(words)
            text = (ROOT / text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
            body = re.sub(r":(8080|3500)\b", f":{port}", text).encode()
        else:
            assert word.startswith("http://127.0.0.1:"), word
            url = re.sub(r":(8080|3500)/", f":{port}/", word)
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def settled(command: str, port: str, is_done: Any) -> Any:
    """Ask until the answer is final; the deadline only bounds a failure."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_done(answer := carried_out(command, port)):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


def test_the_rill_flow_example_runs_as_printed(port: str) -> None:
    create, submit, get = CURLS[:3]
    assert carried_out(create, port)["ret"] is True
    execution_id = carried_out(submit, port)["execution_id"]
    assert execution_id.startswith("demoFlowTest:demoTest_c_")
    get = get.replace("EXECUTION_ID", execution_id)
    ret = settled(get, port, lambda answer: answer["ret"]["dag_status"] not in ("NOT_STARTED", "RUNNING"))["ret"]
    assert ret["dag_status"] == "SUCCEED"
    assert (ret["context"]["result_number"], ret["context"]["result"]) == (3, True)


def test_the_dapr_example_runs_as_printed(port: str) -> None:
    carried_out(CURLS[0], port)
    start, get = CURLS[3:5]
    assert carried_out(start, port) == {"instanceID": "order17"}
    instance = settled(get, port, lambda it: it["runtimeStatus"] not in ("PENDING", "RUNNING"))
    assert instance["runtimeStatus"] == "COMPLETED"
    assert json.loads(instance["properties"]["dapr.workflow.output"])["result"] is True


def test_the_command_line_example_runs_as_printed() -> None:
    (printed,) = re.findall(r"`\.venv/bin/(tornflow run [^`]*)`", README)
    words = shlex.split(printed)
    done = subprocess.run(
        [Path(sys.executable).parent / words[0], *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["ticket"] == {"price": 12}
