"""Prices through all symbols of a company, and apart where a symbol was of two companies: by value."""

from __future__ import annotations

import warnings
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets import companies, prices
from quant_assets.reader import SnapshotMismatch, snapshot_id
from quant_assets.tables.companies import company_id
from quant_assets_tests.company_desk import Desk, walk
from quant_assets_tests.support import days_between

BEGIN, LISTED = date(2024, 1, 2), date(2012, 5, 18)
DAYS = days_between(BEGIN, date(2024, 3, 28))
LAST, FIRST = date(2024, 3, 8), date(2024, 3, 11)
SPLIT = date(2024, 3, 20)
OURS = company_id("US", "FB", LISTED, None)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.make(BEGIN, "FB", "IBM")
    desk.learn(BEGIN, "FB", LISTED, "Facebook, Inc.")
    desk.make(BEGIN + timedelta(days=1), "FB", "IBM")
    return desk


def renamed(desk: Desk) -> dict[date, float]:
    """FB is META from FIRST on; of FB the first ten sessions and one in the middle are not stored. A split later."""
    closes = walk(DAYS)
    old = {d: c for d, c in closes.items() if DAYS[9] < d <= LAST and d != date(2024, 2, 7)}
    desk.store_bars({"FB": old, "META": closes, "IBM": walk(DAYS, seed=9)}, split={"META": SPLIT})
    desk.make(FIRST, "META", "IBM")
    desk.learn(FIRST, "META", LISTED, "Meta Platforms, Inc.")
    desk.make(FIRST + timedelta(days=1), "META", "IBM")
    return closes


@pytest.mark.parametrize("asked", ["META", "FB", OURS])
def test_a_company_is_read_through_its_symbols_each_day_once(desk: Desk, asked: str) -> None:
    closes = renamed(desk)
    rows = prices([asked, "FB"], by="company", store=desk.store).collect()
    assert rows.select("date", "close").rows() == list(closes.items())
    assert rows.select("symbol", pl.col("date") <= LAST).unique().sort("symbol").rows() == [
        ("FB", True), ("META", False),
    ]  # fmt: skip
    assert set(rows["company_id"]) == {OURS}
    assert (
        prices(asked, DAYS[3], DAYS[12], by="company", store=desk.store).collect()["date"].to_list()
        == DAYS[3:13]
    )


def test_of_a_day_under_both_symbols_the_one_of_that_day_counts(desk: Desk) -> None:
    closes = renamed(desk)
    # What is still served under the old symbol after the rename.
    desk.store_bars({"FB": closes | {DAYS[-1]: 1.0}, "META": {d: c for d, c in closes.items() if d >= FIRST}})
    rows = prices("META", by="company", store=desk.store).collect()
    assert rows.select("date", "close").rows() == list(closes.items())


def test_a_company_is_adjusted_as_one_series(desk: Desk) -> None:
    closes = renamed(desk)
    rows = prices("META", adjust="split", by="company", store=desk.store).collect()
    expected = [close / (4.0 if day < SPLIT else 1.0) for day, close in closes.items()]
    assert rows["close"].to_list() == pytest.approx(expected, rel=1e-12)
    assert rows.columns[-2:] == ["company_id", "exchange"]
    # By symbol the old one knows nothing of what came later.
    old = prices("FB", adjust="split", store=desk.store).collect()
    assert old["close"].to_list() == [closes[day] for day in old["date"]]


def test_a_symbol_that_no_ledger_knows_is_a_company_of_its_own(desk: Desk) -> None:
    renamed(desk)
    rows = prices(["IBM", "META"], by="company", store=desk.store).collect()
    assert rows.select("symbol", "company_id").unique(maintain_order=True).rows() == [
        ("IBM", None), ("FB", OURS), ("META", OURS),
    ]  # fmt: skip
    plain = prices("IBM", store=desk.store).collect()
    assert rows.filter(pl.col("symbol") == "IBM").drop("company_id").equals(plain)


def test_what_was_known_of_companies_at_a_moment_counts(desk: Desk) -> None:
    renamed(desk)
    # The rows of the test became known on their days, the rename on the day after FIRST.
    rows = prices("META", as_of=FIRST, by="company", store=desk.store).collect()
    assert (set(rows["symbol"]), set(rows["company_id"])) == ({"META"}, {None})
    snapshot = snapshot_id("META", end=LAST, by="company", store=desk.store)
    assert snapshot.startswith("20240312T220000")
    again = prices("META", end=LAST, by="company", snapshot=snapshot, store=desk.store).collect()
    assert set(again["symbol"]) == {"FB"}
    with pytest.raises(SnapshotMismatch):
        prices("META", end=LAST, snapshot=snapshot, store=desk.store).collect()


def test_companies_names_every_symbol_of_a_company_with_what_shows_it(desk: Desk) -> None:
    renamed(desk)
    shown = ["exchange", "company_id", "symbol", "first", "last", "event", "confidence"]
    rows = [
        ("US", OURS, "FB", LISTED, LAST, "renamed", "strong"),
        ("US", OURS, "META", FIRST, None, "renamed", "strong"),
    ]
    for asked in ("FB", ["META"], pl.DataFrame({"symbol": ["META"]}), OURS, None):
        assert companies(asked, store=desk.store).collect().select(shown).rows() == rows
    assert companies("IBM", store=desk.store).collect().is_empty()
    with pytest.raises(ValueError, match=r"^not in the catalog: FBX \(did you mean FB\?\), QA-1; universe"):
        companies(["FB", "FBX", "QA-1", "IBM"], store=desk.store).collect()


def reused(desk: Desk) -> dict[date, float]:
    """FB ends on LAST; from ANEW on it is another company, which splits."""
    closes = {d: c for d, c in walk(DAYS).items() if d <= LAST} | walk(
        days_between(ANEW, ANEW + timedelta(days=30)), 7
    )
    desk.store_bars({"FB": closes}, split={"FB": ANEW + timedelta(days=7)})
    desk.make(ANEW, "FB", "IBM")
    desk.learn(ANEW, "FB", ANEW, "Fabulous Bakeries")
    desk.make(ANEW + timedelta(days=1), "FB", "IBM")
    return closes


ANEW = date(2024, 7, 1)
OTHER = company_id("US", "FB", ANEW, None)


def test_a_split_of_the_second_company_leaves_the_first_one_alone(desk: Desk) -> None:
    closes = reused(desk)
    with pytest.warns(
        UserWarning, match=r"FB was the symbol of 2 companies, the present one from 2024-07-01 on"
    ):
        rows = prices(["FB", "IBM"], adjust="split", store=desk.store).collect()
    split = ANEW + timedelta(days=7)
    expected = [close / (4.0 if ANEW <= day < split else 1.0) for day, close in closes.items()]
    assert rows["close"].to_list() == pytest.approx(expected, rel=1e-12)
    assert set(rows["symbol"]) == {"FB"}


def test_by_company_a_symbol_is_the_one_that_has_it_now_and_the_other_has_its_id(desk: Desk) -> None:
    closes = reused(desk)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        now = prices("FB", adjust="split", by="company", store=desk.store).collect()
        before = prices(OURS, adjust="split", by="company", store=desk.store).collect()
    assert now["date"].to_list() == [day for day in closes if day >= ANEW]
    assert before.select("date", "close").rows() == [(d, c) for d, c in closes.items() if d <= LAST]
    assert (set(now["company_id"]), set(before["company_id"])) == ({OTHER}, {OURS})


def test_what_by_is_not_is_refused(desk: Desk) -> None:
    with pytest.raises(ValueError, match=r"^by is \"symbol\" or \"company\", not 'isin'$"):
        prices("FB", by="isin", store=desk.store).collect()  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="not in the catalog: NOBODY"):
        prices("NOBODY", by="company", store=desk.store).collect()
