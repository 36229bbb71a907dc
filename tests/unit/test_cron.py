"""Cron expressions: what Spring reads, and what happens where the clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tornflow.errors import MalformedField
from tornflow.runtime.cron import Cron, server_zone, zone_of

BERLIN = "Europe/Berlin"  # 29 March 2026: 02:00 -> 03:00; 25 October 2026: 03:00 -> 02:00


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def runs(expression: str, start: str, zone: str, count: int) -> list[str]:
    moment = ms(start)
    cron, found = Cron(expression, zone, moment), []
    for _ in range(count):
        following = cron.after(moment)
        assert following is not None and following > moment
        moment = following
        found.append(datetime.fromtimestamp(moment / 1000, UTC).astimezone(ZoneInfo(zone)).isoformat())
    return found


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("* * * * * *", ["2026-06-10T12:00:01+00:00", "2026-06-10T12:00:02+00:00"]),
        ("*/20 * * * * ?", ["2026-06-10T12:00:20+00:00", "2026-06-10T12:00:40+00:00"]),
        ("0 */5 * * * *", ["2026-06-10T12:05:00+00:00", "2026-06-10T12:10:00+00:00"]),
        ("0 0 2 * * *", ["2026-06-11T02:00:00+00:00", "2026-06-12T02:00:00+00:00"]),
        ("0 0 8-10 ? * MON-FRI", ["2026-06-11T08:00:00+00:00", "2026-06-11T09:00:00+00:00"]),
        ("0 0 0 L * ?", ["2026-06-30T00:00:00+00:00", "2026-07-31T00:00:00+00:00"]),
        ("0 0 0 LW * ?", ["2026-06-30T00:00:00+00:00", "2026-07-31T00:00:00+00:00"]),
        ("0 0 0 ? * 5L", ["2026-06-26T00:00:00+00:00", "2026-07-31T00:00:00+00:00"]),
        ("0 0 0 ? * FRIL", ["2026-06-26T00:00:00+00:00", "2026-07-31T00:00:00+00:00"]),
        ("0 0 0 ? * MON#1", ["2026-07-06T00:00:00+00:00", "2026-08-03T00:00:00+00:00"]),
        ("0 0 0 13 * FRI", ["2026-11-13T00:00:00+00:00", "2027-08-13T00:00:00+00:00"]),  # both must fit
        ("0 0 0 ? * SAT-SUN", ["2026-06-13T00:00:00+00:00", "2026-06-14T00:00:00+00:00"]),
        ("0 0 0 29 2 *", ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"]),
        ("@hourly", ["2026-06-10T13:00:00+00:00", "2026-06-10T14:00:00+00:00"]),
        ("@Daily", ["2026-06-11T00:00:00+00:00", "2026-06-12T00:00:00+00:00"]),
        ("@weekly", ["2026-06-14T00:00:00+00:00", "2026-06-21T00:00:00+00:00"]),
        ("@yearly", ["2027-01-01T00:00:00+00:00", "2028-01-01T00:00:00+00:00"]),
    ],
)
def test_expressions_as_spring_reads_them(expression: str, found: list[str]) -> None:
    assert runs(expression, "2026-06-10T12:00:00+00:00", "UTC", len(found)) == found


@pytest.mark.parametrize(
    ("expression", "start", "found"),
    [
        # into summer time: 02:30 is not there
        ("0 30 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("0 0,30 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
        ("15 59 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:59:15+02:00"]),
        ("0 0 * * * *", "2026-03-29T01:30+01:00", ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]),
        # back: 02:30 is there twice
        ("0 30 2 * * *", "2026-10-24T12:00+02:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        ("0 30 2 * * *", "2026-10-25T02:10+01:00", ["2026-10-26T02:30:00+01:00"]),
        ("0 0 * * * *", "2026-10-25T01:30+02:00", ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]),
        ("0 */30 * * * *", "2026-10-25T02:30+02:00", ["2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"]),
    ],
)
def test_where_the_clocks_are_changed(expression: str, start: str, found: list[str]) -> None:
    assert runs(expression, start, BERLIN, len(found)) == found


def test_a_rhythm_follows_real_time_over_a_whole_change() -> None:
    start = "2026-10-24T22:00+02:00"
    found = runs("0 */10 * * * *", start, BERLIN, 60)
    moments = [datetime.fromisoformat(one) for one in found]
    assert {later - earlier for earlier, later in zip(moments, moments[1:], strict=False)} == {timedelta(minutes=10)}


def test_a_moment_within_a_second_is_followed_by_the_next_second() -> None:
    cron = Cron("* * * * * *", "UTC", 0)
    assert cron.after(1_000) == 2_000
    assert cron.after(1_999) == 2_000
    assert cron.after(2_000) == 3_000


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("not a cron", "has 3 fields, not six"),
        ("*/5 * * * *", "has 5 fields, not six"),
        ("", "has 0 fields"),
        ("61 * * * * *", "Bad second"),
        ("0 0 25 * * *", "Bad hour"),
        ("0 0 0 31 4 *", "Bad day-of-month"),
        ("0 0 0 30 2 MON", "never comes true"),
        ("0 0 0 15W * ?", "15W and L-3 are not supported"),
        ("0 0 0 L-3 * ?", "15W and L-3 are not supported"),
        ("@fortnightly", "is none of @yearly"),
        ("0 0 0 * * MON,,TUE", "Bad day-of-week"),
        ("1," * 150 + "1 * * * * *", "at most 200 characters"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(MalformedField, match=reason):
        Cron(expression, "UTC", ms("2026-01-01T00:00+00:00"))


@pytest.mark.parametrize("name", ["Mars/Base", "", "../../etc/passwd", "/etc/localtime", "Europe", "x\0"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(MalformedField, match="there is no time zone"):
        zone_of(name)


def test_the_zone_of_this_machine_is_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    zone_of(server_zone())
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert server_zone() == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    assert server_zone() == "UTC"
