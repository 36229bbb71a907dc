"""Log lines: their form, their level, and that no value can break one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tornflow.logs import configure_logs, set_level


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """A stream that gets the log lines of one test; the process-wide set-up is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_bound_keys(lines: io.StringIO) -> None:
    configure_logs("info", "auto", lines)
    log = structlog.get_logger("tornflow.runner").bind(execution_id="a:b_c_1")
    log.info("task failed", task="probe", attempt=2)
    (line,) = read(lines)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "task failed",
        "level": "info",
        "logger": "tornflow.runner",
        "execution_id": "a:b_c_1",
        "task": "probe",
        "attempt": 2,
    }


def test_lines_below_the_level_are_not_written(lines: io.StringIO) -> None:
    configure_logs("warning", "json", lines)
    structlog.get_logger("x").info("no")
    logging.getLogger("x").info("no")
    structlog.get_logger("x").warning("yes")
    assert [line["event"] for line in read(lines)] == ["yes"]


def test_lines_of_libraries_have_the_same_form(lines: io.StringIO) -> None:
    configure_logs("info", "json", lines)
    logging.getLogger("some.library").warning("lost %s of %d", "one", 3)
    (line,) = read(lines)
    assert (line["event"], line["level"], line["logger"]) == ("lost one of 3", "warning", "some.library")


def test_a_line_per_request_is_not_written(lines: io.StringIO) -> None:
    configure_logs("info", "json", lines)
    logging.getLogger("tornado.access").info("200 GET / 1.0ms")
    assert read(lines) == []


def test_an_exception_stays_on_its_line(lines: io.StringIO) -> None:
    configure_logs("info", "json", lines)
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger("x").exception("step failed")
    (line,) = read(lines)
    assert line["exception"].endswith("ValueError: boom")


@pytest.mark.parametrize("value", [2**70, "\ud800", {1: {2}}, object(), b"\xff", float("nan")])
def test_no_value_breaks_a_line(lines: io.StringIO, value: Any) -> None:
    configure_logs("info", "json", lines)
    inside_itself: list[Any] = [value]
    inside_itself.append(inside_itself)
    structlog.get_logger("x").info("odd", value=value, more=inside_itself)
    (line,) = read(lines)
    assert line["event"] == "odd"


def test_the_console_form_is_for_people(lines: io.StringIO) -> None:
    configure_logs("info", "console", lines)
    structlog.get_logger("x").info("serving", port=8080)
    assert "serving" in lines.getvalue() and "port=8080" in lines.getvalue()
    assert not lines.getvalue().startswith("{")


def test_a_new_level_counts_for_loggers_that_were_used_already(lines: io.StringIO) -> None:
    configure_logs("warning", "json", lines)
    log = structlog.get_logger("x")
    log.warning("one")
    log.info("no")
    set_level("info")
    log.info("two")
    logging.getLogger("some.library").info("three")
    set_level("error")
    log.warning("no")
    logging.getLogger("some.library").warning("no")
    assert [line["event"] for line in read(lines)] == ["one", "two", "three"]


def test_a_stream_that_is_gone_disturbs_nobody() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    configure_logs("info", "json", Gone())
    structlog.get_logger("x").warning("lost")
    logging.getLogger("x").warning("lost")
    structlog.reset_defaults()


def test_the_time_of_a_line_is_that_of_the_clock(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logs("info", "json", lines)
    log = structlog.get_logger("x")
    for moment in (1_750_000_000_000_001_000, 1_750_000_000_999_999_999, 1_750_000_001_000_000_000):
        monkeypatch.setattr("tornflow.logs.time.time_ns", lambda moment=moment: moment)
        log.info("now")
    assert [line["at"] for line in read(lines)] == [
        "2025-06-15T15:06:40.000001Z",
        "2025-06-15T15:06:40.999999Z",
        "2025-06-15T15:06:41.000000Z",
    ]
