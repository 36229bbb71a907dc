"""``tornflow config``: what settings are in force and where each comes from, or what is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import reduce
from typing import Any

import click

from tornflow.cli.options import settings_and_places
from tornflow.config import Settings
from tornflow.config.schema import SETTINGS, Setting
from tornflow.errors import ConfigError

HIDDEN = "***"
_PASSWORD = re.compile(r"(://[^:@/]*):[^@/]*@")

_file = click.option("--config", "config_file", metavar="FILE", help="YAML file with settings.")
_sets = click.option("--set", "sets", multiple=True, metavar="A.B=VALUE", help="Any setting; may be repeated.")


@click.group("config")
def config_command() -> None:
    """Show or check the settings as `tornflow serve` would have them."""


@config_command.command("show")
@_file
@_sets
@click.option("--changed", is_flag=True, help="Only those that are given somewhere.")
def show_command(config_file: str | None, sets: tuple[str, ...], changed: bool) -> int:
    """Print every setting in force, one a line, and where it was given. Secrets are hidden."""
    settings, places = settings_and_places({}, sets, config_file)
    for path, setting in SETTINGS.items():
        if path in places or not changed:
            remark = f"  # {places[path]}" if path in places else ""
            click.echo(f"{path}: {_shown(setting, _value(settings, path))}{remark}")
    for name, values in settings.other_plugins.items():
        for key in values:  # only the plug-in knows which of them are secret
            click.echo(f"plugins.{name}.{key}: {HIDDEN}")
    return 0


@config_command.command("check")
@_file
@_sets
def check_command(config_file: str | None, sets: tuple[str, ...]) -> int:
    """Look for everything that would keep the server from starting, without opening a store or a port; exit 1 if there
    is anything."""
    try:
        settings, _ = settings_and_places({}, sets, config_file)
    except ConfigError as error:
        problems = [str(one) for one in error.details.get("problems", [error.message])]
    else:
        problems = list(_beyond_values(settings))
        for warning in settings.warnings:
            click.echo(f"warning: {warning}", err=True)
    for problem in problems:
        click.echo(problem)
    if not problems:
        click.echo("the settings are fine", err=True)
    return 1 if problems else 0


def _beyond_values(settings: Settings) -> Iterator[str]:
    """Yield what is wrong although every value is right by itself: no such store, plug-in or flow."""
    from tornflow.descriptors import DescriptorLimits, parse_descriptor
    from tornflow.flow_files import read_flow_files
    from tornflow.runtime.discovery import discover, find_storage

    try:
        find_storage(settings.storage.url, settings.storage_values())
    except ConfigError as error:
        yield error.message
    for report in discover(disabled=settings.plugins.disabled).failed:
        yield f"plugin {report.name} could not be loaded: {report.error}"
    limits = DescriptorLimits(**settings.descriptor_values())

    def names_in(text: str) -> tuple[str, str]:
        flow = parse_descriptor(text, limits)
        return flow.workspace, flow.dag_name

    try:
        if settings.flows.directory:
            read_flow_files(settings.flows.directory, names_in)
    except ConfigError as error:
        yield error.message


def _value(settings: Settings, path: str) -> Any:
    return reduce(getattr, path.split("."), settings)


def _shown(setting: Setting, value: Any) -> str:
    if setting.path == "storage.url":
        value = _PASSWORD.sub(rf"\1:{HIDDEN}@", value)
    elif setting.about.is_secret and value:
        value = HIDDEN
    return json.dumps(value, ensure_ascii=False, default=list)
