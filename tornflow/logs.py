"""Log lines: structlog, one JSON object per line on standard error, or coloured text on a terminal.

Every room writes with ``structlog.get_logger("room")`` and binds by key: ``execution_id``, ``task``, ``attempt``.
A line below the level costs one method call that does nothing: give values as keywords, format nothing yourself.
Lines of libraries that use ``logging`` come out in the same form.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

# Chatty at INFO (an access line per request, a line per connection) and of no use to an operator.
QUIET_LIBRARIES = ("tornado.access", "aiohttp.access", "asyncio", "pymongo", "motor")


def configure_logs(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Set up structlog and ``logging`` for this process; calling again replaces the set-up.

    Args:
        level: debug | info | warning | error.
        format: json | console | auto (console when the stream is a terminal).
        stream: standard error when None.
    """
    target = stream if stream is not None else sys.stderr
    is_console = format == "console" or (format == "auto" and target.isatty())
    renderer: Processor = structlog.dev.ConsoleRenderer(colors=target.isatty()) if is_console else _as_json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    if not is_console:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_Factory(target),
        cache_logger_on_first_use=True,
    )
    _configure_logging(LEVELS[level], shared, renderer, target)


def _configure_logging(level: int, shared: list[Processor], renderer: Processor, target: TextIO) -> None:
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class _Factory:
    """Makes one writing logger per name; ``get_logger("room")`` puts the name on every line as ``logger``."""

    def __init__(self, target: TextIO) -> None:
        self._target = target

    def __call__(self, name: str = "tornflow", *_more: Any) -> _NamedLogger:
        return _NamedLogger(self._target, name)


class _NamedLogger(structlog.WriteLogger):
    def __init__(self, target: TextIO, name: str) -> None:
        super().__init__(target)
        self.name = name


def _as_json(_logger: Any, _method: str, event: EventDict) -> str:
    """Render one line: ``{"event": str, "level": str, "at": ISO-8601, ...}``; what JSON lacks becomes text."""
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a whole number beyond 64 bit, half a surrogate pair, an object inside itself
        return json.dumps({str(key): _plain(value) for key, value in event.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)
