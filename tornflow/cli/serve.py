"""``tornflow serve``."""

from __future__ import annotations

import logging
from functools import partial

import click

from tornflow.cli.options import settings_from
from tornflow.logs import configure_logs

log = logging.getLogger("tornflow.config")


@click.command("serve")
@click.option("--config", "config_file", metavar="FILE", help="YAML file with settings (conf/tornflow.yaml has all).")
@click.option("--host", metavar="ADDRESS", help="Address to bind [default: 127.0.0.1].")
@click.option("--port", type=int, metavar="PORT", help="Port of both REST families and the web UI [default: 8080].")
@click.option("--dapr-port", type=int, metavar="PORT", help="Port for Dapr clients, 0 closes it [default: 3500].")
@click.option("--storage", metavar="URL", help="Where executions live [default: sqlite:///var/tornflow.db].")
@click.option("--processes", type=int, metavar="N", help="Processes behind these ports; needs MongoDB [default: 1].")
@click.option("--set", "sets", multiple=True, metavar="A.B=VALUE", help="Any other setting; may be repeated.")
@click.option("--supervised", metavar="LINK", hidden=True, help="Given by the supervisor to its processes.")
def serve_command(
    config_file: str | None,
    host: str | None,
    port: int | None,
    dapr_port: int | None,
    storage: str | None,
    processes: int | None,
    sets: tuple[str, ...],
    supervised: str | None,
) -> int:
    """Start the server; SIGTERM or Ctrl-C stops it cleanly, SIGHUP reloads log level and flows."""
    flags = {
        "server.host": host,
        "server.port": port,
        "server.dapr_port": dapr_port,
        "storage.url": storage,
        "server.processes": processes,
    }
    read_settings = partial(settings_from, flags, sets, config_file)
    settings = read_settings()
    configure_logs(settings.log.level, settings.log.format)
    for warning in settings.warnings:
        log.warning(warning)
    # Imported here: the other commands and --help need not wait for it.
    from tornflow import server
    from tornflow.supervisor import Link, supervise

    if supervised is not None:
        return server.serve(settings, Link(supervised))
    if settings.server.processes > 1:
        given = {"--config": config_file, "--host": host, "--storage": storage}
        return supervise(settings, [*_words(given), *(word for text in sets for word in ("--set", text))])
    return server.serve(settings, read_settings=read_settings)


def _words(options: dict[str, str | None]) -> list[str]:
    return [word for option, value in options.items() if value is not None for word in (option, value)]
