"""The command where Python lacks what only Unix has: fcntl, resource, pwd, grp, and the signals of Unix.

This stands in for Windows, on which it never ran: modules are blocked, signals are taken away and the loop refuses
signal handlers, in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKED = ("fcntl", "resource", "pwd", "grp", "termios", "uvloop")
SITE = f"""
import asyncio, signal, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {BLOCKED!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

for name in {BLOCKED!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Refuse())
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGQUIT"):
    if hasattr(signal, name):
        delattr(signal, name)

def add_signal_handler(self, number, call, *arguments):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = add_signal_handler
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "site" / "sitecustomize.py").parent.mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORNFLOW_", "DAPR_"))}
    roots = [str(tmp_path / "site"), str(ROOT), str(ROOT / "plugins"), str(ROOT / "storage")]
    return kept | {"PYTHONPATH": os.pathsep.join(roots)}


def test_the_trick_works(environ: dict[str, str]) -> None:
    for module in ("fcntl", "resource"):
        done = subprocess.run([sys.executable, "-c", f"import {module}"], env=environ, capture_output=True, check=False)
        assert done.returncode == 1 and b"No module named" in done.stderr


def test_every_module_can_be_imported(environ: dict[str, str]) -> None:
    roots = [ROOT / "tornflow", *(ROOT / "plugins").glob("tornflow_*"), *(ROOT / "storage").glob("tornflow_*")]
    names = [
        ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
        for root in roots
        for path in root.rglob("*.py")
        if path.name != "__main__.py" and "testing" not in path.parts
    ]
    assert len(names) > 100
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_plugins_are_listed(environ: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tornflow", "plugins"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {line.split("\t")[1] for line in done.stdout.splitlines() if line.startswith("loaded")} >= {"http", "python"}


def test_a_server_serves_and_ends_on_a_signal(environ: dict[str, str], tmp_path: Path) -> None:
    arguments = ["serve", "--port", "0", "--dapr-port", "0", "--storage", "memory://", "--set", "log.format=json"]
    with subprocess.Popen(
        [sys.executable, "-m", "tornflow", *arguments],
        env=environ, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stderr is not None
            lines = iter(server.stderr)
            line = next((line for line in lines if '"serving"' in line), "")
            assert line, "the server ended"
            with urllib.request.urlopen(json.loads(line)["url"] + "/readyz", timeout=30) as answer:
                assert answer.status == 200
            server.terminate()
            rest = "".join(lines)
            assert server.wait(30) == 0, rest
            assert '"stopped"' in rest
        finally:
            if server.poll() is None:
                server.kill()
