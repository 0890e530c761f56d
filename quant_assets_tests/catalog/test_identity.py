"""Whether two symbols are one company, and one symbol two: by value, and nothing guessed whatever the evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.catalog.identity import (
    Beside,
    Closes,
    Finding,
    Verdict,
    beside,
    judge_renamed,
    judge_reused,
    same_names,
    without_rivals,
)
from quant_assets.tables.symbol_facts import SymbolFacts

LISTED, LAST, NEXT = date(2012, 5, 18), date(2022, 6, 8), date(2022, 6, 9)
FB = SymbolFacts(LISTED, "Facebook, Inc.", "USD", None, "EQUITY")
META = replace(FB, name="Meta Platforms, Inc.")
APPLE, NESTLE = "US0378331005", "CH0038863350"
GOES_ON = Beside(old_last=LAST, new_first=NEXT, new_after=NEXT, step=1.02)
SAME = replace(GOES_ON, sessions=100, equal=100, moved=95)
NOTHING, RENAMED, REUSED, OPEN = Finding.NOTHING, Finding.RENAMED, Finding.REUSED, Finding.OPEN


@pytest.mark.parametrize(
    ("old", "new", "prices", "finding"),
    [
        (FB, META, SAME, RENAMED),
        (FB, META, replace(SAME, equal=99), RENAMED),
        (FB, META, replace(SAME, sessions=20, equal=20, moved=10), RENAMED),
        # The same ISIN needs no prices, unless they contradict it.
        (replace(FB, isin=APPLE), replace(META, isin=APPLE, first_trade=NEXT), Beside(), RENAMED),
        (replace(FB, isin=APPLE), replace(META, isin=APPLE, currency="EUR"), Beside(), RENAMED),
        (replace(FB, isin=APPLE), replace(META, isin=APPLE), replace(SAME, equal=3), OPEN),
        (replace(FB, isin=APPLE), replace(META, isin=APPLE, instrument="ETF"), SAME, OPEN),
        # Something against it.
        (FB, replace(META, currency="EUR"), SAME, OPEN),
        (replace(FB, isin=APPLE), replace(META, isin=NESTLE), SAME, OPEN),
        (FB, replace(META, instrument="ETF"), SAME, OPEN),
        (FB, META, replace(SAME, equal=98), OPEN),
        (FB, META, replace(SAME, sessions=100, equal=51, moved=50), OPEN),
        # One history without the same first trade date, or too short or too still to be one.
        (FB, replace(META, first_trade=NEXT), SAME, OPEN),
        (FB, META, replace(SAME, sessions=19, equal=19, moved=19), OPEN),
        (FB, META, replace(SAME, moved=9), OPEN),
        # Bars that go on, under the same name or with the same first trade date.
        (FB, META, GOES_ON, OPEN),
        (FB, replace(FB, name="FACEBOOK INC", first_trade=NEXT), GOES_ON, OPEN),
        (FB, replace(META, first_trade=NEXT), GOES_ON, NOTHING),
        (FB, META, replace(GOES_ON, new_after=LAST + timedelta(days=10)), OPEN),
        (FB, META, replace(GOES_ON, new_after=LAST + timedelta(days=11)), NOTHING),
        (FB, META, replace(GOES_ON, step=1.49), OPEN),
        (FB, META, replace(GOES_ON, step=1.51), NOTHING),
        (FB, META, replace(GOES_ON, step=0.66), NOTHING),
        # Other prices are another company.
        (FB, META, replace(SAME, equal=50), NOTHING),
        (FB, META, Beside(), NOTHING),
        (SymbolFacts(), SymbolFacts(), SAME, OPEN),
        (SymbolFacts(), SymbolFacts(), GOES_ON, NOTHING),
    ],
)
def test_a_rename_is_found_on_strong_evidence_with_nothing_against_it(
    old: SymbolFacts, new: SymbolFacts, prices: Beside, finding: Finding
) -> None:
    verdict = judge_renamed(old, new, prices)
    assert verdict.finding is finding, verdict
    assert bool(verdict.evidence) is (finding is not NOTHING)


def test_rows_that_may_be_of_two_companies_show_nothing() -> None:
    for prices in (SAME, replace(SAME, equal=0), GOES_ON, Beside()):
        assert judge_renamed(FB, META, prices, mixed=True).finding is OPEN
    assert judge_renamed(FB, replace(META, first_trade=NEXT), SAME, mixed=True).finding is NOTHING


def test_evidence_and_what_is_against_it_are_told() -> None:
    verdict = judge_renamed(replace(FB, isin=APPLE), replace(META, isin=APPLE, instrument="ETF"), SAME)
    assert verdict.evidence == (
        f"the same ISIN {APPLE}, 100 of 100 common sessions with equal closes and the same first trade date "
        "2012-05-18, bars that go on at about the same price (2022-06-08, 2022-06-09); but another kind of "
        "instrument (EQUITY, ETF)"
    )


def test_of_several_candidates_none_is_believed() -> None:
    found = Verdict(RENAMED, "evidence")
    weak = Verdict(OPEN, "hint")
    nothing = Verdict(NOTHING)
    assert without_rivals({("A", "X"): found, ("B", "Y"): found, ("A", "Z"): nothing}) == {
        ("A", "X"): found, ("B", "Y"): found,
    }  # fmt: skip
    assert without_rivals({("A", "X"): found, ("A", "Y"): weak}) == {
        ("A", "X"): Verdict(OPEN, "evidence; another candidate: Y"),
        ("A", "Y"): Verdict(OPEN, "hint; another candidate: X"),
    }
    rivals = without_rivals({("A", "X"): found, ("B", "X"): found})
    assert [verdict.finding for verdict in rivals.values()] == [OPEN, OPEN]


ANEW = date(2025, 3, 3)
OTHER = SymbolFacts(ANEW, "Fabulous Bakeries", "USD", None, "EQUITY")


@pytest.mark.parametrize(
    ("before", "now", "last", "finding"),
    [
        (FB, OTHER, LAST, REUSED),
        (FB, replace(FB, first_trade=ANEW, name=None, currency="EUR"), LAST, REUSED),
        (replace(FB, isin=APPLE), replace(OTHER, name=None, isin=NESTLE), LAST, REUSED),
        (FB, replace(OTHER, name=None, instrument="ETF"), LAST, REUSED),
        (FB, OTHER, ANEW - timedelta(days=30), REUSED),
        # Evidence that disagrees, or is none.
        (FB, replace(FB, first_trade=ANEW), LAST, OPEN),
        (FB, replace(FB, first_trade=ANEW, currency="EUR"), LAST, OPEN),
        (replace(FB, isin=APPLE), replace(OTHER, isin=APPLE), LAST, OPEN),
        (FB, replace(OTHER, name="Facebook Marketplace"), LAST, OPEN),
        (FB, replace(OTHER, name=None), LAST, OPEN),
        # Without a gap the source may have lost the beginning of a history.
        (FB, OTHER, ANEW - timedelta(days=29), OPEN),
        (FB, replace(FB, first_trade=ANEW), ANEW - timedelta(days=1), NOTHING),
        (FB, replace(OTHER, name="Meta Platforms"), None, OPEN),
        (FB, replace(FB, first_trade=ANEW), None, NOTHING),
        # An earlier date: it may have found more of one, or have another's.
        (FB, replace(OTHER, first_trade=date(1999, 1, 4)), LAST, OPEN),
        (FB, replace(FB, first_trade=date(1999, 1, 4)), LAST, NOTHING),
        # Another name alone is no other company.
        (FB, replace(OTHER, first_trade=LISTED), LAST, NOTHING),
        (FB, replace(OTHER, first_trade=None), LAST, NOTHING),
        (replace(FB, first_trade=None), OTHER, LAST, NOTHING),
    ],
)
def test_a_symbol_is_another_companys_on_strong_evidence_with_nothing_against_it(
    before: SymbolFacts, now: SymbolFacts, last: date | None, finding: Finding
) -> None:
    assert judge_reused(before, now, last).finding is finding


def test_a_symbol_that_its_company_has_left_needs_no_gap() -> None:
    assert judge_reused(FB, OTHER, ANEW - timedelta(days=1), left=True).finding is REUSED
    assert judge_reused(FB, replace(FB, first_trade=ANEW), LAST, left=True).finding is OPEN


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Facebook, Inc.", "FACEBOOK INC", True),
        ("Nestlé S.A.", "Nestle SA", True),
        ("The Coca-Cola Company", "Coca Cola Co", True),
        ("Facebook, Inc.", "Meta Platforms, Inc.", False),
        ("Acme Mining Ltd", "Zebra Mining Limited", False),
        ("Acme Mining Ltd", "Acme Gold Limited", None),
        ("IBM", "International Business Machines Corporation", None),
        ("Micro Corp", "Microsoft Corporation", None),
        ("AB", "Abacus", False),
        ("Mining Co", "Mining Inc", True),
        (None, "Meta", None),
        ("...", "Meta", None),
    ],
)
def test_names_are_compared_by_the_words_that_tell_companies_apart(
    one: str | None, other: str | None, same: bool | None
) -> None:
    assert same_names(one, other) is same is same_names(other, one)


def rows(closes: dict[date, float | None], splits: dict[date, float] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "date": list(closes),
            "close": list(closes.values()),
            "split_ratio": [(splits or {}).get(day, 1.0) for day in closes],
        },
        schema={"date": pl.Date, "close": pl.Float64, "split_ratio": pl.Float64},
    )


def compared(old: pl.DataFrame, new: pl.DataFrame) -> Beside:
    return beside(Closes.of(old), Closes.of(new))


def days(n: int, first: date = date(2022, 1, 3)) -> list[date]:
    return [first + timedelta(days=number) for number in range(n)]


def test_rows_are_compared_on_the_days_that_both_have_a_close_of() -> None:
    d = days(6)
    old = rows({d[0]: 10.0, d[1]: 11.0, d[2]: 11.0, d[3]: None, d[4]: 12.0})
    new = rows({d[1]: 11.0, d[2]: 11.0, d[3]: 11.5, d[4]: 12.5, d[5]: 3.5}, splits={d[5]: 4.0})
    assert compared(old, new) == Beside(
        sessions=3, equal=2, moved=0, old_last=d[4], new_first=d[1], new_after=d[5], step=3.5 * 4 / 12.0
    )


def test_splits_between_two_symbols_are_no_step() -> None:
    d = days(5)
    # A split on a day without a bar, and one on the first day of the new symbol; one later.
    new = rows({d[2]: None, d[3]: 5.0, d[4]: 1.0}, splits={d[2]: 2.0, d[3]: 3.0, d[4]: 5.0})
    assert compared(rows({d[0]: 29.0, d[1]: 30.0}), new).step == 1.0


def test_rows_of_one_side_alone_are_no_comparison() -> None:
    d = days(2)
    bars, none = rows({d[0]: 1.0, d[1]: 2.0}), rows({})
    assert compared(bars, none) == Beside(old_last=d[1])
    assert compared(none, bars) == Beside(new_first=d[0])


@pytest.mark.parametrize(("off", "equal"), [(0.0, 1), (1e-5, 1), (2e-4, 0)])
def test_closes_are_equal_to_the_precision_they_were_served_with(off: float, equal: int) -> None:
    # Of a split 50:1 after them, prices come in six decimals: what was traded is known to 25 millionths.
    d = days(2)
    new = rows({d[0]: 100.0 + off, d[1]: 2.0}, splits={d[1]: 50.0})
    assert compared(rows({d[0]: 100.0}), new).equal == equal


FACTS = st.builds(
    SymbolFacts,
    first_trade=st.sampled_from([None, LISTED, NEXT, ANEW]),
    name=st.sampled_from([None, "Facebook", "Meta Platforms", "Facebook Marketplace"]),
    currency=st.sampled_from([None, "USD", "EUR"]),
    isin=st.sampled_from([None, APPLE, NESTLE]),
    instrument=st.sampled_from([None, "EQUITY", "ETF"]),
)


@st.composite
def comparisons(draw: st.DrawFn) -> Beside:
    sessions = draw(st.integers(0, 60))
    equal = draw(st.integers(0, sessions))
    ends = draw(st.sampled_from([None, LAST])), draw(st.sampled_from([None, NEXT, ANEW]))
    step = draw(st.sampled_from([None, 0.2, 1.0, 3.0])) if None not in ends else None
    return Beside(sessions, equal, draw(st.integers(0, equal)), ends[0], NEXT, ends[1], step)


@given(FACTS, FACTS, comparisons(), st.booleans())
def test_no_rename_is_ever_guessed(old: SymbolFacts, new: SymbolFacts, prices: Beside, mixed: bool) -> None:
    finding = judge_renamed(old, new, prices, mixed=mixed).finding
    assert finding in (NOTHING, OPEN, RENAMED)
    same_isin = old.isin is not None and old.isin == new.isin
    history = prices.equal >= max(20, 0.99 * prices.sessions) and not mixed
    strong = same_isin or (history and old.first_trade is not None and old.first_trade == new.first_trade)
    if finding is RENAMED:
        assert strong
        assert None in (old.isin, new.isin) or same_isin
        assert same_isin or None in (old.currency, new.currency) or old.currency == new.currency
        assert None in (old.instrument, new.instrument) or old.instrument == new.instrument
    if same_isin or (prices.same_history and not mixed):
        assert finding is not NOTHING


@given(FACTS, FACTS, st.sampled_from([None, LISTED, LAST, NEXT]), st.booleans())
def test_no_reuse_is_ever_guessed(
    before: SymbolFacts, now: SymbolFacts, last: date | None, left: bool
) -> None:
    finding = judge_reused(before, now, last, left=left).finding
    assert finding in (NOTHING, OPEN, REUSED)
    if finding is REUSED:
        assert before.first_trade is not None
        assert now.first_trade is not None
        assert now.first_trade > before.first_trade
        assert left or (last is not None and (now.first_trade - last).days >= 30)
        assert before.isin is None or before.isin != now.isin
        assert same_names(before.name, now.name) is not True
        assert any(
            getattr(before, fact) and getattr(now, fact) and getattr(before, fact) != getattr(now, fact)
            for fact in ("isin", "currency", "instrument", "name")
        )
    # The same facts again say nothing.
    assert judge_reused(before, before, last, left=left).finding is NOTHING
