"""``tornflow lint``."""

from __future__ import annotations

import click

from tornflow.cli.files import read_flow
from tornflow.errors import Problem


@click.command("lint")
@click.argument("files", nargs=-1, required=True, metavar="FLOW.yaml...")
def lint_command(files: tuple[str, ...]) -> int:
    """Show every problem of descriptors with its line; exit 1 if there is any error."""
    from tornflow.descriptors import find_problems

    has_error = False
    for name in files:
        for problem in find_problems(read_flow(name)):
            has_error = has_error or problem.code != 0
            click.echo(problem_line(name, problem))
    return 1 if has_error else 0


def problem_line(file: str, problem: Problem) -> str:
    """Return ``file:line:column: message``; a problem without a code is a warning and says so."""
    hint = f" (did you mean {problem.suggestion}?)" if problem.suggestion else ""
    path = f" [{problem.path}]" if problem.path else ""
    kind = "" if problem.code else "warning: "
    return f"{file}:{problem.line}:{problem.column}: {kind}{' '.join(problem.message.split())}{path}{hint}"
