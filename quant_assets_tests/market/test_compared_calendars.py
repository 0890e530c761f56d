"""Calendars that were compared with a second source for ten years, against the figures written down then.

`compared.yaml` has sessions per year and the judged days; docs/exchanges.md says how they were judged. Exchanges with
hand-written answers are in test_calendars.py.
"""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
import yaml

from quant_assets.exchanges import exchange, known
from quant_assets.market.calendars import LAST_DAY, CalendarRules, TradingCalendar, trading_calendar

HERE = Path(__file__).parent
COMPARED: dict[str, Any] = yaml.load((HERE / "compared.yaml").read_text("utf-8"), yaml.BaseLoader)


def days(listed: list[str]) -> list[date]:
    return [date.fromisoformat(day) for day in listed]


def test_every_shipped_exchange_was_compared_or_has_answers() -> None:
    answered = {file.stem for file in (HERE / "answers").glob("*.yaml")}
    compared = {*COMPARED, *(one["same"] for one in COMPARED.values() if "same" in one)}
    assert compared | answered == set(known())
    assert not compared & answered


@pytest.mark.parametrize("code", COMPARED)
def test_the_sessions_of_ten_years(code: str) -> None:
    written, asked = COMPARED[code], exchange(code).calendar()
    counts = {
        year: len(asked.sessions(date(int(year), 1, 1), date(int(year), 12, 31)))
        for year in written["counts"]
    }
    assert counts == {year: int(count) for year, count in written["counts"].items()}
    wrong_open = [day for day in days(written["closed"]) if asked.is_session(day)]
    wrong_closed = [day for day in days(written["sessions"]) if not asked.is_session(day)]
    assert (wrong_open, wrong_closed) == ([], [])
    published = {
        date.fromisoformat(day): datetime.fromisoformat(at) for day, at in written["closes_at"].items()
    }
    assert {day: asked.closes_at(day) for day in published} == published
    if "same" in written:
        assert exchange(written["same"]).rules == exchange(code).rules


def test_tel_aviv_went_from_sunday_to_thursday_to_monday_to_friday() -> None:
    one = exchange("TASE")
    # Weeks begin on Sunday, so that both kinds lie whole within one.
    assert [day.day for day in one.week_sessions(date(2025, 12, 29))] == [28, 29, 30, 31, 1]
    assert [day.day for day in one.week_sessions(date(2026, 1, 5))] == [5, 6, 7, 8, 9]
    assert one.week_of(date(2026, 1, 9)) == one.week_of(date(2026, 1, 4)) == date(2026, 1, 5)
    assert one.cron() == "45 17 * * 0-5"


def test_where_holidays_are_announced_yearly_later_weekdays_are_sessions_until_they_are_known() -> None:
    for code in ("SSE", "SZSE", "NSE", "BSE", "SGX"):
        asked = exchange(code).calendar()
        assert asked.known_until == date(2027, 1, 3)
        # New Year's Day is a session in India alone.
        last = date(2027, 1, 1) if code in ("NSE", "BSE") else date(2026, 12, 31)
        assert asked.week_sessions(date(2026, 12, 28))[-1] == last
        assert asked.sessions(date(2027, 1, 4), date(2027, 1, 11)) == days(
            ["2027-01-04", "2027-01-05", "2027-01-06", "2027-01-07", "2027-01-08", "2027-01-11"]
        )
    assert exchange("US").calendar().known_until == exchange("TASE").calendar().known_until == LAST_DAY


def test_a_file_may_say_until_when_its_closed_days_hold(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("exchanges: {SSE: {known_until: 2027-02-28, closed: [2027-02-05, 2027-02-08]}}")
    asked = exchange("SSE", file).calendar()
    assert asked.known_until == date(2027, 2, 28)
    assert not any(map(asked.is_session, days(["2027-01-01", "2027-01-09", "2027-02-05", "2027-02-08"])))
    assert all(map(asked.is_session, days(["2027-01-04", "2027-02-09", "2027-02-26"])))


def test_known_from_replaces_the_librarys_first_day() -> None:
    rules = {"calendar": "XSAU", "zone": "Asia/Riyadh", "close": time(15)}
    earlier = TradingCalendar(CalendarRules(**rules, known_from=date(2020, 6, 1)))
    assert earlier.first_day == date(2020, 6, 1)
    assert not earlier.is_session(date(2020, 5, 31))
    assert earlier.is_session(date(2020, 6, 1))
    assert trading_calendar(CalendarRules(**rules)).first_day == date(2021, 1, 1)
    with pytest.raises(ValueError, match="known_until 2020-01-01 is before known_from"):
        CalendarRules(**rules, known_from=date(2020, 6, 1), known_until=date(2020, 1, 1))
