"""``tornflow init``: something to begin with, for who has the package and no checkout."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import click

from tornflow.config.documents import settings_file
from tornflow.errors import ConfigError

SETTINGS = "tornflow.yaml"
FLOWS = "flows"


@click.command("init")
@click.argument("folder", metavar="[FOLDER]", default=".")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def init_command(folder: str, force: bool) -> int:
    """Write a settings file with every default and two sample flows. FOLDER is the present one unless it is named."""
    target = Path(folder)
    wanted = dict(_documents())
    taken = [name for name in wanted if (target / name).exists()]
    if taken and not force:
        raise ConfigError(f"{target / taken[0]} is there already; nothing was written (--force writes over it)")
    for name, text in wanted.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
    change = "" if folder == "." else f"cd {folder} && "
    click.echo(f"try: {change}tornflow serve --config {SETTINGS}")
    return 0


def _documents() -> Iterator[tuple[str, str]]:
    """Yield name and text; the folder of flows is relative to the working directory, like every path in settings."""
    yield SETTINGS, settings_file().replace('  directory: ""', f"  directory: {FLOWS}")
    for sample in sorted((files("tornflow") / "samples").iterdir(), key=lambda one: one.name):
        if sample.name.endswith(".yaml"):
            yield f"{FLOWS}/{sample.name}", sample.read_text("utf-8")
