"""The command line (design, section 5; fixed). ``main`` is the entry point ``tornflow``.

Exit codes: 0 done, 1 the flow failed, a descriptor has errors or a store has problems, 2 the command could not be
carried out (one clear line on standard error), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

import tornflow
from tornflow.cli.config import config_command
from tornflow.cli.init import init_command
from tornflow.cli.lint import lint_command
from tornflow.cli.plugins import plugins_command
from tornflow.cli.run import run_command
from tornflow.cli.serve import serve_command
from tornflow.cli.storage import storage_command
from tornflow.errors import TornflowError

CANNOT = 2
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tornflow.__version__, message="tornflow %(version)s")
def tornflow_command() -> None:
    """A durable workflow server: Rill Flow YAML and Dapr Workflow REST on one engine."""


for _command in (
    serve_command, run_command, lint_command, init_command, config_command, plugins_command, storage_command
):  # fmt: skip
    tornflow_command.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one command line and leave the process with its exit code."""
    sys.exit(_exit_code(sys.argv[1:] if arguments is None else arguments))


def _exit_code(arguments: Sequence[str]) -> int:
    if not arguments:
        arguments = ["--help"]
    try:
        result = tornflow_command.main(list(arguments), prog_name="tornflow", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", INTERRUPTED)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "tornflow"
        return _say(f"{error.format_message()} (see {path} --help)", CANNOT)
    except click.ClickException as error:
        return _say(error.format_message(), CANNOT)
    except TornflowError as error:
        return _say(error.message, CANNOT)
    except BrokenPipeError:
        # The reader of our output (head, less) has left: say nothing, and keep Python from saying it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}", CANNOT)
    except Exception as error:
        return _say_defect(error)
    return result if isinstance(result, int) else 0


def _say(message: str, code: int) -> int:
    click.echo(f"tornflow: {' '.join(message.split())}", err=True)
    return code


def _say_defect(error: Exception) -> int:
    """A defect of ours: one line for the user, the traceback for whoever asks for it."""
    if os.environ.get("TORNFLOW_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    return _say(f"defect: {type(error).__name__}: {error} (TORNFLOW_LOG_LEVEL=debug shows where)", CANNOT)
