"""Log lines: structlog, one JSON object per line on standard error, or coloured text on a terminal.

Every room writes with ``structlog.get_logger("room")`` and binds by key: ``execution_id``, ``task``, ``attempt``.
A line below the level costs one method call that does nothing: give values as keywords, format nothing yourself.
Lines of libraries that use ``logging`` come out in the same form. A stream that cannot be written to (a full disk, a
terminal that is gone) loses lines and disturbs nobody.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
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
    errors: list[Processor] = [] if is_console else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _stamped, *errors, renderer],
        wrapper_class=_Bound,
        logger_factory=_Factory(target),
        cache_logger_on_first_use=True,
    )
    of_libraries: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        *errors,
    ]
    _configure_logging(of_libraries, renderer, target)
    set_level(level)


def set_level(level: str) -> None:
    """Change the level of what is set up, loggers that were used already included."""
    number = LEVELS[level]
    for name, method in vars(structlog.make_filtering_bound_logger(number)).items():
        if not name.startswith("__"):
            setattr(_Bound, name, method)
    logging.getLogger().setLevel(number)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def _configure_logging(shared: list[Processor], renderer: Processor, target: TextIO) -> None:
    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.getLogger().handlers[:] = [handler]


class _Bound(structlog.BoundLoggerBase):
    """The class of every logger. Loggers keep their class once they were used, so that a new level changes the class:
    its methods are those of structlog's class for that level."""


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        pass  # to complain about a line that cannot be written would be one more such line


class _Factory:
    """Makes one writing logger per name; ``get_logger("room")`` puts the name on every line as ``logger``."""

    def __init__(self, target: TextIO) -> None:
        self._target = target

    def __call__(self, name: str = "tornflow", *_more: Any) -> _NamedLogger:
        return _NamedLogger(self._target, name)


class _NamedLogger:
    """Writes lines; each method is one that structlog's filtering loggers call."""

    def __init__(self, target: TextIO, name: str) -> None:
        self.name = name
        self._target = target

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._target.write(line + "\n")
            self._target.flush()

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def _stamped(logger: Any, method: str, event: EventDict) -> EventDict:
    """Add level, name and time: what structlog does with three processors, which would take three times as long."""
    event["level"] = "error" if method == "exception" else method
    event["logger"] = logger.name
    event["at"] = _now()
    return event


def _clock() -> Callable[[], str]:
    """Return a function that tells the time in UTC, ISO 8601. The text of a second is made once in that second."""
    second, text = 0, ""

    def now() -> str:
        nonlocal second, text
        whole, rest = divmod(time.time_ns(), 1_000_000_000)
        if whole != second:
            second, text = whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        return f"{text}.{rest // 1000:06d}Z"

    return now


_now = _clock()


def _as_json(_logger: Any, _method: str, event: EventDict) -> str:
    """Render one line: ``{"event": str, "level": str, "at": ISO-8601, ...}``; what JSON lacks becomes text."""
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a whole number beyond 64 bit, half a surrogate pair, an object inside itself
        return json.dumps({str(key): _plain(value) for key, value in event.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)
