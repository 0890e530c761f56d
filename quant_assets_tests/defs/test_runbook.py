"""Drills of docs/runbook.md that have no test elsewhere: the source away for two days, a clock wrong by a day."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from typer.testing import CliRunner

from benchmarks.drills import ROOT, drills
from quant_assets.cli.app import app
from quant_assets.defs.alerts.watch import look, rules_of
from quant_assets.defs.jobs import PRICES_ALONE
from quant_assets.exchanges import enabled
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.defs.platform import Platform, failure

MONDAY, TUESDAY, WEDNESDAY, THURSDAY = (date(2013, 2, day) for day in (11, 12, 13, 14))
AWAY = "http://127.0.0.1:9"


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 23, tzinfo=UTC)


def update(platform: Platform, day: date, now: datetime, **more: object) -> dg.ExecuteInProcessResult:
    """The schedule's run of a session, as the platform's clock has it."""
    at = Platform(platform.settings.model_copy(update={"now": now, **more}), platform.instance)
    return at.defs.resolve_job_def("daily_prices_us").execute_in_process(
        instance=platform.instance,
        partition_key=f"{day}|US",
        raise_on_error=False,
        asset_selection=PRICES_ALONE,
    )


def states(platform: Platform) -> dict[str, CellState]:
    return {entry.partition: entry.state for entry in Manifest(platform.store, DAILY).all("US")}


def test_the_source_is_away_for_two_days_and_one_command_brings_what_was_missed(
    platform: Platform, market: ReplayHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    rules = rules_of(platform.settings, enabled(("US",), None))

    def alerts(now: datetime) -> list[str]:
        return [alert.key for alert in look(platform.instance, platform.store, rules, [], now).told]

    market.set_clock(evening(MONDAY))
    assert update(platform, MONDAY, evening(MONDAY)).success
    assert alerts(evening(MONDAY)) == []
    for day in (TUESDAY, WEDNESDAY):
        assert "does not answer" in failure(update(platform, day, evening(day), source_url=AWAY))
        assert alerts(evening(day)) == [
            f"data stale|US {day}", f"run failed|daily_prices_us {day}|US",
        ]  # fmt: skip
    # What was there is as it was; nothing is stored of the days that failed.
    assert states(platform) == {str(MONDAY): CellState.COMPLETE}

    market.set_clock(evening(THURSDAY))
    market.reset_stats()
    for name, value in {
        "HOME": str(platform.settings.home), "EXCHANGES": "US", "UNIVERSE": str(platform.settings.universe),
        "SOURCE_URL": market.url, "NOW": evening(THURSDAY).isoformat(), "REQUESTS_PER_SECOND": "0",
        "START": "2013-01-14",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"QUANT_ASSETS_{name}", value)
    result = CliRunner().invoke(app, ["backfill", "--missing", "--exchange", "US"], catch_exceptions=False)
    assert result.exit_code == 0
    assert set(states(platform).values()) == {CellState.COMPLETE}
    assert list(states(platform)) == [str(day) for day in (MONDAY, TUESDAY, WEDNESDAY, THURSDAY)]
    # Each symbol once, however many days were missed.
    assert market.stats()["chart_data"] == {"AAPL": 1, "IBM": 1}
    assert alerts(evening(THURSDAY) + timedelta(minutes=5)) == []
    runs = json.loads(CliRunner().invoke(app, ["runs", "--outcome", "failed", "--json"]).stdout)
    assert [run["partitions"] for run in runs] == [f"{WEDNESDAY}|US", f"{TUESDAY}|US"]


def test_a_clock_that_is_wrong_by_a_day_stores_nothing_false_and_the_next_run_heals(
    platform: Platform, market: ReplayHandle
) -> None:
    platform.follow(US=["AAPL", "IBM"])
    market.set_clock(evening(TUESDAY))
    assert update(platform, MONDAY, evening(TUESDAY)).success
    # A day behind: the session that is over is not there yet, to this machine, and cannot be asked for.
    with pytest.raises(dg.DagsterUnknownPartitionError):
        update(platform, TUESDAY, evening(MONDAY))
    # A day ahead: a session is asked for that has not been; there is no bar, and the cell says so.
    ahead = update(platform, WEDNESDAY, evening(WEDNESDAY))
    assert "nothing received: 2 no_bar" in failure(ahead)
    assert states(platform)[str(WEDNESDAY)] is CellState.FAILED
    # Right again, and the session is over: all is as it should be.
    market.set_clock(evening(WEDNESDAY) + timedelta(days=1))
    for day in (TUESDAY, WEDNESDAY):
        assert update(platform, day, evening(THURSDAY)).success
    assert set(states(platform).values()) == {CellState.COMPLETE}


def test_every_entry_names_what_it_was_tried_by() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    found = drills()
    assert len(found) > 10
    assert {name for drill in found for name in drill.targets} <= set(targets)
