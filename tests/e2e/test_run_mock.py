"""``tornflow run --mock`` and ``tornflow lint`` with their options, as a user meets them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLOWS = ROOT / "examples" / "flows"
HEAD = "workspace: cli\ndagName: mocked\ntype: flow\ntasks:\n"


def tornflow(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}
    command = [str(Path(sys.executable).parent / "tornflow"), *map(str, arguments)]
    settings: dict[str, Any] = {"stderr": subprocess.PIPE, "env": kept | {"NO_COLOR": "1"}} | options
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=30, check=False, **settings
    )


def context(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_mocked_asynchronous_tasks_are_completed_with_their_answers() -> None:
    answers = ["--mock", 'sum={"result_number": 3}', "--mock", 'greet={"greeting": "Hello"}']
    done = tornflow("run", FLOWS / "parallel-async.yaml", "--input", '{"left": 1, "right": 2}', *answers)
    assert context(done)["result"] == {"sum": 3, "greeting": "Hello"}


def test_a_mocked_sub_flow_task_gets_its_final_context_and_a_real_one_calls_the_other_file() -> None:
    arguments = ("run", FLOWS / "sub-dag.yaml", "--input", '{"prices": [1, 2]}')
    assert context(tornflow(*arguments, "--mock", 'invoice={"gross": 9}'))["text"] == "to pay: 9"
    child = ("--with", FLOWS / "sub-dag-child.yaml", "--mock", 'add={"result_number": 3}')
    assert context(tornflow(*arguments, *child))["text"] == "to pay: 3"


def test_a_mocked_failure_is_retried_with_the_next_answer_and_unknown_protocols_can_be_mocked(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(
        HEAD + "- {category: function, name: a, pattern: task_sync, resourceName: shout://x, retry: {maxRetryTimes: 1},"
        " outputMappings: [{source: $.output.v, target: $.context.v}]}\n"
    )
    done = tornflow("run", tmp_path / "f.yaml", "--mock", "a=!down", "--mock", 'a={"v": 1}')
    assert context(done)["v"] == 1
    assert "attempt 2" in done.stderr
    failed = tornflow("run", tmp_path / "f.yaml", "--mock", "a=!down")
    assert failed.returncode == 1 and "FAILED" in failed.stderr and "down" in failed.stderr


def test_one_instance_of_a_foreach_can_be_mocked_and_its_groups_are_counted() -> None:
    answers = ["--mock", "each_1-encode=!no disk", "--mock", 'encode={"executor_result": 7}']
    done = tornflow("run", FLOWS / "foreach.yaml", "--input", '{"segments": [1, 2, 3]}', *answers)
    assert done.returncode == 1
    assert json.loads(done.stdout)["encoded"] == [7, None, 7]
    assert "3 of 3 groups, 1 failed" in done.stderr and "no disk" in done.stderr


def test_a_mocked_suspense_is_woken_also_inside_a_group(tmp_path: Path) -> None:
    done = tornflow("run", FLOWS / "approval.yaml", "--mock", 'wait={"event": {"granted": true}}')
    assert context(done)["decision"] == "go"
    (tmp_path / "f.yaml").write_text(
        HEAD + "- category: foreach\n  name: each\n  input: {l: '[1, 2]'}\n"
        "  iterationMapping: {collection: $.input.l, item: x}\n"
        "  outputMappings: [{source: '$.output.sub_context[*].got', target: $.context.got}]\n"
        "  tasks:\n  - category: suspense\n    name: wait\n    conditions: ['$.input[?(@.got > 1)]']\n"
        "    inputMappings: [{source: $.context.got, target: $.input.got}]\n"
        "    outputMappings: [{source: $.output.got, target: $.context.got}]\n"
    )
    waking = ["--mock", 'wait={"got": 1}', "--mock", 'wait={"got": 2}']
    assert context(tornflow("run", tmp_path / "f.yaml", *waking))["got"] == [2, 2]


@pytest.mark.parametrize(
    ("mock", "line"),
    [
        ("gret={}", "--mock gret: there is no such task, did you mean greet?"),
        ("greet", "--mock greet: write TASK=JSON, or TASK=!message for a failure"),
        ("greet={", "--mock greet: not JSON"),
        ("greet=NaN", "--mock greet: not JSON: NaN is not a JSON number"),
        ("join={}", "--mock join: a pass calls nothing; only function and suspense can be mocked"),
    ],
)
def test_a_wrong_mock_is_one_clear_line(mock: str, line: str) -> None:
    done = tornflow("run", FLOWS / "parallel-async.yaml", "--mock", mock)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tornflow: {line}") and done.stderr.count("\n") == 1


def test_a_terminal_shows_every_task_with_its_state_and_ends_with_the_outcome() -> None:
    master, slave = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_", "NO_"))}
    answers = ["--mock", 'sum={"result_number": 3}', "--mock", 'greet={"greeting": "Hello"}']
    environ = kept | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    done = tornflow("run", FLOWS / "parallel-async.yaml", *answers, stderr=slave, env=environ)
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert done.returncode == 0, shown
    assert json.loads(done.stdout)["sum"] == 3
    assert "samples:parallelAsync" in shown and "4 succeed" in shown and "SUCCEED" in shown
    assert all(name in shown for name in ("start", "sum", "greet", "join"))


def test_lint_shows_severity_place_and_suggestion_and_strict_counts_warnings(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(HEAD + "- {category: pass, name: a, nxt: b}\n- {category: pass, name: b}\n")
    done = tornflow("lint", file)
    assert (done.returncode, done.stdout) == (
        0,
        f'{file}:5:29: warning: unknown key "nxt" has no effect [tasks[0].nxt] (next)\n',
    )
    assert tornflow("lint", "--strict", file).returncode == 1
    file.write_text(HEAD + "- {category: pass, name: a, next: c}\n- {category: pass, name: b}\n")
    assert tornflow("lint", file).returncode == 1


def test_lint_speaks_json_for_editors_and_prints_the_schema(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(HEAD + "- {category: pass, name: a, next: bb}\n- {category: pass, name: b}\n")
    done = tornflow("lint", "--format", "json", file)
    assert done.returncode == 1
    (remark,) = json.loads(done.stdout)
    assert remark == {
        "file": str(file), "line": 5, "column": 35, "severity": "error", "rule": "refused", "code": 30413,
        "path": "tasks[0].next", "message": "next task bb not exist.", "suggestion": "did you mean b?",
    }  # fmt: skip
    assert json.loads(tornflow("lint", "--schema").stdout)["title"] == "Rill flow descriptor"
    file.write_text(HEAD + "- {category: pass, name: a}\n")
    assert json.loads(tornflow("lint", "--format", "json", file).stdout) == []
