"""``tornflow run``: one flow in this process, over memory storage."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from tornflow.cli.files import read_flow
from tornflow.cli.lint import problem_line
from tornflow.cli.mocks import Mocks, read_mocks, suspense_names
from tornflow.cli.options import settings_from
from tornflow.cli.progress import Progress
from tornflow.cli.waking import Waker
from tornflow.config import Settings
from tornflow.errors import ConfigError, InvalidDescriptor
from tornflow.logs import configure_logs
from tornflow.model.descriptor import Descriptor
from tornflow.model.execution import ScopeState
from tornflow.model.status import FlowStatus

if TYPE_CHECKING:
    from tornflow.runtime.engine import Engine
    from tornflow.runtime.service import FlowService

# Between two looks at the execution: short flows are reported at once, long ones cost nothing.
FIRST_LOOK_S = 0.005
LONGEST_LOOK_S = 0.1


@click.command("run")
@click.argument("file", metavar="FLOW.yaml")
@click.option("--input", "given", metavar="JSON|@FILE", default="{}", help="Context to start with, a JSON object.")
@click.option(
    "--mock",
    "mocked",
    metavar="TASK=JSON",
    multiple=True,
    help="Answer for a task instead of calling anything; TASK=!message is a failure. Repeat it for other tasks, and "
    "for the next attempts of the same task. A suspense is woken with it.",
)
@click.option(
    "--with", "others", metavar="FILE", multiple=True, help="Another flow, to be called with rillflow://. Repeatable."
)
@click.option(
    "--log", "log_file", metavar="FILE", help="Write the log there, tracebacks of Python callables included."
)
def run_command(
    file: str, given: str, mocked: tuple[str, ...], others: tuple[str, ...], log_file: str | None
) -> int:
    """Run one flow here, show its progress, print its final context as JSON.

    Nothing listens on a port: a task that waits for a callback waits until you stop the command, unless it is mocked.
    """
    text, context = read_flow(file), _context(given)
    flows = {text: _parsed(file, text)}
    flows |= {other: _parsed(name, other) for name in others for other in [read_flow(name)]}
    mocks = read_mocks(mocked, list(flows.values()))
    settings = settings_from({"storage.url": "memory://"})
    with _log_to(log_file, settings):
        final = asyncio.run(_run(settings, flows, context, mocks))
    _print_json(final.context)
    return 0 if final.status is FlowStatus.SUCCEED else 1


@contextmanager
def _log_to(file: str | None, settings: Settings) -> Iterator[None]:
    """The progress lines say what "warning" would: without a file only what is more urgent, or asked for, is shown."""
    level = settings.log.level
    if file is None:
        stream = cast(TextIO, _StandardError())
        configure_logs("error" if level == "info" else level, settings.log.format, stream)
        yield
        return
    try:
        opened = open(file, "a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    with opened:
        configure_logs(level, settings.log.format, opened)
        try:
            yield
        finally:
            configure_logs("error", settings.log.format)


class _StandardError:
    """What ``sys.stderr`` is at each moment: while a table is shown, lines written to it appear above the table."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


async def _run(settings: Settings, flows: dict[str, Descriptor], context: dict[str, Any], mocks: Mocks) -> ScopeState:
    """Run the first of the flows (text -> descriptor); the others are there to be called."""
    from tornflow.wiring import start_engine

    descriptor = next(iter(flows.values()))
    progress = Progress(descriptor)
    engine = await start_engine(settings, mocks.wrap if mocks.outcomes else None, progress.note)
    mocks.service = engine.service
    try:
        ids = [await _added(engine, text, flow) for text, flow in flows.items()]
        with progress:
            execution_id = await engine.service.submit(ids[0], context)
            waker = Waker(mocks, engine.service, suspense_names(descriptor))
            return await _watched(engine.service, execution_id, progress, waker)
    finally:
        await engine.close()


async def _added(engine: Engine, text: str, flow: Descriptor) -> str:
    return await engine.catalog.add(text, business=flow.workspace, feature=flow.dag_name, alias="release")


async def _watched(service: FlowService, execution_id: str, progress: Progress, waker: Waker) -> ScopeState:
    pause_s = FIRST_LOOK_S
    while True:
        snapshot = await service.snapshot(execution_id)
        if snapshot is None:
            raise ConfigError(f"the execution {execution_id} is gone before it ended")
        progress.show(snapshot.state)
        if snapshot.state.status.is_completed:
            return snapshot.state
        await waker.look(snapshot.state)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_LOOK_S)


def _parsed(file: str, text: str) -> Descriptor:
    from tornflow.descriptors import parse_descriptor

    try:
        return parse_descriptor(text)
    except InvalidDescriptor as error:
        first, more = error.problems[0], len(error.problems) - 1
        rest = f" (and {more} more: tornflow lint {file})" if more else ""
        raise ConfigError(problem_line(file, first) + rest) from error


def _context(given: str) -> dict[str, Any]:
    """Read ``--input``: JSON text, or ``@FILE`` with JSON in it."""
    text = read_flow(given[1:]) if given.startswith("@") else given
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--input: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"--input: must be a JSON object, not {type(value).__name__}")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _print_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, or a terminal of another code page
        text = json.dumps(value, indent=2)
    click.echo(text)
