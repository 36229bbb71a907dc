"""One value against its setting: right kind, in range, or a reason."""

from __future__ import annotations

import math
from typing import Any

import yaml

from tornflow.config.schema import Setting

KIND_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def check(setting: Setting, value: Any) -> Any:
    """Return the value as its setting keeps it.

    Raises:
        ValueError: the reason, without the name of the setting.
    """
    if value is None and setting.is_optional:
        return None
    if setting.about.is_secret and not isinstance(value, str):
        raise ValueError("must be a text")  # without the value: messages end up in logs
    value = _converted(setting, value)
    _check_range(setting, value)
    return value


def from_text(setting: Setting, text: str) -> Any:
    """Return what a flag, ``--set`` or environment text stands for: texts as they are, lists also ``a,b``, else YAML.

    Raises:
        ValueError: not YAML.
    """
    if setting.kind is str:
        return text
    if setting.kind is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    return parse_text(text)


def parse_text(text: str) -> Any:
    """Raises ValueError when the text is not YAML."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read as YAML: {_brief(text)}") from error


def _converted(setting: Setting, value: Any) -> Any:
    kind = setting.kind
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"must be a list of texts, not {_brief(value)}")
        return tuple(value)
    if kind is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"must be a mapping with text keys, not {_brief(value)}")
        return value
    if type(value) is not kind:  # bool is an int, so isinstance is not enough
        raise ValueError(f"must be {KIND_NAMES[kind]}, not {_brief(value)}")
    return value


def _check_range(setting: Setting, value: Any) -> None:
    about = setting.about
    if about.one_of and value not in about.one_of:
        raise ValueError(f"must be one of {', '.join(about.one_of)}, not {_brief(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    if about.minimum is not None and value < about.minimum:
        raise ValueError(f"must be at least {about.minimum:g}, not {value}")
    if about.maximum is not None and value > about.maximum:
        raise ValueError(f"must be at most {about.maximum:g}, not {value}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
