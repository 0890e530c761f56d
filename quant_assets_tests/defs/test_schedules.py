"""When the sweep of the histories runs."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from quant_assets.definitions import build_definitions
from quant_assets.exchanges import known
from quant_assets.resources.settings import Settings


@pytest.mark.parametrize("code", sorted(known()))
def test_the_sweep_ticks_once_a_day_in_the_exchanges_own_night(code: str) -> None:
    exchange = known()[code]
    defs = build_definitions(Settings(exchanges=(code,)))
    (schedule,) = [s for s in defs.schedules or [] if s.name.endswith("_nightly")]
    begun = datetime(2024, 1, 1, tzinfo=UTC)
    ticks = schedule_execution_time_iterator(
        begun.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    zone = ZoneInfo(exchange.zone)
    local = [tick.astimezone(zone) for tick in islice(ticks, 366)]
    days = [tick.date() for tick in local]
    # Weekends and holidays included, and whenever clocks change.
    assert [later - day for day, later in pairwise(days)] == [timedelta(days=1)] * 365
    assert {tick.time() for tick in local} == {time(3, 30)}
    # No session is under way, and the last one has long been over.
    sessions = exchange.calendar().sessions(date(2024, 1, 3), date(2024, 12, 30))
    moments = {tick.date(): tick for tick in local}
    assert not any(exchange.calendar().is_over(day, moments[day], exchange.delay) for day in sessions)
