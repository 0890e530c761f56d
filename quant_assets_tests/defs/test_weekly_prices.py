"""Weekly bars against a second opinion."""

from datetime import date, timedelta

import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.market.weekly import weekly_bars
from quant_assets.reader import weekly
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY, HISTORY, WEEKLY, object_key
from quant_assets.tables.lineage import RULES
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.parquet import read_facts, read_table
from quant_assets_tests.conftest import FIRST, LAST
from quant_assets_tests.defs.platform import Platform
from quant_assets_tests.defs.second_opinion import by_pandas
from quant_assets_tests.support import RECORDED


def test_every_recorded_week_agrees_with_a_computation_by_pandas(thirteen_years: LocalObjectStore) -> None:
    daily = read_daily(thirteen_years, "US")
    sessions = exchange("US").calendar().sessions(FIRST, LAST)
    calendar = pl.DataFrame({"date": sessions, "asked": [True] * len(sessions)})
    ours = weekly_bars(daily, calendar)
    for symbol in RECORDED:
        paid = dict(daily.filter(pl.col("symbol") == symbol).select("date", "dividend").iter_rows())
        theirs = by_pandas(symbol, FIRST, LAST, complete=True, dividends=paid)
        assert theirs.height == (679 if symbol != "FB" else 42)
        assert_frame_equal(
            ours.filter(pl.col("symbol") == symbol), theirs, check_exact=False, rel_tol=1e-9, abs_tol=1e-9
        )


def test_weeks_around_a_split_come_whole_through_dagster(platform: Platform) -> None:
    platform.follow(US=["AAPL", "MSFT"])
    # A Wednesday's split; one on the Tuesday after a closed Monday; one on a Monday.
    for monday in (date(2000, 6, 19), date(2003, 2, 17), date(2005, 2, 28)):
        friday = monday + timedelta(days=4)
        assert platform.days(monday, friday).success
        run = platform.run("weekly_prices_job", f"US|{monday}")
        assert run.success
        made = platform.recorded(WEEKLY, run.run_id)[f"US|{monday}"]
        assert (made["state"], made["sessions"]) == ("complete", 4 if monday.year == 2003 else 5)
        got = read_table(platform.store, object_key(WEEKLY, "US", str(monday)))
        for symbol in ("AAPL", "MSFT"):
            paid = {date(2003, 2, 19): 0.08} if symbol == "MSFT" else {}
            theirs = by_pandas(symbol, monday, friday, complete=True, dividends=paid)
            assert_frame_equal(
                got.filter(pl.col("symbol") == symbol), theirs, check_exact=False, rel_tol=1e-9
            )
    apple = read_table(platform.store, object_key(WEEKLY, "US", "2000-06-19")).row(0, named=True)
    # No bar torn in two: the week's range is that of one share.
    assert apple["high"] / apple["low"] < 1.3
    assert apple["split_ratio"] == 2.0


def test_a_symbols_week_is_made_of_all_its_bars_whatever_others_lack(
    platform: Platform, market: ReplayHandle
) -> None:
    # Of three symbols one lacks a day each, so no cell has 95 %: also on the days of a split and a dividend.
    settings = platform.settings.model_copy(update={"min_coverage": {"*": 95}})
    platform = Platform(settings, platform.instance)
    platform.follow(US=["AAPL", "IBM", "MSFT"])
    lacks = {
        date(2000, 6, 19): {"AAPL": [], "IBM": [19, 20, 23], "MSFT": [21, 22]},
        date(2003, 2, 17): {"AAPL": [18, 21], "IBM": [19, 20], "MSFT": []},
    }
    splits = {("AAPL", date(2000, 6, 19)): 2.0, ("MSFT", date(2003, 2, 17)): 2.0}
    for monday, by_symbol in lacks.items():
        lacking = {symbol: [monday.replace(day=n) for n in days] for symbol, days in by_symbol.items()}
        market.add_faults(
            *(
                {"kind": "missing_session", "symbol": symbol, "date": str(day), "times": None}
                for symbol, days in lacking.items()
                for day in days
            )
        )
        friday = monday + timedelta(days=4)
        assert not platform.days(monday, friday).success
        cells = Manifest(platform.store, DAILY).between("US", monday, friday)
        assert {entry.state.value for entry in cells.values()} <= {"failed", "closed"}
        for table, key in ((WEEKLY, f"US|{monday}"), (HISTORY, f"US|{monday.year}")):
            run = platform.run(f"{table}_job", key)
            assert run.success
            assert platform.recorded(table, run.run_id)[key]["state"] == "partial"
        for symbol, days in lacking.items():
            paid = {date(2003, 2, 19): 0.08} if symbol == "MSFT" else {}
            assert_frame_equal(
                weekly(symbol, monday, monday, store=platform.store).collect().drop("exchange"),
                by_pandas(symbol, monday, friday, complete=not days, dividends=paid, lacking=days),
                check_exact=False, rel_tol=1e-9,
            )  # fmt: skip
            assert weekly(symbol, monday, monday, store=platform.store).collect()["split_ratio"].item() == (
                splits.get((symbol, monday), 1.0)
            )
        key = object_key(HISTORY, "US", str(monday.year))
        # By its rule the next one knows whether it may carry the rows on.
        assert read_facts(platform.store.get(key).data, key)["rule"] == RULES[HISTORY]
        history = read_table(platform.store, key)
        open_days = len(exchange("US").calendar().sessions(monday, friday))
        assert history.height == 3 * open_days - sum(len(days) for days in lacking.values())
