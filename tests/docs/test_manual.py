"""The documents are complete and true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tornflow.config import Settings, load_settings
from tornflow.config.documents import manual_table, settings_file
from tornflow.config.schema import SETTINGS
from tornflow.errors import TornflowError
from tornflow.spi import hookspecs

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_sample_settings_load_and_equal_the_defaults() -> None:
    assert load_settings(ROOT / "conf" / "tornflow.yaml") == Settings()


def test_the_sample_settings_name_every_setting_with_its_default_and_meaning() -> None:
    drawn = settings_file()
    assert (ROOT / "conf" / "tornflow.yaml").read_text(encoding="utf-8") == drawn, (
        "draw it again: python -m tornflow.config.documents file > conf/tornflow.yaml"
    )
    for setting in SETTINGS.values():
        key = setting.path.rpartition(".")[2]
        assert re.search(rf"^ +# {re.escape(setting.about.doc)}.*\n +{key}: ", drawn, re.MULTILINE), setting.path


def test_every_setting_stands_in_the_manual() -> None:
    assert page("configuration.md").endswith(manual_table()), (
        "draw the tables again: python -m tornflow.config.documents manual"
    )
    missing = [path for path in SETTINGS if f"`{path}`" not in page("configuration.md")]
    assert missing == []


def test_every_setting_that_a_page_or_sample_mentions_exists() -> None:
    sections = "|".join(sorted({path.partition(".")[0] for path in SETTINGS} - {"plugins"}))
    mentioned = {
        (file.name, match)
        for file in [*PAGES, ROOT / "README.md"]
        for match in re.findall(rf"`((?:{sections})\.[a-z_.]+[a-z])`", file.read_text(encoding="utf-8"))
    }
    known = set(SETTINGS) | {path.rpartition(".")[0] for path in SETTINGS}
    foreign = re.compile(r"dapr\.workflow\..*|.*\.(py|json)")  # properties of the Dapr API, names of files
    assert {(name, match) for name, match in mentioned if match not in known and not foreign.fullmatch(match)} == set()


def test_every_hook_stands_in_the_manual() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("tornflow_")]
    assert len(hooks) >= 4
    assert [name for name in hooks if name not in page("plugins.md")] == []


def test_every_error_code_stands_in_the_manual() -> None:
    codes = {cls.code for cls in _descendants(TornflowError)}
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", page("errors.md"), re.MULTILINE))
    assert listed == codes


@pytest.mark.parametrize("file", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(file: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))
    assert [target for target in targets if not (file.parent / target).exists()] == []


def test_the_index_lists_every_page() -> None:
    assert [path.name for path in PAGES if path.name != "index.md" and f"({path.name})" not in page("index.md")] == []


def test_no_sample_or_page_names_a_setting_in_the_environment_that_does_not_exist() -> None:
    known = {name for setting in SETTINGS.values() for name in setting.environ}
    for file in [*PAGES, ROOT / "README.md"]:
        for name in re.findall(r"TORNFLOW_[A-Z_]*[A-Z](?==)", file.read_text(encoding="utf-8")):
            assert name in known | {"TORNFLOW_CONFIG"}, f"{file.name}: {name}"


def _descendants(cls: type[TornflowError]) -> set[type[TornflowError]]:
    return {cls}.union(*(_descendants(child) for child in cls.__subclasses__() if child.__module__ == cls.__module__))
