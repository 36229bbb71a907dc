"""Which scripts and paths take so long to compile that it is done beside the event loop.

Compiling is linear in the length: at most about 30 microseconds per character of a script and 10 of a path, and up to
2 milliseconds more for each pattern that is written out (``/(a{9}){99}/``). What is not long takes less than 5
milliseconds; the first script of a process takes 0.1 seconds more, unless ``warm_up`` was called.
"""

from __future__ import annotations

from collections.abc import Iterable

from tornflow.engine.expressions.grammar import build_parser

LONG_SCRIPT_CHARS = 160
LONG_PATH_CHARS = 500
_SCRIPT_BRACE_CHARS = 50
_PATH_BRACE_CHARS = 200


def is_long(text: str) -> bool:
    """Say whether compiling this script may take more than 5 milliseconds."""
    return script_chars(text) > LONG_SCRIPT_CHARS


def is_long_path(text: str) -> bool:
    """Say whether compiling this JSONPath may take more than 5 milliseconds."""
    return len(text) + _PATH_BRACE_CHARS * text.count("{") > LONG_PATH_CHARS


def are_long(scripts: Iterable[str]) -> bool:
    """Say whether compiling all of these scripts one after the other may take more than 5 milliseconds."""
    return sum(map(script_chars, scripts)) > LONG_SCRIPT_CHARS


def script_chars(text: str) -> int:
    """The length of a script with its possible repetitions weighed, to be added up over several."""
    return len(text) + _SCRIPT_BRACE_CHARS * text.count("{")


def warm_up() -> None:
    """Build the parser of scripts, once per process, so that the first compile need not."""
    build_parser()
