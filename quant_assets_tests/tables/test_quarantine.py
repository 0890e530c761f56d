"""Bars that break a rule wait for a decision, which is kept; and no decision changes what was known before it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.ingest.decisions import Choice, Settled, settle_quarantine
from quant_assets.ingest.plan import Mode
from quant_assets.market.bars import PRICES
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import quarantine_key
from quant_assets.tables.quarantine import Decision, QuarantineError, mark, read_quarantine
from quant_assets.tables.restatements import Ledger
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, bars, evening, told, truth
from quant_assets_tests.support import NOW, listings, tree

TUESDAY, WEDNESDAY = date(2013, 2, 19), date(2013, 2, 20)
SATURDAY = date(2013, 2, 16)
MOVED = "moved by more than a factor of 4.5 without a split or dividend that explains it"
LOW = "high is below low"


def high_low(symbol: str = "AAPL", day: date = DAY, **more: Any) -> dict[str, Any]:
    return {
        "kind": "corrected_bar", "symbol": symbol, "date": str(day), "field": "low", "value": 900.0, **more,
    }  # fmt: skip


def decide(harness: Harness, decision: Decision, now: datetime, *ids: str, **more: Any) -> Settled:
    chosen = ids or read_quarantine(harness.store, "US")["id"].to_list()
    return settle_quarantine(
        harness.store, exchange("US"), Choice(decision, chosen, **more), now=now, min_coverage=0.0
    )


def held(harness: Harness) -> list[tuple[Any, ...]]:
    found = read_quarantine(harness.store, "US").select("symbol", "date", "decision")
    return found.rows()


@pytest.fixture(autouse=True)
def catalog(harness: Harness) -> None:
    harness.put_catalog(*SYMBOLS)


def test_a_bar_is_held_once_with_its_rule_its_values_and_the_facts_of_the_answer(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(high_low())
    report = harness.live(market, WEEK[-1], WEEK, run="the first run")
    assert report.quarantined == 1
    (row,) = read_quarantine(harness.store, "US").rows(named=True)
    (true,) = truth(["AAPL"], [DAY]).rows(named=True)
    assert {name: row[name] for name in true} == {**true, "low": 900.0}
    assert (row["rule"], row["decision"], row["run"], row["note"]) == (LOW, "pending", "the first run", "")
    assert (row["fetched_at"], row["decided_at"], row["scale"]) == (evening(WEEK[-1]), None, 1.0)
    assert {"status", "attempts"} <= set(orjson.loads(row["facts"]))
    assert harness.entry().state is CellState.PARTIAL
    # Given again it is the same bar; with other values another one.
    before = read_quarantine(harness.store, "US")
    again = harness.live(market, TUESDAY, run="another run")
    assert again.quarantined == 0
    counted = before.with_columns(
        claims=pl.lit(2, pl.Int32), last_claimed=pl.lit(evening(TUESDAY).date())
    ).select(before.columns)
    assert_frame_equal(read_quarantine(harness.store, "US"), counted)
    market.clear_faults()
    market.add_faults({**high_low(), "value": 901.0})
    assert harness.live(market, WEDNESDAY).quarantined == 1
    assert set(read_quarantine(harness.store, "US").select("low", "decision").rows()) == {
        (900.0, "pending"), (901.0, "pending"),
    }  # fmt: skip


def test_an_accepted_bar_is_stored_and_known_from_then_on(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults(high_low())
    harness.live(market, WEEK[-1], WEEK)
    (row,) = read_quarantine(harness.store, "US").rows(named=True)
    before = harness.cell()
    decided = evening(WEEK[-1]) + timedelta(hours=1)
    settled = decide(harness, Decision.ACCEPTED, decided, note="seen on the tape")
    assert (settled.ids, settled.days) == ([row["id"]], [DAY])
    (bar,) = harness.cell().filter(pl.col("symbol") == "AAPL").rows(named=True)
    assert {name: bar[name] for name in ("close", "low")} == {name: row[name] for name in ("close", "low")}
    assert bar["fetched_at"] == decided
    assert harness.cell().filter(pl.col("symbol") != "AAPL").equals(before)
    assert (harness.entry().state, harness.entry().missing) == (CellState.COMPLETE, ())
    (kept,) = read_quarantine(harness.store, "US").rows(named=True)
    assert (kept["decision"], kept["decided_at"], kept["note"]) == ("accepted", decided, "seen on the tape")
    assert harness.restatements().is_empty()
    earlier = read_daily(harness.store, "US", DAY, DAY, as_of=decided - timedelta(microseconds=1))
    assert earlier.equals(before)
    assert read_daily(harness.store, "US", DAY, DAY, as_of=decided).equals(harness.cell())
    # The same bar is answered again and again: it stays, and nothing comes of it.
    cell = harness.cell()
    for day, days, mode in ((TUESDAY, None, Mode.INCREMENTAL), (WEDNESDAY, WEEK, Mode.FORCE)):
        report = harness.live(market, day, days, mode=mode)
        assert (report.quarantined, report.restatements.height) == (0, 0)
        assert harness.cell().equals(cell)
        assert harness.entry().state is CellState.COMPLETE
    assert held(harness) == [("AAPL", DAY, "accepted")]


def test_accepting_the_first_bar_of_a_new_level_lets_in_what_follows_it(
    harness: Harness, market: ReplayHandle
) -> None:
    days = [*WEEK[2:], TUESDAY]
    sixth = truth(["AAPL"], days).select("date", *(pl.col(name) / 6 for name in PRICES))
    market.add_faults(
        *(
            {
                "kind": "corrected_bar",
                "symbol": "AAPL",
                "date": str(day),
                "values": dict(zip(PRICES, values, strict=True)),
            }
            for day, *values in sixth.iter_rows()
        )
    )
    harness.live(market, WEEK[-1], WEEK)
    waiting = read_quarantine(harness.store, "US")
    assert waiting.select("date", "rule").rows() == [(day, MOVED) for day in WEEK[2:]]
    assert decide(harness, Decision.ACCEPTED, evening(WEEK[-1]), waiting["id"][0]).days == [DAY]
    report = harness.live(market, TUESDAY)
    assert (report.quarantined, set(report.also_changed)) == (0, set(WEEK[3:]))
    assert held(harness) == [
        ("AAPL", DAY, "accepted"), ("AAPL", WEEK[3], "superseded"), ("AAPL", WEEK[4], "superseded"),
    ]  # fmt: skip
    for day in [*WEEK, TUESDAY]:
        assert harness.entry(day).state is CellState.COMPLETE
    rows = read_daily(harness.store, "US", symbols=["AAPL"]).filter(pl.col("date").is_in(days))
    assert_frame_equal(rows.select("date", *PRICES), sixth, rel_tol=1e-4)


def test_accepting_over_a_standing_bar_is_a_recorded_correction(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    before = harness.cell()
    market.add_faults(high_low(), high_low("IBM"))
    report = harness.live(market, TUESDAY)
    # What stands stays.
    assert (report.quarantined, harness.cell().equals(before)) == (2, True)
    assert harness.entry().state is CellState.COMPLETE
    assert harness.restatements().is_empty()
    decided = evening(TUESDAY) + timedelta(hours=1)
    (apple,) = read_quarantine(harness.store, "US").filter(pl.col("symbol") == "AAPL")["id"]
    assert decide(harness, Decision.ACCEPTED, decided, apple).days == [DAY]
    low = before.filter(pl.col("symbol") == "AAPL")["low"].item()
    assert told(harness.restatements()) == [("AAPL", DAY, "low", str(low), "900.0", "correction")]
    assert harness.restatements().select("detected_at", "run").rows() == [(decided, "quarantine")]
    assert Ledger(harness.store, "US").replaced_after(decided - timedelta(seconds=1)).height == 1
    assert harness.cell().filter(pl.col("symbol") == "AAPL")["low"].item() == 900.0
    assert read_daily(harness.store, "US", DAY, DAY, as_of=evening(TUESDAY)).equals(before)
    assert held(harness) == [("AAPL", DAY, "accepted"), ("IBM", DAY, "pending")]
    # Said again it is no correction of the correction.
    report = harness.live(market, WEDNESDAY)
    assert (report.restatements.height, harness.restatements().height) == (0, 1)


def test_a_rejected_bar_makes_the_hole_final_and_stays_out(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults(high_low())
    harness.live(market, WEEK[-1], WEEK)
    before = harness.cell()
    assert decide(harness, Decision.REJECTED, evening(WEEK[-1]), note="a typo").ids
    (missing,) = harness.entry().missing
    assert (missing.outcome, missing.reason) == ("rejected", f"rejected: {LOW}")
    market.reset_stats()
    assert harness.live(market, TUESDAY, WEEK).requests == 0
    for day, days, mode in ((TUESDAY, None, Mode.INCREMENTAL), (WEDNESDAY, WEEK, Mode.FORCE)):
        report = harness.live(market, day, days, mode=mode)
        assert (report.quarantined, report.restatements.height) == (0, 0)
        assert [m.outcome for m in harness.entry().missing] == ["rejected"]
        assert harness.cell().equals(before)
    assert held(harness) == [("AAPL", DAY, "rejected")]
    # A good bar is welcome all the same, to whoever asks.
    market.clear_faults()
    harness.live(market, date(2013, 2, 21), WEEK, mode=Mode.FORCE)
    assert_frame_equal(bars(harness.cell()), truth(SYMBOLS, [DAY]), check_exact=True)
    assert harness.entry().state is CellState.COMPLETE
    assert held(harness) == [("AAPL", DAY, "rejected")]


def test_rejecting_a_bar_beside_a_good_one_leaves_the_good_one(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], WEEK)
    market.add_faults(high_low())
    harness.live(market, TUESDAY)
    files = tree(harness.home / "store")
    assert decide(harness, Decision.REJECTED, evening(TUESDAY)).days == []
    after = tree(harness.home / "store")
    assert {name for name in after if after[name] != files.get(name)} == {quarantine_key("US")}
    assert harness.live(market, WEDNESDAY).quarantined == 0


def test_the_bar_of_a_closed_day_cannot_be_accepted_and_can_be_rejected(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "extra_bar", "symbol": "AAPL", "date": str(SATURDAY)})
    harness.live(market, TUESDAY, [*WEEK, TUESDAY])
    assert held(harness) == [("AAPL", SATURDAY, "pending")]
    assert read_quarantine(harness.store, "US")["rule"].to_list() == ["the exchange was closed that day"]
    files = tree(harness.home / "store")
    with pytest.raises(
        QuarantineError, match=r"US was closed on 2013-02-16: .*`open` overrides.*reject the bar"
    ):
        decide(harness, Decision.ACCEPTED, evening(TUESDAY))
    assert tree(harness.home / "store") == files
    settled = decide(harness, Decision.REJECTED, evening(TUESDAY))
    assert (len(settled.ids), settled.days) == (1, [])
    assert harness.live(market, WEDNESDAY).quarantined == 0
    assert held(harness) == [("AAPL", SATURDAY, "rejected")]


def test_a_good_bar_supersedes_the_one_that_waits(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults(high_low(until="2013-02-16T00:00:00Z"))
    harness.live(market, WEEK[-1], WEEK)
    assert held(harness) == [("AAPL", DAY, "pending")]
    harness.live(market, TUESDAY)
    assert held(harness) == [("AAPL", DAY, "superseded")]
    assert harness.entry().state is CellState.COMPLETE
    assert decide(harness, Decision.ACCEPTED, evening(TUESDAY)) == Settled()
    assert harness.restatements().is_empty()


def test_a_decision_about_some_leaves_the_others_waiting(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults(high_low(), high_low("IBM"), high_low("IBM", WEEK[1]))
    harness.live(market, WEEK[-1], WEEK)
    settled = settle_quarantine(
        harness.store, exchange("US"), Choice(Decision.ACCEPTED, symbols=["IBM"]), now=NOW, min_coverage=0.0
    )
    assert settled.days == [WEEK[1], DAY]
    assert held(harness) == [
        ("AAPL", DAY, "pending"), ("IBM", WEEK[1], "accepted"), ("IBM", DAY, "accepted"),
    ]  # fmt: skip
    assert {m.symbol: m.outcome for m in harness.entry().missing} == {"AAPL": "refused"}
    nothing = settle_quarantine(
        harness.store, exchange("US"), Choice(Decision.ACCEPTED, ["no such id"]), now=NOW, min_coverage=0.0
    )
    assert nothing == Settled()


def test_a_damaged_quarantine_stops_fills_by_name_and_no_reader(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(high_low())
    harness.live(market, WEEK[-1], WEEK)
    rows = read_daily(harness.store, "US")
    harness.store.put(quarantine_key("US"), b"PAR1 and then nothing")
    files = tree(harness.home / "store")
    with pytest.raises(ObjectDamaged, match=r"quarantine/exchange=US\.parquet"):
        harness.live(market, TUESDAY)
    with pytest.raises(ObjectDamaged, match=r"quarantine/exchange=US\.parquet"):
        decide(harness, Decision.REJECTED, NOW, "any")
    assert tree(harness.home / "store") == files
    assert read_daily(harness.store, "US").equals(rows)
    # The other exchange knows nothing of it.
    assert harness.fill(WEEK, listings("AAA.AX"), code="ASX").requests >= 1


@pytest.mark.parametrize("decision", [Decision.ACCEPTED, Decision.REJECTED])
def test_mark_supersedes_no_bar_that_somebody_has_decided_about_meanwhile(
    harness: Harness, market: ReplayHandle, decision: Decision
) -> None:
    market.add_faults(high_low())
    harness.live(market, WEEK[-1], WEEK)
    (pending,) = read_quarantine(harness.store, "US")["id"]
    mark(harness.store, "US", [pending], decision, NOW, "looked at")
    # A run that saw it pending when it began got a good bar since.
    mark(harness.store, "US", [pending], Decision.SUPERSEDED, NOW + timedelta(minutes=5))
    (row,) = read_quarantine(harness.store, "US").rows(named=True)
    assert (row["decision"], row["decided_at"], row["note"]) == (decision.value, NOW, "looked at")
