"""When the sweep of the histories runs."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from quant_assets.definitions import build_definitions
from quant_assets.exchanges import known
from quant_assets.resources.settings import Settings

ONE_A_ZONE = sorted({one.zone: code for code, one in known().items() if one.zone != "Asia/Seoul"}.values())
"""Tokyo's clock stands in for Seoul's, whose calendar takes seconds to build."""


@pytest.mark.parametrize("code", ONE_A_ZONE)
def test_the_sweep_ticks_once_a_day_in_the_exchanges_own_night(code: str) -> None:
    exchange = known()[code]
    defs = build_definitions(Settings(exchanges=(code,), start=date(2024, 1, 1)))
    (schedule,) = [s for s in defs.schedules or [] if s.name.startswith("sweep_")]
    begun = datetime(2024, 1, 1, tzinfo=UTC)
    ticks = schedule_execution_time_iterator(
        begun.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    zone = ZoneInfo(exchange.zone)
    local = [tick.astimezone(zone) for tick in islice(ticks, 366)]
    days = [tick.date() for tick in local]
    # Weekends and holidays included, and whenever clocks change.
    assert [later - day for day, later in pairwise(days)] == [timedelta(days=1)] * 365
    # In the night that Helsinki's clocks leave half past three out, it is four.
    skipped = {date(2024, 3, 31): time(4)} if code == "XHEL" else {}
    assert {tick.date(): tick.time() for tick in local} == {
        day: skipped.get(day, time(3, 30)) for day in days
    }
    # No session is under way, and the last one has long been over.
    sessions = exchange.calendar().sessions(date(2024, 1, 3), date(2024, 12, 30))
    moments = {tick.date(): tick for tick in local}
    assert not any(exchange.calendar().is_over(day, moments[day], exchange.delay) for day in sessions)
