"""``tornflow plugins``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tornflow.cli.options import settings_from
from tornflow.errors import ConfigError

if TYPE_CHECKING:
    from tornflow.components import ComponentSource
    from tornflow.runtime.discovery import PluginReport

STYLES = {"failed": "red", "disabled": "dim", "warning": "yellow"}


@click.command("plugins")
def plugins_command() -> int:
    """Show what is installed, what failed to load and why."""
    settings = settings_from({})
    from tornflow.components import ComponentSource
    from tornflow.runtime.discovery import discover, installed_stores

    found = discover(disabled=settings.plugins.disabled)
    rows = [
        *(_row("loaded", report) for report in found.loaded),
        *(_row("failed", report) for report in found.failed),
        *(("disabled", name, "", "left out by plugins.disabled") for name in settings.plugins.disabled),
        *(_row("store", report) for report in installed_stores()),
        *_component_rows(ComponentSource(**settings.component_values())),
    ]
    _show(rows)
    return 0


def _row(state: str, report: PluginReport) -> tuple[str, str, str, str]:
    source = f"{report.distribution} {report.version}".strip()
    return state, report.name, source, report.error or "; ".join(report.gives)


def _component_rows(source: ComponentSource) -> Iterator[tuple[str, str, str, str]]:
    """The types that are installed, then the components of the files."""
    from tornflow.components import installed_kinds, load_components

    for kind in installed_kinds().values():
        yield "component type", kind.type, kind.source, f"component {kind.type}"
    try:
        loaded = load_components(source)
    except ConfigError as error:
        yield from (("failed", "component files", source.folder, text) for text in error.details["problems"])
        return
    for one in loaded.components:
        yield "component", one.name, one.place, one.type
    yield from (("warning", "component files", source.folder, text) for text in loaded.warnings)


def _show(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """A table on a terminal; elsewhere one line per row with tabs, for grep and cut."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            click.echo("\t".join(" ".join(cell.split()) for cell in row))
        return
    table = Table("state", "name", "from", "gives, or why it failed", box=None, pad_edge=False)
    for state, *cells in rows:
        table.add_row(state, *(Text(cell) for cell in cells), style=STYLES.get(state))
    console.print(table)
