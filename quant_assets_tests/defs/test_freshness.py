"""When prices are due by Dagster's freshness policies, and what marks them as there."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from dagster._core.definitions.freshness import CronFreshnessPolicy

from quant_assets.defs.freshness import deadline, due_key, due_specs, is_met
from quant_assets.exchanges import exchange
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.clock import ClockResource
from quant_assets.tables.manifest import Entry
from quant_assets_tests.defs.platform import Platform


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_deadline_is_an_hour_after_the_close_in_the_exchanges_zone() -> None:
    us, sydney = due_specs([exchange("US"), exchange("ASX")], "team:x")
    assert us.key.path == ["daily_prices_due", "us"]
    policies = [spec.freshness_policy for spec in (us, sydney)]
    assert [(p.deadline_cron, p.timezone) for p in policies if isinstance(p, CronFreshnessPolicy)] == [
        ("0 17 * * 1-5", "America/New_York"), ("0 17 * * 1-5", "Australia/Sydney"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("now", "due"),
    [
        # 16:00 and 17:00 in New York are 21:00 and 22:00 UTC in its winter.
        ("2013-02-14T20:59", "2013-02-13T22:00"), ("2013-02-14T21:00", "2013-02-14T22:00"),
        ("2013-02-14T22:00", "2013-02-14T22:00"), ("2013-02-15T03:00", "2013-02-14T22:00"),
        ("2013-02-17T12:00", "2013-02-15T22:00"), ("2013-03-11T20:30", "2013-03-11T21:00"),
    ],
)  # fmt: skip
def test_a_mark_counts_for_the_deadline_that_is_near_or_else_for_the_last_one(now: str, due: str) -> None:
    assert deadline(exchange("US"), at(now)).astimezone(UTC) == at(due)


def test_a_deadline_is_met_by_usable_prices_and_on_days_without_a_session() -> None:
    us = exchange("US")
    friday = {date(2013, 2, 15): Entry("2013-02-15", CellState.PARTIAL)}
    assert is_met(us, friday, at("2013-02-15T22:00"))
    # Presidents' Day: nothing is due on Monday.
    assert is_met(us, friday, at("2013-02-18T22:00"))
    assert not is_met(us, friday, at("2013-02-19T22:00"))
    assert not is_met(us, {date(2013, 2, 15): Entry("2013-02-15", CellState.FAILED)}, at("2013-02-15T22:00"))
    assert not is_met(us, {}, at("2013-02-15T22:00"))


def test_the_sensor_marks_each_deadline_once_as_soon_as_it_is_met(
    platform: Platform, market: ReplayHandle
) -> None:
    following = Platform(platform.settings.model_copy(update={"now": None}), platform.instance)

    def sense(now: str, cursor: str | None) -> tuple[list[str], str | None]:
        found = following.sense("prices_in_time", cursor, clock=ClockResource(fixed=f"{now}:00+00:00"))
        return [
            event.asset_key.to_user_string() for event in found.asset_events or []
        ], found.cursor or cursor

    assert sense("2013-02-14T21:30", None) == ([], None)
    platform.follow(US=["AAPL"])
    platform.days(date(2013, 2, 13), date(2013, 2, 13))
    marks, cursor = sense("2013-02-14T03:00", None)
    assert marks == [due_key("US").to_user_string()]
    assert sense("2013-02-14T20:00", cursor) == sense("2013-02-14T21:30", cursor) == ([], cursor)
    assert sense("2013-02-14T22:30", cursor) == ([], cursor)
    platform.days(date(2013, 2, 14), date(2013, 2, 14))
    marks, cursor = sense("2013-02-14T22:35", cursor)
    assert marks == ["daily_prices_due/us"]
    assert sense("2013-02-14T22:36", cursor) == ([], cursor)
    assert "QUANT_ASSETS_NOW holds the clock" in str(platform.sense("prices_in_time", None))
