"""``scripts/mutants --seed S``: break so many places drawn at random, one at a time; report what no test notices."""

from __future__ import annotations

import argparse
import hashlib
import json
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.mutation.places import Mutant, draw
from tests.mutation.trial import Copy, Outcome, Test, failures

Copies = queue.SimpleQueue[Copy]
ROOT = Path(__file__).resolve().parent.parent.parent
SURVIVORS_ALLOWED = 3
SUITES = ("tests/unit", "tests/simulation", "tests/conformance", "tests/api", "tests/golden")
"""What needs no process of the server: those tests cannot see a defect in this copy any better, and take long."""
MAP_TIMEOUT_S = 1800.0


def main() -> int:
    """Return 0 when at most three mutants survive, 1 when more do."""
    options = _options()
    # A shell without job control starts its background jobs with SIGINT ignored; a stop must clean up either way.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    mutants = draw(ROOT, options.seed, options.count)
    if options.list:
        for number, mutant in enumerate(mutants, 1):
            print(f"{number:3} {mutant.place.file}:{mutant.place.line} {mutant.what}")
        return 0
    with ExitStack() as exits:
        environ = exits.enter_context(_environment())
        work = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True)))
        copies: Copies = queue.SimpleQueue()
        for number in range(options.jobs):
            copies.put(Copy(ROOT, work / f"copy-{number}", environ))
        tests = _map(copies, options.tests, options.map)
        chosen = [one for number, one in enumerate(mutants, 1) if not options.only or number in options.only]
        outcomes = _try_all(chosen, tests, copies, options.jobs)
    return _report(outcomes, options.seed)


def _try_all(mutants: Sequence[Mutant], tests: dict[str, Any], copies: Copies, jobs: int) -> list[Outcome]:
    def attempt(mutant: Mutant) -> Outcome:
        copy = copies.get()
        try:
            outcome = copy.try_mutant(mutant, _callers(tests, mutant))
        finally:
            copies.put(copy)
        verdict = f"killed by {outcome.killed_by}" if outcome.killed_by else "SURVIVES"
        print(f"{_name(mutant)}: {verdict} ({outcome.tests} tests call it, {outcome.seconds:.0f} s)", flush=True)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(attempt, mutants))


def _callers(tests: dict[str, Any], mutant: Mutant) -> list[Test]:
    """The tests that call the function around the place; for a place outside of functions, all that use the file."""
    file, first = mutant.place.file, mutant.place.function
    return [
        Test(name, found["s"])
        for name, found in tests.items()
        if any(where == file and (line == first or not first) for where, line in found["calls"])
    ]


def _map(copies: Copies, suites: Sequence[str], path: Path | None) -> dict[str, Any]:
    """Which test calls what: from the file, when it was made from the same text, else by running all tests once."""
    copy = copies.get()
    copies.put(copy)
    path = path or Path(tempfile.gettempdir()) / f"mutants-map-{_fingerprint(copy.place, suites)}.json"
    if not path.exists():
        suites = [one for one in suites if (copy.place / one).exists()]
        print(f"recording which test calls what: {' '.join(suites)}", flush=True)
        recorded = copy.place / "map.json"
        arguments = [
            "-p",
            "tests.mutation.tracing",
            "-o",
            "addopts=--import-mode=importlib",
            "--timeout=300",
            "--continue-on-collection-errors",
            *suites,
        ]
        status, said = copy.run_tests(arguments, MAP_TIMEOUT_S, MUTANTS_MAP=str(recorded))
        if status not in (0, 1) or not recorded.exists():
            sys.exit(f"the tests do not run without a defect ({status}):\n{said[-3000:]}")
        tests = json.loads(recorded.read_text("utf-8"))
        for name in failures(said):
            tests.pop(name, None)
            print(f"left out, because it fails without a defect: {name}")
        for name in _unknown(copy, list(tests)):
            del tests[name]
            print(f"left out, because its name cannot be given again: {name}")
        path.write_text(json.dumps(tests), "utf-8")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _unknown(copy: Copy, names: Sequence[str]) -> list[str]:
    """Names that pytest does not find again: with them every run would end before it begins."""
    file = copy.place / "all-tests.txt"
    file.write_text("\n".join(names), "utf-8")
    status, said = copy.run_tests(["--collect-only", "--continue-on-collection-errors", f"@{file}"], MAP_TIMEOUT_S)
    if status == 0:
        return []
    # pytest names a test that it does not find without its parameters: all of those go.
    missing = {line.rpartition("/tests/")[2] for line in said.splitlines() if line.startswith("ERROR: not found: ")}
    found = [name for name in names if name.removeprefix("tests/").partition("[")[0] in missing]
    if not found:
        sys.exit(f"the tests cannot be collected by name:\n{said[-3000:]}")
    return found


def _fingerprint(place: Path, suites: Sequence[str]) -> str:
    digest = hashlib.blake2b(" ".join(suites).encode(), digest_size=8)
    for path in sorted(place.rglob("*.py")):
        digest.update(str(path.relative_to(place)).encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """Examples that repeat, and one mongod for all runs where there is one."""
    from tornflow.testing.replica_set import NoMongod, ReplicaSet

    folder = Path(tempfile.mkdtemp(prefix="mutants-mongod-"))
    environ = {"CI": "1"}
    try:
        with ExitStack() as exits:
            try:
                database = exits.enter_context(ReplicaSet(folder, members=1))
                environ["TORNFLOW_TEST_MONGODB_URI"] = database.uri
            except NoMongod as error:
                print(f"without MongoDB: {error}")
            yield environ
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _report(outcomes: Sequence[Outcome], seed: int) -> int:
    survivors = [one for one in outcomes if not one.killed_by]
    print(f"\n## Mutants, seed {seed}: {len(outcomes)} tried, {len(survivors)} survive\n")
    print("| place | defect | tests that call it | noticed by |\n|---|---|---|---|")
    for one in outcomes:
        print(f"| {_place(one.mutant)} | {one.mutant.what} | {one.tests} | {one.killed_by or '**nobody**'} |")
    for one in survivors:
        print(f"\n### {_place(one.mutant)}: {one.mutant.what}\n```diff\n{one.diff}\n```")
    return 0 if len(survivors) <= SURVIVORS_ALLOWED else 1


def _name(mutant: Mutant) -> str:
    return f"{_place(mutant)} {mutant.what}"


def _place(mutant: Mutant) -> str:
    return f"{mutant.place.file}:{mutant.place.line}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripts/mutants", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the drawn places and stop")
    parser.add_argument("--only", type=lambda text: [int(one) for one in text.split(",")], default=[], metavar="N,...",
        help="numbers of --list")  # fmt: skip
    parser.add_argument("--tests", nargs="+", default=list(SUITES), metavar="PATH",
        help="what may notice a defect; default: all that start no servers")  # fmt: skip
    parser.add_argument("--map", type=Path, default=None, help="keep here which test calls what, or take it from here")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, subprocess.SubprocessError) as error:
        sys.exit(f"stopped: {type(error).__name__}")
