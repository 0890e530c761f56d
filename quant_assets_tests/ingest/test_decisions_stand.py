"""What a person has decided stands, while the source goes on saying what it said."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.ingest.plan import Mode
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.daily import read_daily
from quant_assets.tables.quarantine import Decision, QuarantineError, claims
from quant_assets_tests.ingest.harness import SYMBOLS, WEEK, Harness, evening, sessions

TUESDAY, WEDNESDAY = date(2013, 2, 19), date(2013, 2, 20)
EX_DATE = date(2013, 2, 6)
DAYS = sessions(date(2013, 1, 14), WEEK[-1])
STRETCH = DAYS[14:17]


@pytest.fixture(autouse=True)
def catalog(harness: Harness) -> None:
    harness.put_catalog(*SYMBOLS)


def decide(harness: Harness, decision: Decision) -> None:
    settle_quarantine(
        harness.store, exchange("US"), Choice(decision, symbols=["IBM"]),
        now=evening(WEEK[-1]) + timedelta(hours=1), min_coverage=0.0,
    )  # fmt: skip


def ibm(harness: Harness) -> pl.DataFrame:
    return read_daily(harness.store, "US", symbols=["IBM"])


def goes_on(harness: Harness, market: ReplayHandle) -> None:
    """The source says the same for two evenings more: nothing is held again, and nothing changes."""
    before, events = ibm(harness), harness.restatements()
    for day in (TUESDAY, WEDNESDAY):
        report = harness.live(market, day)
        assert claims(harness.store, "US").is_empty(), claims(harness.store, "US").to_dicts()
        assert (report.result, report.quarantined, report.claimed) == ("SUCCESS", 0, 0)
    after = ibm(harness).filter(pl.col("date") <= WEEK[-1])
    assert after.equals(before)
    assert harness.restatements().equals(events)


@pytest.mark.parametrize("decision", [Decision.ACCEPTED, Decision.REJECTED])
@pytest.mark.parametrize(
    ("factor", "adjusted"), [(4.0, False), (250.0, True)], ids=["contradicted", "implausible"]
)
def test_a_decision_about_a_dividend_stands(
    harness: Harness, market: ReplayHandle, decision: Decision, factor: float, adjusted: bool
) -> None:
    market.add_faults(
        {"kind": "dividend_factor", "symbol": "IBM", "date": str(EX_DATE), "factor": factor, "adjusted": adjusted}
    )  # fmt: skip
    report = harness.live(market, WEEK[-1], DAYS)
    assert report.held.select("symbol", "scope", "first").rows() == [("IBM", "action", EX_DATE)]
    decide(harness, decision)
    amount = ibm(harness).filter(pl.col("date") == EX_DATE)["dividend"].item()
    assert amount == pytest.approx(0.85 * factor if decision is Decision.ACCEPTED else 0.0)
    goes_on(harness, market)


@pytest.mark.parametrize("decision", [Decision.ACCEPTED, Decision.REJECTED])
def test_a_decision_about_a_bar_stands(harness: Harness, market: ReplayHandle, decision: Decision) -> None:
    market.add_faults(
        {"kind": "field_factor", "symbol": "IBM", "date": str(EX_DATE), "field": "high", "factor": 100.0}
    )
    harness.live(market, WEEK[-1], DAYS)
    (high,) = claims(harness.store, "US")["high"]
    assert high > 20_000
    decide(harness, decision)
    stored = ibm(harness).filter(pl.col("date") == EX_DATE)["high"].to_list()
    assert stored == ([high] if decision is Decision.ACCEPTED else [])
    goes_on(harness, market)


def test_a_stretch_that_was_rejected_stays_out(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults(
        {
            "kind": "rescaled_bars", "symbol": "IBM", "factor": 100.0, "volume": False,
            "first": str(STRETCH[0]), "last": str(STRETCH[-1]),
        }
    )  # fmt: skip
    harness.live(market, WEEK[-1], DAYS)
    assert claims(harness.store, "US").select("symbol", "date").rows() == [("IBM", day) for day in STRETCH]
    decide(harness, Decision.REJECTED)
    goes_on(harness, market)
    # Also when they are asked about once more.
    report = harness.live(market, date(2013, 2, 21), DAYS, mode=Mode.FORCE)
    assert (report.claimed, report.result) == (0, "PARTIAL")
    assert {(m.symbol, m.outcome) for day in STRETCH for m in harness.entry(day).missing} == {
        ("IBM", "rejected")
    }


def test_a_rejected_dividend_is_no_verdict_on_another_amount(harness: Harness, market: ReplayHandle) -> None:
    fault = {"kind": "dividend_factor", "symbol": "IBM", "date": str(EX_DATE), "adjusted": False}
    market.add_faults({**fault, "factor": 4.0})
    harness.live(market, WEEK[-1], DAYS)
    decide(harness, Decision.REJECTED)
    market.clear_faults()
    market.add_faults({**fault, "factor": 2.0})
    report = harness.live(market, TUESDAY)
    assert (report.result, report.quarantined) == ("PARTIAL", 1)
    assert claims(harness.store, "US")["dividend"].to_list() == [1.7]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "dividend_factor", "factor": 3.0},
        {"kind": "unreadable_event", "what": "dividend", "text": "3.14 USD"},
    ],
    ids=["contradicted", "unreadable"],
)
def test_an_amount_that_a_person_names_is_stored_and_stands(
    harness: Harness, market: ReplayHandle, fault: dict[str, Any]
) -> None:
    market.add_faults({**fault, "symbol": "IBM", "date": str(EX_DATE)})
    harness.live(market, WEEK[-1], DAYS)
    (id_,) = claims(harness.store, "US")["id"]
    settle_quarantine(
        harness.store, exchange("US"), Choice(Decision.ACCEPTED, [id_], dividend=0.85),
        now=evening(WEEK[-1]) + timedelta(hours=1), min_coverage=0.0,
    )  # fmt: skip
    on_day = ibm(harness).filter(pl.col("date") == EX_DATE)
    assert on_day.select("dividend", "flags").rows() == [(0.85, "settled_by_person")]
    goes_on(harness, market)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), 0.85])
def test_an_amount_is_named_for_one_dividend(harness: Harness, market: ReplayHandle, amount: float) -> None:
    market.add_faults(
        {"kind": "field_factor", "symbol": "IBM", "date": str(EX_DATE), "field": "high", "factor": 100.0}
    )
    harness.live(market, WEEK[-1], DAYS)
    (id_,) = claims(harness.store, "US")["id"]
    with pytest.raises(QuarantineError, match="--dividend"):
        settle_quarantine(
            harness.store, exchange("US"), Choice(Decision.ACCEPTED, [id_], dividend=amount),
            now=evening(WEEK[-1]), min_coverage=0.0,
        )  # fmt: skip
    assert claims(harness.store, "US")["id"].to_list() == [id_]


def test_a_person_may_say_that_a_dividend_is_none(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults({"kind": "dividend_factor", "symbol": "IBM", "date": str(EX_DATE), "factor": 3.0})
    harness.live(market, WEEK[-1], DAYS)
    settle_quarantine(
        harness.store, exchange("US"),
        Choice(Decision.ACCEPTED, claims(harness.store, "US")["id"].to_list(), dividend=0.0),
        now=evening(WEEK[-1]) + timedelta(hours=1), min_coverage=0.0,
    )  # fmt: skip
    on_day = ibm(harness).filter(pl.col("date") == EX_DATE)
    assert on_day.select("dividend", "flags").rows() == [(0.0, "settled_by_person")]


def test_what_was_rejected_can_be_accepted_after_all(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults({"kind": "dividend_factor", "symbol": "IBM", "date": str(EX_DATE), "factor": 3.0})
    harness.live(market, WEEK[-1], DAYS)
    (id_,) = claims(harness.store, "US")["id"]
    decide(harness, Decision.REJECTED)
    settle_quarantine(
        harness.store, exchange("US"), Choice(Decision.ACCEPTED, [id_]),
        now=evening(WEEK[-1]) + timedelta(hours=2), min_coverage=0.0,
    )  # fmt: skip
    assert ibm(harness).filter(pl.col("date") == EX_DATE)["dividend"].item() == pytest.approx(2.55)
    goes_on(harness, market)


def test_an_accepted_answer_has_the_whole_history_and_leaves_no_break(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-1], DAYS)
    before = ibm(harness)
    market.add_faults({"kind": "rescaled_bars", "symbol": "IBM", "factor": 1.5, "volume": False})
    report = harness.live(market, TUESDAY, look_back=5)
    assert report.held.select("symbol", "scope", "first", "last").rows() == [
        ("IBM", "answer", DAYS[0], TUESDAY)
    ]
    decide(harness, Decision.ACCEPTED)
    after = ibm(harness)
    assert after["close"][:-1].to_list() == pytest.approx((before["close"] * 1.5).to_list(), rel=1e-5)
    events = harness.restatements()
    report = harness.live(market, WEDNESDAY, DAYS, mode=Mode.FORCE)
    assert (report.result, report.claimed) == ("SUCCESS", 0)
    assert harness.restatements().equals(events)
    assert set(ibm(harness)["split_ratio"]) == {1.0}
