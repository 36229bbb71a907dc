"""Three import roots, one distribution; everything else stands in pyproject.toml."""

from __future__ import annotations

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


PACKAGES, PACKAGE_DIR = import_roots()

setup(
    packages=PACKAGES,
    package_dir=PACKAGE_DIR,
    # "" means every package; "*" does not.
    package_data={"": ["py.typed", "*.lark"], "tornflow": ["web/static/*", "web/static/**/*", "samples/*.yaml"]},
)
