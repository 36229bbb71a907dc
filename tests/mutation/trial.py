"""One mutant in one copy of the project: break, run the tests that call the place, put it right again."""

from __future__ import annotations

import ast
import difflib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.operators import broken
from tests.mutation.places import Mutant

FIRST_S = 10.0
"""Tests of so many seconds (as recorded) are run first; only a mutant that outlives them meets the rest."""
ALL_S = 400.0
TEST_TIMEOUT_S = 40
_FAILED = (1, 2)


@dataclass(frozen=True, slots=True)
class Test:
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """``killed_by``: the test, or ``timeout``; empty when it survived. ``tests``: how many call the place."""

    mutant: Mutant
    killed_by: str
    tests: int
    seconds: float
    diff: str


class Copy:
    """A scratch copy of a checkout: what git knows and what it would take."""

    def __init__(self, source: Path, place: Path, environ: dict[str, str]) -> None:
        self.place = place
        roots = os.pathsep.join(str(place / one) for one in ("", "plugins", "storage"))
        self._environ = {**os.environ, "PYTHONPATH": roots, **environ}
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=source, capture_output=True, check=True
        ).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (source / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, place / name)

    def run_tests(self, arguments: Sequence[str], timeout_s: float, **environ: str) -> tuple[int | None, str]:
        """Return pytest's exit status (None: not within the time) and what it said."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *arguments]
        process = subprocess.Popen(
            command, cwd=self.place, env={**self._environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            return None, said.decode("utf-8", "replace")
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        return process.returncode, said.decode("utf-8", "replace")

    def try_mutant(self, mutant: Mutant, tests: Sequence[Test]) -> Outcome:
        """Say which test notices; the copy is as before afterwards."""
        path, began = self.place / mutant.place.file, time.monotonic()
        right = path.read_text("utf-8")
        tree = ast.parse(right)
        wrong = ast.unparse(broken(tree, mutant.place.line, mutant.place.column, mutant.number))
        diff = _diff(ast.unparse(tree), wrong)
        try:
            _forget_compiled(path)
            path.write_text(wrong, "utf-8")
            killer = self._killer(tests) if diff else "no difference"
        finally:
            path.write_text(right, "utf-8")
            _forget_compiled(path)
        return Outcome(mutant, killer, len(tests), time.monotonic() - began, diff)

    def _killer(self, tests: Sequence[Test]) -> str:
        for part in _parts(tests):
            names = self.place / "mutant-tests.txt"
            names.write_text("\n".join(one.name for one in part), "utf-8")
            limit = 30 + 3 * sum(one.seconds for one in part)
            status, said = self.run_tests(
                ["-x", f"--timeout={TEST_TIMEOUT_S}", f"@{names}"], min(limit, ALL_S)
            )  # fmt: skip
            if status is None:
                return "timeout"
            if status != 0:
                return _first_failure(said) or f"pytest ended with {status}"
        return ""


def _parts(tests: Sequence[Test]) -> list[list[Test]]:
    """The quickest tests, then all others."""
    first: list[Test] = []
    rest: list[Test] = []
    seconds = 0.0
    for one in sorted(tests, key=lambda one: one.seconds):
        seconds += one.seconds
        (first if seconds <= FIRST_S or not first else rest).append(one)
    return [part for part in (first, rest) if part]


def _first_failure(said: str) -> str:
    for line in said.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" ", 1)[1].split(" - ")[0]
    return ""


def _diff(right: str, wrong: str) -> str:
    lines = difflib.unified_diff(right.splitlines(), wrong.splitlines(), lineterm="", n=1)
    return "\n".join(list(lines)[3:])


def _forget_compiled(path: Path) -> None:
    """A compiled file is told from its source by second and size only; both may be equal."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
