"""``tornflow storage``: look after a store while no server runs on it.

Exit codes: 0 done, 1 something stored is wrong (or was left alone), 2 the command could not be carried out.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

import tornflow
from tornflow.cli.options import settings_from
from tornflow.errors import ConfigError
from tornflow.logs import configure_logs

if TYPE_CHECKING:
    from tornflow.runtime.invariants import Problem
    from tornflow.spi.storage import Storage

_SHOW_EVERY_S = 1.0
_SHOWN = 20


@click.group("storage")
def storage_command() -> None:
    """Check, migrate, export or import a store while no server runs on it."""


_config = click.option("--config", "config_file", metavar="FILE", help="YAML file with settings of the store.")
_json = click.option("--json", "is_json", is_flag=True, help="Print the result as one JSON object.")


@storage_command.command("export")
@click.argument("url", metavar="URL")
@click.option("--output", metavar="FILE", help="Write here; only a complete export gets this name. [default: stdout]")
@click.option("--live", is_flag=True, help="Although servers use it: executions that change meanwhile may be torn.")
@_config
@_json
def export_command(url: str, output: str | None, live: bool, config_file: str | None, is_json: bool) -> int:
    """Write everything that a store holds as JSON lines."""
    from tornflow.storage_tools.exporting import export
    from tornflow.storage_tools.lines import Header
    from tornflow.storage_tools.opening import check_unused

    if is_json and output is None:
        raise click.UsageError("--json needs --output: standard output is the export")
    header = Header(secrets.token_hex(8), time.time_ns() // 1_000_000, tornflow.__version__)

    async def work(storage: Storage, heartbeat_s: float) -> int:
        if not live:
            await check_unused(storage, heartbeat_s)
        with _writing(output) as out:
            end = await export(storage, header, out, _Progress("exported"))
        _tell(is_json, "exported", {"records": end.records, "scopes": end.scopes})
        return 0

    return _run(url, config_file, work)


@storage_command.command("import")
@click.argument("file", metavar="FILE")
@click.argument("url", metavar="URL")
@click.option("--merge", is_flag=True, help="Into a store that is not empty; what differs there is left alone.")
@_config
@_json
def import_command(file: str, url: str, merge: bool, config_file: str | None, is_json: bool) -> int:
    """Store what was exported; FILE "-" is standard input. Repeat it when it broke off."""
    from tornflow.storage_tools.importing import import_lines
    from tornflow.storage_tools.opening import check_unused

    async def work(storage: Storage, heartbeat_s: float) -> int:
        await check_unused(storage, heartbeat_s)
        done = await import_lines(file, source, storage, _Progress("imported"), merge=merge)
        for conflict in done.conflicts[:_SHOWN]:
            click.echo(f"left alone: {conflict}", err=True)
        counts: dict[str, Any] = {"records": done.records, "scopes": done.scopes, "skipped": done.skipped}
        _tell(is_json, "imported", counts | {"conflicts": done.conflicts if is_json else len(done.conflicts)})
        return 1 if done.conflicts else 0

    with _reading(file) as source:
        return _run(url, config_file, work, must_exist=False)


@storage_command.command("migrate")
@click.argument("url", metavar="URL")
@_config
@_json
def migrate_command(url: str, config_file: str | None, is_json: bool) -> int:
    """Bring a store, and everything in it, to the present form. Can be repeated."""
    from tornflow.storage_tools.migrating import migrate
    from tornflow.storage_tools.opening import check_unused

    async def work(storage: Storage, heartbeat_s: float) -> int:
        await check_unused(storage, heartbeat_s)
        done = await migrate(storage, _Progress("migrated"))
        for line in done.unreadable[:_SHOWN]:
            click.echo(f"left as it is: {line}", err=True)
        counts: dict[str, Any] = {"scopes": done.scopes, "rewritten": done.rewritten}
        _tell(is_json, "migrated", counts | {"unreadable": done.unreadable if is_json else len(done.unreadable)})
        return 1 if done.unreadable else 0

    return _run(url, config_file, work)


@storage_command.command("check")
@click.argument("url", metavar="URL")
@click.option("--overdue", "overdue_s", type=float, default=60, help="Seconds that a timer may be late. [default: 60]")
@_config
@_json
def check_command(url: str, overdue_s: float, config_file: str | None, is_json: bool) -> int:
    """Look for whatever cannot be right in a store; every problem is a line, warnings and notes are not counted."""
    from tornflow.storage_tools.checking import check
    from tornflow.storage_tools.opening import living_nodes

    async def work(storage: Storage, heartbeat_s: float) -> int:
        living = await living_nodes(storage, heartbeat_s)
        report = _Report(is_json)
        done = await check(storage, report, _Progress("checked"), living=living, overdue_s=overdue_s)
        report.end(done.counts | {"problems": report.problems, "warnings": report.warnings}, done.notes)
        return 1 if report.problems else 0

    return _run(url, config_file, work)


class _Report:
    """Prints problems as they are found: a line each, or at the end one JSON object."""

    def __init__(self, is_json: bool) -> None:
        self.problems = self.warnings = 0
        self._rows: list[dict[str, Any]] | None = [] if is_json else None

    def __call__(self, problem: Problem) -> None:
        self.problems += not problem.is_warning
        self.warnings += problem.is_warning
        if self._rows is None:
            click.echo(str(problem))
            return
        execution_id, path = problem.key
        level = "warning" if problem.is_warning else "problem"
        row = {"execution_id": execution_id, "path": path, "level": level, "code": problem.code}
        self._rows.append(row | {"message": problem.message})

    def end(self, counts: Mapping[str, int], notes: list[str]) -> None:
        if self._rows is not None:
            click.echo(json.dumps({"counts": counts, "found": self._rows, "notes": notes}))
            return
        for note in notes:
            click.echo(f"note: {note}", err=True)
        click.echo(f"checked: {_listed(counts)}", err=True)


def _run(
    url: str,
    config_file: str | None,
    work: Callable[[Storage, float], Coroutine[Any, Any, int]],
    *,
    must_exist: bool = True,
) -> int:
    from tornflow.storage_tools.opening import opened

    settings = settings_from({"storage.url": url}, (), config_file)
    configure_logs("warning", settings.log.format)

    async def run() -> int:
        async with opened(url, settings.storage_values(), must_exist=must_exist) as storage:
            return await work(storage, settings.engine.node_heartbeat_s)

    return asyncio.run(run())


@contextmanager
def _writing(output: str | None) -> Iterator[BinaryIO]:
    """Give a file that gets its name when all of it is written and on disk."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(output)
    with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=target.name, delete=False) as file:
        try:
            yield file  # type: ignore[misc]
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


@contextmanager
def _reading(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}") from error
    with file:
        yield file


class _Progress:
    """Says on standard error how far it is: about every second on a terminal, never elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _SHOW_EVERY_S
        self._is_shown = sys.stderr.isatty()

    def __call__(self, counts: Mapping[str, int]) -> None:
        if self._is_shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _SHOW_EVERY_S
            click.echo(f"{self._what}: {_listed(counts)} ...", err=True)


def _tell(is_json: bool, what: str, counts: dict[str, Any]) -> None:
    if is_json:
        click.echo(json.dumps(counts))
    else:
        click.echo(f"{what}: {_listed(counts)}", err=True)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
