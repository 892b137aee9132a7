"""Durations, shares, windows, zones and schedules, as people write them."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from holdfast.units import (
    Cron,
    DailyWindow,
    Duration,
    Mailbox,
    Rate,
    Share,
    TimeZone,
    WebAddress,
    Window,
    format_duration,
    format_rate,
    parse_duration,
    parse_rate,
    parse_share,
    parse_window,
)


def refusal(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(kind).validate_python(value)
    return str(error.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("90min", timedelta(minutes=90)),
        ("6h", timedelta(hours=6)),
        ("14d", timedelta(days=14)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("value", ["14", "14 days", "-1d", "1.5h", "", 14, None, "1234567d", "1m"])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    assert refusal(Duration, value) == ("not a duration; expected a number and s, min, h, d or w, like 14d")


def test_a_duration_that_leads_out_of_the_calendar_is_refused() -> None:
    assert refusal(Duration, "999999w") == "longer than a century; expected at most 36500d"
    assert parse_duration("36500d") == timedelta(days=36_500)


@given(st.integers(0, 10**8))
def test_a_duration_survives_being_written_and_read(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    text = format_duration(duration)
    if len(text.rstrip("sminhdw")) <= 6:
        assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "rate"), [("600/s", 600.0), ("90/min", 1.5), ("1000 / h", 1000 / 3600), ("1/h", 1 / 3600)]
)
def test_a_rate_is_messages_a_second_in_code_and_written_as_people_do(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)
    assert parse_rate(format_rate(rate)) == pytest.approx(rate)


@pytest.mark.parametrize("value", ["600", 600, "0/s", "-1/s", "5/d", "1.5/s", "", None, 0.0])
def test_what_is_no_rate_is_refused(value: Any) -> None:
    expected = "not a rate; expected a number of messages a s, min or h, like 600/min"
    assert refusal(Rate, value) == expected


@pytest.mark.parametrize(("text", "share"), [("0%", 0.0), ("10%", 0.1), ("0.3 %", 0.003), ("100%", 1.0)])
def test_a_share_is_a_percentage_and_a_fraction_in_code(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("value", ["10", 10, "101%", "-1%", "ten%", None, True])
def test_what_is_no_share_is_refused(value: Any) -> None:
    assert refusal(Share, value) == "not a share; expected a percentage from 0% to 100%, like 10%"


def test_a_window_opens_and_closes() -> None:
    assert parse_window("09:00-20:00") == DailyWindow(time(9), time(20))
    assert parse_window("22:00-24:00") == DailyWindow(time(22), time(0))
    assert str(parse_window("22:30-06:00")) == "22:30-06:00"


@pytest.mark.parametrize("value", ["9-20", "09:00", "25:00-26:00", "09:00-24:30", 9, None])
def test_what_is_no_window_is_refused(value: Any) -> None:
    assert refusal(Window, value) == "not a window; expected hours of the day, like 09:00-20:00"


def test_a_window_without_length_is_refused() -> None:
    assert refusal(Window, "09:00-09:00").startswith("a window that opens and closes at once")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "Asia/Tehran"])
def test_a_time_zone_is_an_iana_name(zone: str) -> None:
    assert TypeAdapter(TimeZone).validate_python(zone) == zone


@pytest.mark.parametrize("zone", ["Berlin", "Europe/Atlantis", "", "../etc/passwd", "Europe", "\0"])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    assert refusal(TimeZone, zone) == "not a time zone; expected a name like Europe/Berlin"


@pytest.mark.parametrize("cron", ["0 9 * * MON", "*/15 * * * *", "30 10 1 1,7 *", "0 9 * * 1-5"])
def test_a_schedule_has_five_cron_fields(cron: str) -> None:
    assert TypeAdapter(Cron).validate_python(cron) == cron


@pytest.mark.parametrize(
    "cron", ["", "daily", "0 9 * *", "0 0 9 * * MON", "60 9 * * *", "0 9 * * FUNDAY", "0 9 30 2 *"]
)
def test_what_is_no_schedule_is_refused(cron: str) -> None:
    assert refusal(Cron, cron) == (
        "not a schedule; expected minute, hour, day, month and weekday that exist, like 0 9 * * MON"
    )


@pytest.mark.parametrize(
    "value", ["Acme <hello@acme.example>", "hello@acme.example", "Ümit <u@acme.example>"]
)
def test_a_mailbox_is_an_address_with_or_without_a_name(value: str) -> None:
    assert TypeAdapter(Mailbox).validate_python(value) == value


@pytest.mark.parametrize("value", ["Acme", "Acme <hello>", "a@b\nBcc: c@d", "@acme.example", ""])
def test_what_is_no_mailbox_is_refused(value: str) -> None:
    assert refusal(Mailbox, value) == "not a mailbox; expected one like Acme <hello@acme.example>"


def test_a_web_address_is_absolute_and_loses_its_last_slash() -> None:
    assert TypeAdapter(WebAddress).validate_python("https://r.acme.example/") == "https://r.acme.example"


@pytest.mark.parametrize(
    "value", ["r.acme.example", "ftp://x", "https://", "javascript:alert(1)", "http://a b"]
)
def test_what_is_no_web_address_is_refused(value: str) -> None:
    assert refusal(WebAddress, value) == "not a web address; expected one like https://r.acme.example"
