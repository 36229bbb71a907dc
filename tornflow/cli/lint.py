"""``tornflow lint``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tornflow.cli.files import read_flow
from tornflow.cli.options import settings_from
from tornflow.errors import Problem

if TYPE_CHECKING:
    from tornflow.lint import Remark


@click.command("lint")
@click.argument("files", nargs=-1, metavar="FLOW.yaml...")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="json is for editors.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the language and do nothing else.")
def lint_command(files: tuple[str, ...], strict: bool, form: str, schema: bool) -> int:
    """Show every problem of descriptors with its place and what to do; exit 1 if there is any error."""
    from tornflow.lint import Severity

    if schema:
        print_schema()
        return 0
    if not files:
        raise click.UsageError("Missing argument 'FLOW.yaml...'.", ctx=click.get_current_context())
    look = _linter()
    found = [(name, remark) for name in files for remark in look(read_flow(name))]
    if form == "json":
        click.echo(json.dumps([_as_json(name, remark) for name, remark in found], indent=2))
    for name, remark in found if form == "text" else ():
        click.echo(remark_line(name, remark))
    fatal = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    return 1 if any(remark.severity in fatal for _, remark in found) else 0


def print_schema() -> None:
    from tornflow.lint import descriptor_schema

    click.echo(json.dumps(descriptor_schema(), indent=2))


def remark_line(file: str, remark: Remark) -> str:
    """Return ``file:line:column: severity: message [path] (suggestion)``."""
    kind = f"{remark.severity}: "
    return _line(file, remark.line, remark.column, kind, remark.message, remark.path, remark.suggestion)


def problem_line(file: str, problem: Problem) -> str:
    """The same for a problem that the parser found."""
    return _line(file, problem.line, problem.column, "", problem.message, problem.path, problem.suggestion)


def _line(file: str, line: int, column: int, kind: str, message: str, path: str, suggestion: str) -> str:
    place = f" [{path}]" if path else ""
    advice = f" ({suggestion})" if suggestion else ""
    text = " ".join(f"{message}{place}{advice}".split())
    # Half a surrogate pair can stand in a descriptor, but in no output.
    return f"{file}:{line}:{column}: {kind}{text}".encode(errors="backslashreplace").decode()


def _linter() -> Callable[[str], list[Remark]]:
    """Return the linter with what is installed and configured here."""
    from tornflow.descriptors import DescriptorLimits
    from tornflow.lint import lint
    from tornflow.runtime.discovery import discover
    from tornflow.runtime.references import ReferencedResource

    settings = settings_from({})
    protocols = (*discover(disabled=settings.plugins.disabled).task_types, *ReferencedResource.protocols)
    return partial(lint, protocols=protocols, limits=DescriptorLimits(**settings.descriptor_values()))


def _as_json(file: str, remark: Remark) -> dict[str, Any]:
    return {"file": file, **asdict(remark)}
