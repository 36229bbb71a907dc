"""The samples of ``conf/cluster`` use commands and settings that exist, and agree with one another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tornflow.cli.serve import serve_command
from tornflow.config import load_settings

FOLDER = Path(__file__).parents[2] / "conf" / "cluster"
UNITS = sorted(FOLDER.glob("*.service"))


def compose() -> dict[str, Any]:
    found = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_start_the_server_with_options_that_it_has(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=\S+/tornflow serve (.*)$", unit.read_text("utf-8"), re.MULTILINE)
    known = {name for option in serve_command.params for name in option.opts}
    assert set(re.findall(r"--[a-z-]+", line)) <= known


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_wait_longer_than_the_server_drains(unit: Path) -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text("utf-8"), re.MULTILINE)
    assert int(seconds) > load_settings().server.drain_timeout_s + 10


def test_the_compose_file_sets_what_can_be_set_and_gives_time_to_drain() -> None:
    node = compose()["services"]["node1"]
    settings = load_settings(None, node["environment"])
    assert settings.server.host == "0.0.0.0" and settings.storage.url.startswith("mongodb://mongo1,mongo2,mongo3/")
    assert int(node["stop_grace_period"].removesuffix("s")) > settings.server.drain_timeout_s + 10


def test_the_balancer_knows_every_node_of_the_compose_file() -> None:
    nodes = {name for name in compose()["services"] if name.startswith("node")}
    text = (FOLDER / "nginx.conf").read_text("utf-8")
    assert set(re.findall(r"server (node\d):8080", text)) == nodes == set(re.findall(r"server (node\d):3500", text))


def test_every_sample_is_named_in_the_readme() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    assert [path.name for path in FOLDER.iterdir() if path.name != "README.md" and f"({path.name})" not in text] == []
