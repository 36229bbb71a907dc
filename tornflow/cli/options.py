"""Settings as the commands see them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tornflow.config import Settings, load_with_places


def settings_from(flags: Mapping[str, Any], sets: Sequence[str] = (), config_file: str | None = None) -> Settings:
    """Read the settings for one command; ``TORNFLOW_CONFIG`` names the file where the command has no ``--config``.

    Raises:
        ConfigError: see ``load_settings``.
    """
    return settings_and_places(flags, sets, config_file)[0]


def settings_and_places(
    flags: Mapping[str, Any], sets: Sequence[str] = (), config_file: str | None = None
) -> tuple[Settings, dict[str, str]]:
    """The same, and for each setting that was given the place where it stands."""
    file = config_file or os.environ.get("TORNFLOW_CONFIG")
    return load_with_places(Path(file) if file else None, os.environ, flags, sets)
