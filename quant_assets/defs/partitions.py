"""The partition grids: exchange by date, by week and by year.

The time grids are UTC, without exclusions, and reach through today: every other form loses or leaks a session
somewhere (a day the exchange was closed is materialized as `closed` instead). Keys read `2024-03-15|ASX`. Weeks are
named by their Monday, whatever weekday they begin on (see `market.weeks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from quant_assets.exchanges import Exchange, grid_weekdays
from quant_assets.market.weeks import MONDAY

EXCHANGE, DATE, WEEK, YEAR = "exchange", "date", "week", "year"


@dataclass(frozen=True)
class Grids:
    """The partitions definitions of the platform, made for its exchanges and first day."""

    exchanges: dg.StaticPartitionsDefinition
    daily: dg.MultiPartitionsDefinition
    weekly: dg.MultiPartitionsDefinition
    yearly: dg.MultiPartitionsDefinition


def first_day(exchanges: Sequence[Exchange], start: date) -> date:
    """The first day of the daily grid: `start`, or the next day on which one of the exchanges can have a session."""
    weekdays = frozenset[int]().union(*(exchange.session_weekdays() for exchange in exchanges))
    while start.isoweekday() % 7 not in weekdays:
        start += timedelta(days=1)
    return start


def make_grids(exchanges: Sequence[Exchange], start: date, until: datetime | None) -> Grids:
    """The grids from the week and the year of `start` on; through today, or through the day of `until`."""
    codes = dg.StaticPartitionsDefinition([exchange.code for exchange in exchanges])
    monday = start - timedelta(days=start.weekday())
    weekdays = grid_weekdays(exchanges)

    def time_grid(
        cron: str, first: str, fmt: str = "%Y-%m-%d", ahead: int = 0
    ) -> dg.TimeWindowPartitionsDefinition:
        through_today = dg.TimeWindowPartitionsDefinition(
            start=first, fmt=fmt, cron_schedule=cron, end_offset=1 + ahead
        )
        if until is None:
            return through_today
        day = datetime.combine(until.astimezone(UTC).date(), datetime.min.time(), tzinfo=UTC)
        window = through_today.get_next_partition_window(day, respect_bounds=False)
        assert window is not None
        # The grid ends with the window that holds the day: it starts on the day, or before the next one.
        end = window.end if window.start == day else window.start
        for _ in range(ahead):
            following = through_today.get_next_partition_window(end, respect_bounds=False)
            assert following is not None
            end = following.end
        if end > datetime.now(UTC):
            # Dagster cuts a given end off at the real moment, and with it the window that is not over yet.
            return through_today
        return dg.TimeWindowPartitionsDefinition(start=first, fmt=fmt, cron_schedule=cron, end=end)

    days = time_grid(f"0 0 * * {weekdays}", start.isoformat())
    # A week that begins on a Sunday is under way a day before the Monday that names it.
    early = any(exchange.first_weekday != MONDAY for exchange in exchanges)
    weeks = time_grid("0 0 * * 1", monday.isoformat(), ahead=1 if early else 0)
    years = time_grid("0 0 1 1 *", str(start.year), "%Y")
    return Grids(
        codes,
        dg.MultiPartitionsDefinition({EXCHANGE: codes, DATE: days}),
        dg.MultiPartitionsDefinition({EXCHANGE: codes, WEEK: weeks}),
        dg.MultiPartitionsDefinition({EXCHANGE: codes, YEAR: years}),
    )
