"""What a decision leaves behind, by value: the events of the ledger, the claims, the report."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.decisions import Choice, Settled, settle_quarantine
from quant_assets.market.bars import PRICES
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.quarantine import Decision, QuarantineError, read_quarantine
from quant_assets_tests.ingest.harness import DAY, HOLIDAY, SYMBOLS, WEEK, Harness
from quant_assets_tests.ingest.test_decisions import DECIDED, apple, doubt, put, settle


@pytest.fixture(autouse=True)
def filled(harness: Harness, market: ReplayHandle) -> None:
    harness.put_catalog(*SYMBOLS)
    harness.live(market, WEEK[-1], WEEK)


def decided(harness: Harness, decision: Decision, *ids: str, note: str = "", **more: Any) -> Settled:
    return settle_quarantine(
        harness.store, exchange("US"), Choice(decision, ids, note=note, **more), now=DECIDED, min_coverage=0.0
    )


def events(harness: Harness) -> list[tuple[Any, ...]]:
    columns = ("date", "field", "old", "new", "class", "first_date", "rows")
    assert set(harness.restatements()["detected_at"]) <= {DECIDED}
    return harness.restatements().select(columns).rows()


def of_day(harness: Harness, day: date = DAY) -> pl.DataFrame:
    return apple(harness).filter(pl.col("date") == day)


def test_a_decision_keeps_its_note_and_names_what_it_was_about(harness: Harness) -> None:
    id_ = doubt(harness, of_day(harness).with_columns(high=pl.lit(500.0)), scope="row", kind="rule")
    assert decided(harness, Decision.ACCEPTED, "no such id") == Settled()
    assert Settled() == Settled([], [], set())
    found = decided(harness, Decision.REJECTED, id_, "no such id", note="a typing error")
    assert (found.ids, found.days, found.named) == ([id_], [], {id_})
    row = read_quarantine(harness.store, "US").select("decision", "note", "decided_at").rows()
    assert row == [("rejected", "a typing error", DECIDED)]
    # What is rejected is rejected; to accept it is another matter.
    assert decided(harness, Decision.REJECTED, id_, note="again") == Settled()
    assert read_quarantine(harness.store, "US")["note"].to_list() == ["a typing error"]
    assert decided(harness, Decision.ACCEPTED, id_).days == [DAY]


def test_an_accepted_bar_is_a_correction_of_that_bar_alone(harness: Harness) -> None:
    bar = of_day(harness)
    claim = bar.with_columns(high=pl.lit(500.0), currency=pl.lit("EUR"))
    settle(harness, Decision.ACCEPTED, doubt(harness, claim, scope="row", kind="rule"))
    assert events(harness) == [
        (DAY, "high", str(bar["high"].item()), "500.0", "correction", DAY, 1),
        (DAY, "currency", "USD", "EUR", "correction", DAY, 1),
    ]
    (row,) = of_day(harness).rows(named=True)
    assert (row["high"], row["currency"], row["flags"], row["fetched_at"]) == (
        500.0, "EUR", "settled_by_person", DECIDED,
    )  # fmt: skip


@pytest.mark.parametrize(("stored", "kind"), [(0.0, "late_dividend"), (0.25, "correction")])
def test_a_dividend_of_an_accepted_bar_is_a_late_one_where_none_was_known(
    harness: Harness, stored: float, kind: str
) -> None:
    bar = of_day(harness).with_columns(dividend=pl.lit(stored))
    put(harness, DAY, bar)
    claim = bar.with_columns(dividend=pl.lit(0.5), high=pl.lit(500.0))
    settle(harness, Decision.ACCEPTED, doubt(harness, claim, scope="row", kind="rule"))
    assert events(harness) == [
        (DAY, "high", str(bar["high"].item()), "500.0", "correction", DAY, 1),
        (DAY, "dividend", str(stored), "0.5", kind, DAY, 1),
    ]


def test_an_accepted_answer_is_one_event_from_its_first_row_told_by_its_last_close(harness: Harness) -> None:
    before = apple(harness)
    claim = before[1:4].with_columns(pl.col(*PRICES) / 2)
    settle(harness, Decision.ACCEPTED, doubt(harness, claim, scope="answer", kind="rescaled"))
    last = before["close"][3]
    assert events(harness) == [(WEEK[3], "close", str(last), str(last / 2), "correction", WEEK[1], 3)]


@pytest.mark.parametrize(
    ("column", "claimed", "flags"), [("dividend", 0.5, "dividend_held"), ("split_ratio", 2.0, "")]
)
def test_an_accepted_action_changes_itself_alone(
    harness: Harness, column: str, claimed: float, flags: str
) -> None:
    """A dividend that is in doubt beside it stays so."""
    bar = of_day(harness).with_columns(dividend=pl.lit(None, pl.Float64), flags=pl.lit("dividend_held"))
    put(harness, DAY, bar)
    kind = "unsettled_split" if column == "split_ratio" else "dividend_contradicted"
    claim = bar.with_columns(dividend=pl.lit(0.5), split_ratio=pl.lit(2.0))
    settle(harness, Decision.ACCEPTED, doubt(harness, claim, scope="action", kind=kind))
    (row,) = of_day(harness).rows(named=True)
    expected = {"dividend": None, "split_ratio": 1.0, column: claimed}
    assert {name: row[name] for name in expected} == expected
    held = "dividend_held," if column == "split_ratio" else ""
    assert row["flags"] == f"{held}settled_by_person"
    old = {"dividend": None, "split_ratio": "1.0"}[column]
    assert events(harness) == [(DAY, column, old, str(claimed), "correction", DAY, 1)]


def test_a_rejected_split_leaves_the_row_and_a_rejected_dividend_is_none(harness: Harness) -> None:
    bar = of_day(harness).with_columns(dividend=pl.lit(None, pl.Float64), flags=pl.lit("dividend_held"))
    put(harness, DAY, bar)
    claim = bar.with_columns(dividend=pl.lit(0.5), split_ratio=pl.lit(2.0))
    split = doubt(harness, claim, scope="action", kind="unsettled_split")
    assert settle(harness, Decision.REJECTED, split) == []
    assert of_day(harness)["dividend"].to_list() == [None]


@pytest.mark.parametrize("decision", [Decision.ACCEPTED, Decision.REJECTED])
def test_of_a_closed_day_no_claim_is_accepted_and_any_is_rejected(
    harness: Harness, decision: Decision
) -> None:
    bar = of_day(harness).with_columns(date=pl.lit(HOLIDAY), dividend=pl.lit(0.5))
    bare = bar.with_columns(pl.lit(None, pl.Float64).alias(name) for name in PRICES)
    for claim, remedy in ((bar, "overrides"), (bare, "--start 2013-02-19 --end 2013-02-19 --mode force")):
        id_ = doubt(harness, claim, scope="row" if claim is bar else "action", kind="rule")
        if decision is Decision.REJECTED:
            assert settle(harness, decision, id_) == []
            continue
        with pytest.raises(QuarantineError, match=f"US was closed on {HOLIDAY}.*{remedy}"):
            decided(harness, decision, id_)


@pytest.mark.parametrize(
    ("amount", "is_taken"), [(0.0, True), (0.25, True), (-0.01, False), (float("inf"), False)]
)
def test_the_amount_that_a_person_names_is_a_number_that_is_not_negative(
    harness: Harness, amount: float, is_taken: bool
) -> None:
    claim = of_day(harness).with_columns(dividend=pl.lit(None, pl.Float64))
    put(harness, DAY, claim.with_columns(flags=pl.lit("dividend_held")))
    id_ = doubt(harness, claim, scope="action", kind="unreadable_dividend")
    if is_taken:
        assert decided(harness, Decision.ACCEPTED, id_, dividend=amount).days == [DAY]
        assert of_day(harness)["dividend"].to_list() == [amount]
    else:
        with pytest.raises(QuarantineError, match=f"--dividend {amount:g}: an amount"):
            decided(harness, Decision.ACCEPTED, id_, dividend=amount)


def test_an_amount_is_for_one_dividend_and_for_no_split(harness: Harness) -> None:
    claim = of_day(harness).with_columns(dividend=pl.lit(0.5), split_ratio=pl.lit(2.0))
    split = doubt(harness, claim, scope="action", kind="unsettled_split")
    other = doubt(
        harness,
        of_day(harness, WEEK[0]).with_columns(dividend=pl.lit(0.5)),
        scope="action",
        kind="dividend_implausible",
    )
    for ids in ((split,), (split, other)):
        with pytest.raises(QuarantineError, match="--dividend is for one dividend that is held"):
            decided(harness, Decision.ACCEPTED, *ids, dividend=0.25)
    assert decided(harness, Decision.ACCEPTED, other, dividend=0.25).days == [WEEK[0]]
    assert of_day(harness, WEEK[0])["dividend"].to_list() == [0.25]
