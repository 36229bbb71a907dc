"""Three import roots, one distribution; everything else stands in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import find_packages, setup

ROOMS = {".": "tornflow*", "plugins": "tornflow_task_*", "storage": "tornflow_store_*"}


def import_roots() -> tuple[list[str], dict[str, str]]:
    """Return every package and where the top-level ones lie; ``plugins`` and ``storage`` are folders, not packages."""
    packages: list[str] = []
    package_dir: dict[str, str] = {}
    for folder, pattern in ROOMS.items():
        for name in find_packages(folder, include=[pattern]):
            packages.append(name)
            if "." not in name:
                package_dir[name] = (Path(folder) / name).as_posix()
    return packages, package_dir


def index_text(readme: str, source_url: str = "") -> str:
    """Return the README as a package index shows it, where a link to a file of the checkout would lead nowhere.

    It leads to ``source_url`` (``[project.urls]``, Source) if there is one; else the name of the file is all.
    """

    def elsewhere(link: re.Match[str]) -> str:
        text, target = link.groups()
        return f"[{text}]({source_url}/blob/main/{target})" if source_url else f"{text} (`{target}`)"

    return re.sub(r"\[([^\]]+)\]\((?![a-z]+:|#)([^)]+)\)", elsewhere, readme)


HERE = Path(__file__).resolve().parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (HERE / "README.md").read_text(encoding="utf-8")
PACKAGES, PACKAGE_DIR = import_roots()

setup(
    packages=PACKAGES,
    package_dir=PACKAGE_DIR,
    long_description=index_text(README, PROJECT.get("urls", {}).get("Source", "")),
    long_description_content_type="text/markdown",
    # "" means every package; "*" does not.
    package_data={"": ["py.typed", "*.lark"], "tornflow": ["web/static/*", "web/static/**/*", "samples/*.yaml"]},
)
