"""``tornflow serve``."""

from __future__ import annotations

import logging

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
@click.option("--set", "sets", multiple=True, metavar="A.B=VALUE", help="Any other setting; may be repeated.")
def serve_command(
    config_file: str | None,
    host: str | None,
    port: int | None,
    dapr_port: int | None,
    storage: str | None,
    sets: tuple[str, ...],
) -> int:
    """Start the server; SIGTERM or Ctrl-C stops it cleanly."""
    flags = {"server.host": host, "server.port": port, "server.dapr_port": dapr_port, "storage.url": storage}
    settings = settings_from(flags, sets, config_file)
    configure_logs(settings.log.level, settings.log.format)
    for warning in settings.warnings:
        log.warning(warning)
    # Imported here: the other commands and --help need not wait for it.
    from tornflow import server

    return server.serve(settings)
