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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.operators import broken
from tests.mutation.places import Mutant

FIRST_S = 10.0
"""Tests of so many seconds (as recorded) are run first; only a mutant that outlives them meets the rest."""
ALL_S = 400.0
TEST_TIMEOUT_S = 40


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
        command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--no-header", *arguments]
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
        left = list(tests)
        while True:
            with _replaced(path, right, wrong):
                killer = self._killer(left) if diff else "no difference"
            if killer not in {one.name for one in left} or self._passes(killer):
                return Outcome(mutant, killer, len(tests), time.monotonic() - began, diff)
            # It fails without the defect too: a test that the machine's load breaks must not count.
            left = [one for one in left if one.name != killer]

    def _passes(self, test: str) -> bool:
        status, _ = self.run_tests([f"--timeout={TEST_TIMEOUT_S}", test], ALL_S)
        return status == 0

    def _killer(self, tests: Sequence[Test]) -> str:
        for part in _parts(tests):
            names = self.place / "mutant-tests.txt"
            names.write_text("\n".join(one.name for one in part), "utf-8")
            limit = min(30 + 3 * sum(one.seconds for one in part), ALL_S)
            status, said = self.run_tests(["-x", f"--timeout={TEST_TIMEOUT_S}", f"@{names}"], limit)
            if status is None:
                return "timeout"
            if status != 0:
                return next(failures(said), f"pytest ended with {status}")
        return ""


@contextmanager
def _replaced(path: Path, right: str, wrong: str) -> Iterator[None]:
    try:
        _forget_compiled(path)
        path.write_text(wrong, "utf-8")
        yield
    finally:
        path.write_text(right, "utf-8")
        _forget_compiled(path)


def _parts(tests: Sequence[Test]) -> list[list[Test]]:
    """The quickest tests, then all others."""
    first: list[Test] = []
    rest: list[Test] = []
    seconds = 0.0
    for one in sorted(tests, key=lambda one: one.seconds):
        seconds += one.seconds
        (first if seconds <= FIRST_S or not first else rest).append(one)
    return [part for part in (first, rest) if part]


def failures(said: str) -> Iterator[str]:
    """Yield the tests that pytest reports as failed or broken."""
    for line in said.splitlines():
        if line.startswith(("FAILED tests/", "ERROR tests/")):
            yield line.split(" ", 1)[1].split(" - ")[0].strip()


def _diff(right: str, wrong: str) -> str:
    lines = difflib.unified_diff(right.splitlines(), wrong.splitlines(), lineterm="", n=1)
    return "\n".join(list(lines)[3:])


def _forget_compiled(path: Path) -> None:
    """A compiled file is told from its source by second and size only; both may be equal."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
