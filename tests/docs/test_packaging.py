"""What is packaged is what lies there."""

from __future__ import annotations

import dataclasses
import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml

from tornflow.config.part_sections import HttpPluginSettings, MongodbSettings, PythonPluginSettings, SqliteSettings
from tornflow.config.schema import SETTINGS
from tornflow.config.sections import OutboundSettings
from tornflow.descriptors import find_problems
from tornflow_task_http.settings import HttpSettings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PROJECT["project"]["entry-points"]
LINTER = PROJECT["tool"]["importlinter"]
DECLARATIONS = ("sections.py", "part_sections.py")
FLOWS = sorted((ROOT / "conf" / "flows").glob("*.yaml"))


def folders(folder: str, prefix: str) -> set[str]:
    return {path.parent.name for path in (ROOT / folder).glob(f"{prefix}*/__init__.py")}


def modules(group: str) -> set[str]:
    return {target.partition(":")[0] for target in GROUPS[group].values()}


def test_every_plugin_and_store_folder_has_its_entry_point() -> None:
    assert folders("plugins", "tornflow_task_") == modules("tornflow.plugins")
    assert folders("storage", "tornflow_store_") == modules("tornflow.storage")


@pytest.mark.parametrize("group", ["tornflow.plugins", "tornflow.storage"])
def test_every_entry_point_can_be_loaded(group: str) -> None:
    for target in GROUPS[group].values():
        module, _, attribute = target.partition(":")
        loaded = import_module(module)
        assert not attribute or callable(getattr(loaded, attribute))


def test_setup_finds_every_package_and_only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    on_disk = {
        ".".join(path.parent.relative_to(ROOT / folder).parts)
        for folder, prefix in (("", "tornflow"), ("plugins", "tornflow_task_"), ("storage", "tornflow_store_"))
        for path in (ROOT / folder).glob(f"{prefix}*/**/__init__.py")
    }
    assert set(given["packages"]) == on_disk
    assert given["package_dir"]["tornflow_task_http"] == "plugins/tornflow_task_http"


def test_the_readme_of_the_package_index_has_no_link_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    index_text = runpy.run_path("setup.py")["index_text"]
    assert given["long_description_content_type"] == "text/markdown"
    links = re.findall(r"\]\(([^)]+)\)", given["long_description"])
    assert [link for link in links if not re.match(r"https?://|#", link)] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](docs/index.md)" in readme and "The manual (`docs/index.md`)" in given["long_description"]
    elsewhere = index_text("[a](docs/a.md) [b](#b) [c](https://c)", "https://host/repo")
    assert elsewhere == "[a](https://host/repo/blob/main/docs/a.md) [b](#b) [c](https://c)"


def test_every_script_that_starts_something_has_a_twin_for_windows() -> None:
    """PowerShell is not there to try them: that they call the same things is all that can be looked at here."""
    for name, command in (("serve", "tornflow.exe"), ("test", "pytest"), ("install", "pip")):
        text = (ROOT / "scripts" / f"{name}.ps1").read_text(encoding="utf-8")
        assert command in text and "$ErrorActionPreference = 'Stop'" in text
        assert text.isascii()  # Windows PowerShell 5 reads files without a mark in the code page of the machine


def test_every_package_folder_with_code_is_a_package() -> None:
    code = {path.parent for folder in ("tornflow", "plugins", "storage") for path in (ROOT / folder).rglob("*.py")}
    assert sorted(str(path) for path in code if not (path / "__init__.py").exists()) == []


def test_every_root_package_is_typed() -> None:
    roots = [ROOT / "tornflow", *(ROOT / "plugins").glob("tornflow_*"), *(ROOT / "storage").glob("tornflow_*")]
    assert [path.name for path in roots if not (path / "py.typed").exists()] == []


def test_the_import_rules_cover_every_root_package() -> None:
    expected = {"tornflow"} | modules("tornflow.plugins") | modules("tornflow.storage")
    assert set(LINTER["root_packages"]) == expected


def test_every_dependency_is_pinned_for_clean_machines() -> None:
    project = PROJECT["project"]
    wanted = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    names = {re.split(r"[<>=!;\[ ]", line)[0].lower() for line in wanted}
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pinned == set()


@pytest.mark.parametrize("script", ["scripts/install", "scripts/serve", "scripts/test", "scripts/check", ".ci/run"])
def test_every_script_is_executable_and_sound_bash(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_a_script_without_a_fitting_python_says_so(tmp_path: Path) -> None:
    copy = tmp_path / "scripts" / "install"
    copy.parent.mkdir()
    copy.write_bytes((ROOT / "scripts" / "install").read_bytes())
    for name in ("pyproject.toml", "setup.py", "constraints.txt"):
        (tmp_path / name).write_text("")
    done = subprocess.run(
        ["bash", str(copy)], env={**os.environ, "PYTHON": "/bin/false"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("section", "module", "cls"),
    [
        (SqliteSettings, "tornflow_store_sqlite", "SqliteSettings"),
        (MongodbSettings, "tornflow_store_mongodb", "MongoSettings"),
        (PythonPluginSettings, "tornflow_task_python.settings", "PythonSettings"),
    ],
)
def test_a_section_has_the_fields_and_defaults_of_the_package_that_reads_it(
    section: Any, module: str, cls: str
) -> None:
    assert dataclasses.asdict(section()) == dataclasses.asdict(getattr(import_module(module), cls)())


@pytest.mark.parametrize("file", FLOWS, ids=lambda path: path.name)
def test_every_sample_flow_is_without_problems(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert list(find_problems(text)) == []
    assert yaml.safe_load(text)["type"] == "flow"


def test_the_readme_has_the_two_commands_and_the_published_examples() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    commands = "\n".join(blocks)
    assert re.search(r"^scripts/serve$", blocks[0], re.MULTILINE) and "git clone" in blocks[0]
    for piece in (
        "scripts/test",
        "add_descriptor.json?business_id=demoFlowTest%20&feature_name=demoFlowTest%20&alias=release",
        "/2/flow/submit.json?descriptor_id=demoFlowTest:demoTest",
        "/flow/get.json?execution_id=",
        "/v1.0/workflows/dapr/demoFlowTest:demoTest/start",
        "@conf/flows/demo.yaml",
    ):
        assert piece in commands
    assert (ROOT / "conf/flows/demo.yaml").exists()


def test_the_version_of_python_is_the_one_that_the_scripts_ask_for() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert sys.version_info >= (3, 11)


def test_the_http_task_type_has_the_defaults_that_the_configuration_states() -> None:
    own = dataclasses.asdict(HttpSettings())
    stated = dataclasses.asdict(OutboundSettings()) | dataclasses.asdict(HttpPluginSettings())
    shared = own.keys() & stated.keys()
    assert {name: own[name] for name in shared} == {name: stated[name] for name in shared}
    assert own.keys() - shared == {"policy", "server_url", "strict"}


def test_every_setting_is_read_somewhere() -> None:
    sources = [path for folder in ("tornflow", "plugins", "storage") for path in (ROOT / folder).rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources if path.name not in DECLARATIONS)
    unread = {path for path in SETTINGS if not re.search(rf"[.\"]{path.rpartition('.')[2]}\b", code)}
    assert unread == set()
