"""``flows.directory``: which files count, and what is said of those that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.unit.engines import engine_with
from tornflow.errors import ConfigError
from tornflow.flow_files import log_flows, register_flows

FLOW = "workspace: demo\ndagName: {name}\ntype: flow\ntasks:\n- {{category: pass, name: only}}\n"


def write(folder: Path, **files: str) -> None:
    for place, name in files.items():
        path = folder / place.replace("__", "/").replace("_yaml", ".yaml").replace("_yml", ".yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FLOW.format(name=name), encoding="utf-8")


async def registered(folder: Path) -> tuple[list[str], list[Any]]:
    async with engine_with([]) as (engine, _):
        with structlog.testing.capture_logs() as lines:
            names = await register_flows(engine, str(folder))
            log_flows(str(folder), names)
        for name in names:
            assert (await engine.catalog.resolve(name)).descriptor.service_id == name
    return names, lines


async def test_yaml_and_yml_and_subfolders_count_and_their_names_are_logged(tmp_path: Path) -> None:
    write(tmp_path, a_yaml="a", b_yml="b", below__c_yaml="c")
    (tmp_path / "notes.txt").write_text("no flow")
    names, lines = await registered(tmp_path)
    assert names == ["demo:a", "demo:b", "demo:c"]
    (line,) = lines
    assert (line["event"], line["count"], line["flows"]) == ("flows registered", 3, names)


async def test_a_mounted_config_map_has_each_flow_once(tmp_path: Path) -> None:
    write(tmp_path / "..2026_01_01", x_yaml="x")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "x.yaml").symlink_to("..data/x.yaml")
    assert (await registered(tmp_path))[0] == ["demo:x"]


async def test_two_files_with_one_id_are_refused_and_both_are_named(tmp_path: Path) -> None:
    write(tmp_path, a_yaml="a", below__other_yml="a")
    with pytest.raises(ConfigError) as caught:
        await registered(tmp_path)
    assert caught.value.message == (
        f"flows.directory: {tmp_path / 'a.yaml'} and {tmp_path / 'below' / 'other.yml'} both define demo:a"
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"\xff", "can't decode"), (b"workspace: demo\ndagName: a\ntype: flow\ntasks: 3\n", "f.yaml:4:")],
)
async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "f.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        await registered(tmp_path)
    assert str(tmp_path / "f.yaml") in caught.value.message and complaint in caught.value.message


async def test_no_folder_is_none_and_a_wrong_one_an_error(tmp_path: Path) -> None:
    async with engine_with([]) as (engine, _):
        assert await register_flows(engine, "") == []
        with pytest.raises(ConfigError, match="is not a folder"):
            await register_flows(engine, str(tmp_path / "none"))


async def test_a_long_list_is_cut_in_the_log(tmp_path: Path) -> None:
    write(tmp_path, **{f"f{number:02}_yaml": f"f{number:02}" for number in range(25)})
    names, (line,) = await registered(tmp_path)
    assert (len(names), line["count"], len(line["flows"]), line["more"]) == (25, 25, 20, 5)
