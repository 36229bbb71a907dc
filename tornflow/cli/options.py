"""Settings as the commands see them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tornflow.config import Settings, load_settings


def settings_from(flags: Mapping[str, Any], sets: Sequence[str] = (), config_file: str | None = None) -> Settings:
    """Read the settings for one command; ``TORNFLOW_CONFIG`` names the file where the command has no ``--config``.

    Raises:
        ConfigError: see ``load_settings``.
    """
    file = config_file or os.environ.get("TORNFLOW_CONFIG")
    return load_settings(Path(file) if file else None, os.environ, flags, sets)
