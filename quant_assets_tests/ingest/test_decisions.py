"""`settle_quarantine`: a decision is about one value of one bar, and about the version that came last."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.ingest.cells import CellNews, CellWriter
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.ingest.plan import Mode
from quant_assets.maintenance.rebuild import rebuild_manifest
from quant_assets.market.bars import DAILY_SCHEMA, PRICES
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import DAILY
from quant_assets.tables.manifest import Expected, Manifest
from quant_assets.tables.quarantine import Decision, QuarantineError, hold, read_quarantine, with_items
from quant_assets.tables.restatements import Ledger
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, evening, told

TUESDAY, WEDNESDAY, THURSDAY = date(2013, 2, 19), date(2013, 2, 20), date(2013, 2, 21)


def level(price: float, **more: Any) -> dict[str, Any]:
    """A bar of Apple's on DAY at another level; what was traded was 467, and no action explains it."""
    return {
        "kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY),
        "values": dict.fromkeys(PRICES, price), **more,
    }  # fmt: skip


def decide(harness: Harness, decision: Decision, day: date) -> None:
    settle_quarantine(
        harness.store, exchange("US"), Choice(decision, symbols=["AAPL"]),
        now=evening(day) + timedelta(hours=1), min_coverage=0.0,
    )  # fmt: skip


def held(harness: Harness) -> dict[float, str]:
    """The held bars of Apple's on DAY: the decision by close."""
    rows = read_quarantine(harness.store, "US").filter(pl.col("date") == DAY)
    assert set(rows["symbol"]) <= {"AAPL"}
    return dict(rows.select("close", "decision").iter_rows())


def stored(harness: Harness) -> float | None:
    found = harness.cell().filter(pl.col("symbol") == "AAPL")["close"]
    return found.item() if found.len() else None


@pytest.fixture(autouse=True)
def catalog(harness: Harness) -> None:
    harness.put_catalog(*SYMBOLS)


@pytest.mark.parametrize("again", [50.0, 70.0])
def test_an_accepted_close_lets_in_no_other_close_of_the_same_session(
    harness: Harness, market: ReplayHandle, again: float
) -> None:
    market.add_faults(level(60.0))
    harness.live(market, WEEK[-1], WEEK)
    decide(harness, Decision.ACCEPTED, WEEK[-1])
    assert (held(harness), stored(harness)) == ({60.0: "accepted"}, 60.0)
    market.clear_faults()
    market.add_faults(level(again))
    report = harness.live(market, TUESDAY, [*WEEK, TUESDAY], mode=Mode.FORCE)
    assert report.quarantined == 1
    assert (held(harness), stored(harness)) == ({60.0: "accepted", again: "pending"}, 60.0)
    assert harness.restatements().is_empty()


def test_a_rejected_close_is_no_verdict_on_another_close_of_the_same_session(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(level(60.0))
    harness.live(market, WEEK[-1], WEEK)
    decide(harness, Decision.REJECTED, WEEK[-1])
    assert [m.outcome for m in harness.entry().missing] == ["rejected"]
    market.clear_faults()
    market.add_faults(level(50.0))
    harness.live(market, TUESDAY, WEEK, mode=Mode.FORCE)
    # Another value waits for another decision: the hole is open again, and is asked about again.
    assert [(m.symbol, m.outcome) for m in harness.entry().missing] == [("AAPL", "held")]
    assert held(harness) == {60.0: "rejected", 50.0: "pending"}
    market.clear_faults()
    market.reset_stats()
    assert harness.live(market, WEDNESDAY, WEEK).states == {"complete": 5}
    assert market.stats()["chart_data"] == {"AAPL": 1}
    assert harness.entry().state is CellState.COMPLETE


@pytest.mark.parametrize(
    "versions", [(60.0, 50.0), (50.0, 60.0), (60.0, 40.0), (40.0, 60.0), (70.0, 50.0), (50.0, 70.0)], ids=str
)
def test_of_several_versions_of_a_held_bar_the_one_that_came_last_is_stored(
    harness: Harness, market: ReplayHandle, versions: tuple[float, float]
) -> None:
    for day, price in zip((WEEK[-1], TUESDAY), versions, strict=True):
        market.clear_faults()
        market.add_faults(level(price))
        harness.live(market, day, WEEK)
    assert held(harness) == dict.fromkeys(versions, "pending")
    decide(harness, Decision.ACCEPTED, TUESDAY)
    assert stored(harness) == versions[-1]
    # The source goes on giving it, and nothing comes of it.
    report = harness.live(market, THURSDAY, WEEK, mode=Mode.FORCE)
    assert (report.restatements.height, stored(harness)) == (0, versions[-1])


# Whole answers, stretches and actions, held as verdicts hold them.

DECIDED = evening(WEEK[-1]) + timedelta(hours=1)


def apple(harness: Harness) -> pl.DataFrame:
    return read_daily(harness.store, "US", symbols=["AAPL"])


def doubt(harness: Harness, rows: pl.DataFrame, **columns: Any) -> str:
    """Holds rows (DAILY_SCHEMA); answers the id of the item that they make."""
    held = rows.with_columns(
        scale=pl.lit(1.0), rule=pl.lit("in doubt"), **{name: pl.lit(value) for name, value in columns.items()}
    )
    ids = hold(harness.store, "US", held, {}, "a-run", WEEK[-1]).ids
    (item,) = (
        with_items(read_quarantine(harness.store, "US")).filter(pl.col("id").is_in(ids))["item"].unique()
    )
    return item


def settle(harness: Harness, decision: Decision, *ids: str) -> list[date]:
    settled = settle_quarantine(
        harness.store, exchange("US"), Choice(decision, ids), now=DECIDED, min_coverage=0.0
    )
    assert settled.named == set(ids)
    return settled.days


def quartered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col(*PRICES) / 4, pl.col("volume") * 4)


def put(harness: Harness, day: date, rows: pl.DataFrame) -> None:
    """Lets a cell's rows of Apple be these, as if a run had stored them so."""
    cell = harness.cell(day)
    entry = harness.entry(day)
    others = cell.filter(pl.col("symbol") != "AAPL")
    writer = CellWriter(harness.store, "US", "test", 0.0, Expected(harness.store, "US"))
    old = cell.filter(pl.col("symbol") == "AAPL")
    new = rows.select(list(DAILY_SCHEMA))
    assert others.height + new.height == cell.height
    written = writer.write(day, list(SYMBOLS), CellNews(old=old, new=new), entry, evening(day))
    Manifest(harness.store, DAILY).record("US", [written.entry])


@pytest.mark.parametrize("stands", [True, False], ids=["over what stands", "where nothing stands"])
def test_an_accepted_answer_stores_all_its_rows_and_is_one_event(
    harness: Harness, market: ReplayHandle, stands: bool
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    before = apple(harness)
    if not stands:
        for day in WEEK:
            harness.store.delete(f"daily_prices/exchange=US/date={day}.parquet")
        rebuild_manifest(harness.store)
        harness.live(market, WEEK[-1], WEEK, only=["IBM", "MSFT"])
    id_ = doubt(harness, quartered(before), scope="answer", kind="rescaled")
    assert settle(harness, Decision.ACCEPTED, id_) == WEEK
    rows = apple(harness)
    values = [name for name in DAILY_SCHEMA if name not in ("flags", "fetched_at")]
    assert_frame_equal(rows.select(values), quartered(before).select(values))
    assert set(rows["flags"]) == {"settled_by_person"}
    assert set(rows["fetched_at"]) == {DECIDED}
    events = harness.restatements()
    if stands:
        assert events.select("symbol", "date", "field", "class", "first_date", "rows").rows() == [
            ("AAPL", WEEK[-1], "close", "correction", WEEK[0], 5)
        ]
        assert Ledger(harness.store, "US").replaced_after(DECIDED - timedelta(seconds=1)).height == 5
    else:
        assert events.is_empty()
        assert harness.entry().state is CellState.COMPLETE
    # Said again it is held no more, and nobody else's rows have changed.
    assert doubted_again(harness, quartered(before)) == 0
    assert set(harness.cell().filter(pl.col("symbol") != "AAPL")["flags"]) == {""}


def doubted_again(harness: Harness, rows: pl.DataFrame) -> int:
    held = rows.with_columns(
        scale=pl.lit(1.0), rule=pl.lit("in doubt"), scope=pl.lit("answer"), kind=pl.lit("rescaled")
    )
    return hold(harness.store, "US", held, {}, "a-run", TUESDAY).new


def test_a_rejected_answer_stays_out_and_its_holes_are_final(harness: Harness, market: ReplayHandle) -> None:
    truth = harness.live(market, WEEK[-1], WEEK, only=["IBM", "MSFT"])
    assert truth.result == "PARTIAL"
    like = read_daily(harness.store, "US", symbols=["IBM"]).with_columns(symbol=pl.lit("AAPL"))
    id_ = doubt(harness, like, scope="answer", kind="rescaled")
    settle(harness, Decision.REJECTED, id_)
    assert apple(harness).is_empty()
    for day in WEEK:
        assert [(m.symbol, m.outcome, m.reason) for m in harness.entry(day).missing] == [
            ("AAPL", "rejected", "rejected: in doubt")
        ]
    assert doubted_again(harness, like) == 0
    market.reset_stats()
    assert harness.live(market, WEEK[-1], WEEK).requests == 0


def test_a_stretch_is_decided_about_by_one_id_and_its_rows_by_theirs(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    before = apple(harness)
    id_ = doubt(harness, quartered(before).head(3), scope="row", kind="hundredfold")
    one = read_quarantine(harness.store, "US")["id"][1]
    assert settle(harness, Decision.ACCEPTED, one) == [WEEK[1]]
    assert {event[1] for event in told(harness.restatements())} == {WEEK[1]}
    assert settle(harness, Decision.ACCEPTED, id_) == [WEEK[0], WEEK[2]]
    assert apple(harness)["close"].to_list() == pytest.approx(
        [*(before["close"][:3] / 4), *before["close"][3:]]
    )


@pytest.mark.parametrize(
    ("decision", "dividend"),
    [(Decision.ACCEPTED, 2.65), (Decision.REJECTED, 0.0)],
    ids=["accepted", "rejected"],
)
def test_a_decision_about_a_dividend_in_doubt_puts_it_into_its_row(
    harness: Harness, market: ReplayHandle, decision: Decision, dividend: float
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    bar = apple(harness).filter(pl.col("date") == DAY)
    claimed = bar.with_columns(dividend=pl.lit(2.65))
    put(harness, DAY, bar.with_columns(dividend=pl.lit(None, pl.Float64), flags=pl.lit("dividend_held")))
    id_ = doubt(harness, claimed, scope="action", kind="dividend_contradicted")
    assert settle(harness, decision, id_) == [DAY]
    (row,) = apple(harness).filter(pl.col("date") == DAY).rows(named=True)
    assert (row["dividend"], row["flags"], row["fetched_at"]) == (dividend, "settled_by_person", DECIDED)
    assert {name: row[name] for name in PRICES} == bar.select(PRICES).row(0, named=True)
    assert told(harness.restatements()) == [("AAPL", DAY, "dividend", None, str(dividend), "correction")]
    # The same amount is no question any more.
    held = claimed.with_columns(
        scale=pl.lit(1.0),
        rule=pl.lit("in doubt"),
        scope=pl.lit("action"),
        kind=pl.lit("dividend_contradicted"),
    )
    assert hold(harness.store, "US", held, {}, "a-run", TUESDAY).new == 0


def test_rejecting_an_action_beside_a_good_row_changes_nothing_and_accepting_it_restates(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    before = apple(harness)
    bar = before.filter(pl.col("date") == DAY)
    phantom = doubt(
        harness, bar.with_columns(dividend=pl.lit(9.0)), scope="action", kind="dividend_implausible"
    )
    assert settle(harness, Decision.REJECTED, phantom) == []
    assert apple(harness).equals(before)
    split = doubt(harness, bar.with_columns(split_ratio=pl.lit(2.0)), scope="action", kind="unsettled_split")
    assert settle(harness, Decision.ACCEPTED, split) == [DAY]
    assert told(harness.restatements()) == [("AAPL", DAY, "split_ratio", "1.0", "2.0", "correction")]


def test_accepting_a_bar_beside_a_good_one_is_one_correction_for_each_value_that_differs(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    bar = apple(harness).filter(pl.col("date") == DAY)
    claim = doubt(
        harness, bar.with_columns(high=pl.lit(500.0), volume=pl.lit(7)), scope="row", kind="field_out_of_line"
    )
    assert settle(harness, Decision.ACCEPTED, claim) == [DAY]
    high, volume = (str(bar[name].item()) for name in ("high", "volume"))
    assert told(harness.restatements()) == [
        ("AAPL", DAY, "high", high, "500.0", "correction"),
        ("AAPL", DAY, "volume", volume, "7", "correction"),
    ]


def test_an_accepted_action_whose_day_has_no_bar_is_stored_alone(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK, only=["IBM", "MSFT"])
    like = (
        harness.cell()
        .filter(pl.col("symbol") == "IBM")
        .with_columns(symbol=pl.lit("AAPL"), dividend=pl.lit(0.5))
    )
    settle(harness, Decision.ACCEPTED, doubt(harness, like, scope="action", kind="dividend_left_out"))
    (row,) = apple(harness).rows(named=True)
    assert (row["close"], row["volume"], row["dividend"], row["flags"]) == (None, 0, 0.5, "settled_by_person")


def test_a_dividend_that_nobody_can_read_cannot_be_accepted(harness: Harness, market: ReplayHandle) -> None:
    harness.live(market, WEEK[-1], WEEK)
    bar = apple(harness).filter(pl.col("date") == DAY).with_columns(dividend=pl.lit(None, pl.Float64))
    id_ = doubt(harness, bar, scope="action", kind="unreadable_dividend")
    with pytest.raises(QuarantineError, match=f"{id_}: .*dividend of AAPL on 2013-02-13.*reject it"):
        settle(harness, Decision.ACCEPTED, id_)
    assert read_quarantine(harness.store, "US")["decision"].to_list() == ["pending"]


def test_what_was_rejected_is_accepted_by_its_id_and_by_no_symbol(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    bar = apple(harness).filter(pl.col("date") == DAY)
    extra = bar.with_columns(dividend=pl.lit(9.0))
    id_ = doubt(harness, extra, scope="action", kind="dividend_implausible")
    settle(harness, Decision.REJECTED, id_)
    decide(harness, Decision.ACCEPTED, THURSDAY)
    assert apple(harness).filter(pl.col("date") == DAY)["dividend"].item() == bar["dividend"].item()
    assert settle(harness, Decision.ACCEPTED, id_) == [DAY]
    assert apple(harness).filter(pl.col("date") == DAY)["dividend"].item() == 9.0
