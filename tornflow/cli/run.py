"""``tornflow run``: one flow in this process, over memory storage."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click

from tornflow.cli.files import read_flow
from tornflow.cli.lint import problem_line
from tornflow.cli.options import settings_from
from tornflow.cli.progress import Progress
from tornflow.config import Settings
from tornflow.errors import ConfigError, InvalidDescriptor
from tornflow.logs import configure_logs
from tornflow.model.descriptor import Descriptor
from tornflow.model.execution import ScopeState
from tornflow.model.status import FlowStatus

# Between two looks at the execution: short flows are reported at once, long ones cost nothing.
FIRST_LOOK_S = 0.005
LONGEST_LOOK_S = 0.1


@click.command("run")
@click.argument("file", metavar="FLOW.yaml")
@click.option("--input", "given", metavar="JSON|@FILE", default="{}", help="Context to start with, a JSON object.")
def run_command(file: str, given: str) -> int:
    """Run one flow here, show its progress, print its final context as JSON.

    Nothing listens on a port: a task that waits for a callback waits until you stop the command.
    """
    text, context = read_flow(file), _context(given)
    descriptor = _parsed(file, text)
    settings = settings_from({"storage.url": "memory://"})
    # The progress lines say what "info" would; anything more urgent, or asked for, is shown.
    configure_logs("warning" if settings.log.level == "info" else settings.log.level, settings.log.format)
    final = asyncio.run(_run(settings, descriptor, text, context))
    _print_json(final.context)
    return 0 if final.status is FlowStatus.SUCCEED else 1


async def _run(settings: Settings, descriptor: Descriptor, text: str, context: dict[str, Any]) -> ScopeState:
    from tornflow.server import start_engine

    engine = await start_engine(settings)
    try:
        flow_id = await engine.catalog.add(
            text, business=descriptor.workspace, feature=descriptor.dag_name, alias="release"
        )
        execution_id = await engine.service.submit(flow_id, context)
        with Progress(descriptor) as progress:
            pause_s = FIRST_LOOK_S
            while True:
                snapshot = await engine.service.snapshot(execution_id)
                if snapshot is None:
                    raise ConfigError(f"the execution {execution_id} is gone before it ended")
                progress.show(snapshot.state)
                if snapshot.state.status.is_completed:
                    return snapshot.state
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_LOOK_S)
    finally:
        await engine.close()


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
