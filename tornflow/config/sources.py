"""Where settings come from: file, environment, flags, ``--set``. Each becomes a list of (path, value, place)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from tornflow.config.retired import RETIRED, RETIRED_ENVIRON, warning
from tornflow.config.schema import SETTINGS, TABLE, Section
from tornflow.config.values import from_text, parse_text

SECTIONS = frozenset(row.path for row in TABLE if isinstance(row, Section))
BUILT_IN_PLUGINS = frozenset(path.split(".")[1] for path in SECTIONS if path.startswith("plugins."))
ENVIRON = {name: setting for setting in SETTINGS.values() for name in setting.environ}

# Not settings: the path of the file itself, what the tests read, and what Kubernetes puts into every container
# beside a service that is called "tornflow".
FOREIGN_ENVIRON = re.compile(r"TORNFLOW_(CONFIG|TEST_.*|SERVICE_(HOST|PORT)(_.*)?|PORT_\d+_.*)")

FLAGS = {
    "server.host": "--host",
    "server.port": "--port",
    "server.dapr_port": "--dapr-port",
    "storage.url": "--storage",
    "server.processes": "--processes",
}
"""The settings that have a flag of their own (design, section 5)."""

FILE_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """One value and where it stood (``tornflow.yaml:12``, ``TORNFLOW_SERVER_PORT``, ``--port``)."""

    path: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that cannot be used, as a message that names the place."""

    message: str


@dataclass(frozen=True, slots=True)
class Retired:
    """A setting that no longer exists, as a message that names the place and the replacement."""

    message: str


Found = Given | Refused | Retired


def from_file(path: Path) -> Iterator[Found]:
    """Read a YAML file; an empty one gives nothing."""
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > FILE_LIMIT_BYTES:
            raise ValueError(f"larger than {FILE_LIMIT_BYTES} bytes")
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except (OSError, ValueError, RecursionError) as error:
        yield Refused(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")
    except yaml.YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        yield Refused(f"{_yaml_place(path, error)}: not YAML: {reason}")
    else:
        if isinstance(root, yaml.MappingNode):
            yield from _from_node(loader, root, "", path)
        elif root is not None:
            yield Refused(f"{path}: must be a mapping of sections, such as `server:`")


def from_environ(environ: Mapping[str, str]) -> Iterator[Found]:
    """Read ``TORNFLOW_<SECTION>_<KEY>`` and the few other names; an unknown TORNFLOW_* name is refused."""
    seen: dict[str, str] = {}
    for name in sorted(environ):
        text = environ[name]
        if name in RETIRED_ENVIRON:
            yield Retired(warning(RETIRED_ENVIRON[name], name))
            continue
        if name not in ENVIRON:
            if name.startswith("TORNFLOW_") and not FOREIGN_ENVIRON.fullmatch(name):
                yield Refused(f"{name}: no such setting{_nearest(name, ENVIRON)}")
            continue
        if name == "TORNFLOW_PORT" and "://" in text:
            continue  # the same Kubernetes custom: tcp://10.0.0.1:8080
        path = ENVIRON[name].path
        if path in seen and environ[seen[path]] != text:
            yield Refused(f"{name}: differs from {seen[path]}, which sets {path} too")
        seen[path] = name
        yield _given_text(path, text, name)


def from_flags(flags: Mapping[str, Any]) -> Iterator[Found]:
    """Read values given by path, None where a flag was absent."""
    for path, value in flags.items():
        if value is not None:
            yield from _known(path, value, FLAGS.get(path, path))


def from_sets(sets: Sequence[str]) -> Iterator[Found]:
    """Read ``a.b=value`` texts; later ones win."""
    for text in sets:
        path, equals, value = text.partition("=")
        place = "--set"
        if not equals:
            yield Refused(f"--set {text}: must be section.key=value")
        elif path.strip() in SETTINGS:
            yield _given_text(path.strip(), value, place)
        else:
            try:
                yield from _known(path.strip(), parse_text(value), place)
            except ValueError as error:
                yield Refused(f"{place}: {path}: {error}")


def _from_node(loader: yaml.SafeLoader, node: yaml.MappingNode, prefix: str, file: Path) -> Iterator[Found]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        place = f"{file}:{key_node.start_mark.line + 1}"
        path = f"{prefix}{key_node.value}"
        if not isinstance(key_node, yaml.ScalarNode):
            yield Refused(f"{place}: a key must be a word")
        elif path in seen:
            yield Refused(f"{place}: {path}: given twice")
        elif path in SECTIONS and isinstance(value_node, yaml.MappingNode):
            yield from _from_node(loader, value_node, path + ".", file)
        elif path in SECTIONS and not _is_null(value_node):
            yield Refused(f"{place}: {path}: is a section, it needs settings below it")
        elif path not in SECTIONS:
            yield from _constructed(loader, path, value_node, place)
        seen.add(path)


def _constructed(loader: yaml.SafeLoader, path: str, node: yaml.Node, place: str) -> Iterator[Found]:
    try:
        value = loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        yield Refused(f"{place}: {path}: {getattr(error, 'problem', None) or error}")
    else:
        yield from _known(path, value, place)


def _known(path: str, value: Any, place: str) -> Iterator[Found]:
    if path in RETIRED:
        yield Retired(warning(path, place))
    elif path in SETTINGS or _is_other_plugin(path):
        yield Given(path, value, place)
    elif path in SECTIONS:
        yield Refused(f"{place}: {path}: is a section, give section.key")
    else:
        known = list(SETTINGS) if "." in path else [*SECTIONS, *SETTINGS]
        yield Refused(f"{place}: {path}: no such setting{_nearest(path, known)}")


def _is_other_plugin(path: str) -> bool:
    section, _, rest = path.partition(".")
    name = rest.partition(".")[0]
    return section == "plugins" and bool(name) and name not in BUILT_IN_PLUGINS


def _given_text(path: str, text: str, place: str) -> Given | Refused:
    try:
        return Given(path, from_text(SETTINGS[path], text), place)
    except ValueError as error:
        return Refused(f"{place}: {path}: {error}")


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """Return a hint. The last word counts first, so that ``http.port`` finds ``server.port``."""
    last = name.rpartition(".")[2]
    close = [path for path in known if path.rpartition(".")[2] == last] or get_close_matches(name, known, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _yaml_place(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path}:{mark.line + 1}" if mark else str(path)
