"""``flows.directory``: the descriptors that a server registers at its start, and again on SIGHUP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from tornflow.errors import ConfigError, InvalidDescriptor
from tornflow.runtime.engine import Engine

_log = structlog.get_logger("tornflow.server")
_SUFFIXES = (".yaml", ".yml")
_SHOWN = 20  # names in the log line; a folder may hold thousands


@dataclass(frozen=True, slots=True)
class FlowFile:
    path: Path
    text: str
    business: str
    feature: str

    @property
    def id(self) -> str:
        return f"{self.business}:{self.feature}"


async def register_flows(engine: Engine, directory: str) -> list[str]:
    """Add every YAML file of the configured folder under the alias ``release``; return the ids of their flows.

    All files are read before the first one is added. What is registered and has no file any more stays.

    Raises:
        ConfigError: a file cannot be read or is no valid descriptor, or two define one flow; they are named.
        StorageUnavailable
    """
    if not directory:
        return []
    found = read_flow_files(directory, engine.catalog.names_in)
    for one in found:
        try:
            await engine.catalog.add(one.text, business=one.business, feature=one.feature, alias="release")
        except InvalidDescriptor as error:
            raise _refused(one.path, error) from error
    return [one.id for one in found]


def log_flows(directory: str, names: list[str]) -> None:
    if directory:
        more = {"more": len(names) - _SHOWN} if len(names) > _SHOWN else {}
        _log.info("flows registered", directory=directory, count=len(names), flows=names[:_SHOWN], **more)


def read_flow_files(directory: str, names_in: Callable[[str], tuple[str, str]]) -> list[FlowFile]:
    """Return the files of a folder and of those below it, in order of their paths; ``names_in`` reads business and
    feature of a text.

    Raises:
        ConfigError
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise ConfigError(f"flows.directory: {directory} is not a folder")
    found: dict[str, FlowFile] = {}
    for path in _paths(folder):
        one = _read(path, names_in)
        if other := found.get(one.id):
            raise ConfigError(f"flows.directory: {other.path} and {path} both define {one.id}")
        found[one.id] = one
    return list(found.values())


def _paths(folder: Path) -> Iterator[Path]:
    """Hidden files and folders are left out: a mounted Kubernetes ConfigMap has every file twice, in ``..data`` too."""
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in _SUFFIXES and not is_hidden and path.is_file():
            yield path


def _read(path: Path, names_in: Callable[[str], tuple[str, str]]) -> FlowFile:
    try:
        text = path.read_text("utf-8")
        business, feature = names_in(text)
    except InvalidDescriptor as error:
        raise _refused(path, error) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return FlowFile(path, text, business, feature)


def _refused(path: Path, error: InvalidDescriptor) -> ConfigError:
    problem = error.problems[0]
    return ConfigError(f"{path}:{problem.line}: {problem.message}")
