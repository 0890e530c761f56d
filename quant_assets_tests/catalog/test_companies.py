"""Which company a symbol stands for, as catalogs are made one after the other over a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets import prices
from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.companies import identified, with_company_ids
from quant_assets.catalog.company_review import link, separate
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.catalog.lists import CatalogLists
from quant_assets.exchanges import enabled
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.companies import (
    CompanyEvent,
    CompanyRow,
    Confidence,
    as_events,
    book_of,
    company_id,
    read_book,
    read_company_events,
)
from quant_assets.tables.layout import company_events_key, symbol_facts_key
from quant_assets.tables.listing_events import read_events
from quant_assets_tests.company_desk import Desk, evening, walk
from quant_assets_tests.support import days_between

BEGIN = date(2024, 1, 2)
FB, META = "FB", "META"
LISTED = date(2012, 5, 18)
ISIN = "US30303M1027"


def told(rows: list[CompanyRow]) -> list[tuple[object, ...]]:
    return [
        (row.company_id, row.symbol, row.event.value, row.first, row.last, row.confidence.value)
        for row in rows
    ]


DAYS = days_between(BEGIN, date(2024, 4, 30))
LAST, FIRST = date(2024, 4, 12), date(2024, 4, 15)
OURS = company_id("US", FB, LISTED, None)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def traded(desk: Desk) -> Desk:
    """FB has traded through LAST, and has its id."""
    desk.make(BEGIN, FB)
    desk.learn(BEGIN, FB, LISTED, "Facebook, Inc.")
    desk.make(BEGIN + timedelta(days=1), FB)
    return desk


def test_a_symbol_gets_an_id_once_its_first_trade_date_is_known_and_keeps_it(desk: Desk) -> None:
    assert desk.make(BEGIN, FB) == []
    assert desk.ids() == {FB: None}
    assert desk.store.head(company_events_key("US")) is None
    desk.learn(BEGIN, FB, LISTED, "Facebook, Inc.")
    day = BEGIN + timedelta(days=1)
    assert told(desk.make(day, FB)) == [(OURS, FB, "assigned", LISTED, None, "seen")]
    assert desk.ids() == {FB: OURS} == {FB: "QA-" + OURS[3:]}
    # An ISIN that becomes known later is a fact beside the id; so is another name.
    entry = ConfiguredSymbol(symbol=FB, isin=ISIN)
    assert desk.make(day + timedelta(days=1), entry) == []
    before = desk.store.head(company_events_key("US")), desk.store.head(symbol_facts_key("US"))
    assert desk.make(day + timedelta(days=2), entry) == []
    assert (desk.store.head(company_events_key("US")), desk.store.head(symbol_facts_key("US"))) == before
    assert desk.ids() == {FB: OURS}


def test_an_isin_is_the_id_where_one_is_known(desk: Desk) -> None:
    rows = desk.make(BEGIN, ConfiguredSymbol(symbol=FB, isin=ISIN))
    assert told(rows) == [(ISIN, FB, "assigned", None, None, "seen")]


def test_a_company_that_renamed_keeps_its_id_under_the_new_symbol(traded: Desk) -> None:
    closes = walk(DAYS)
    traded.store_bars({FB: {d: c for d, c in closes.items() if d <= LAST}, META: closes})
    traded.make(FIRST, META)
    traded.learn(FIRST, META, LISTED, "Meta Platforms, Inc.")
    day = FIRST + timedelta(days=1)
    rows = traded.make(day, META)
    assert told(rows) == [
        (OURS, FB, "renamed", LISTED, LAST, "strong"),
        (OURS, META, "renamed", FIRST, None, "strong"),
    ]
    assert rows[0].evidence == (
        "74 of 74 common sessions with equal closes and the same first trade date 2012-05-18, "
        "bars that go on at about the same price (2024-04-12, 2024-04-15)"
    )
    assert traded.ids() == {FB: OURS, META: OURS}
    assert traded.remarks == [
        f"US META: a company's new symbol from 2024-04-15 on ({OURS}): {rows[0].evidence}"
    ]
    listings = read_events(traded.store, "US").select("symbol", "event", "date", "evidence").rows()
    assert listings == [(FB, "renamed", FIRST, f"META now: {rows[0].evidence}")]
    assert traded.make(day + timedelta(days=1), META) == []
    assert read_company_events(traded.store, "US").height == 3


def test_without_a_common_history_the_case_is_open_until_it_is_there(traded: Desk) -> None:
    closes = walk(DAYS)
    old, new = ({d: c for d, c in closes.items() if (d <= LAST) is is_old} for is_old in (True, False))
    traded.store_bars({FB: old, META: new})
    traded.make(FIRST, META)
    traded.learn(FIRST, META, LISTED, "Meta Platforms, Inc.")
    day = FIRST + timedelta(days=1)
    own = company_id("US", META, LISTED, None)
    rows = traded.make(day, META)
    assert told(rows) == [
        (own, META, "assigned", LISTED, None, "seen"),
        (OURS, META, "open", FIRST, None, "weak"),
    ]
    assert traded.ids() == {FB: OURS, META: own}
    assert "quant-assets catalog review" in traded.remarks[0]
    # The same look again is no news; the history that comes in is.
    assert traded.make(day + timedelta(days=1), META) == []
    traded.store_bars({FB: old, META: closes})
    rows = traded.make(day + timedelta(days=2), META)
    assert [(row.symbol, row.event.value) for row in rows] == [(FB, "renamed"), (META, "renamed")]
    assert traded.ids() == {FB: OURS, META: OURS}


def test_two_candidates_are_a_case_for_a_person(traded: Desk) -> None:
    closes = walk(DAYS)
    traded.store_bars({FB: {d: c for d, c in closes.items() if d <= LAST}, META: closes, "MVRS": closes})
    traded.make(FIRST, META, "MVRS")
    for symbol in (META, "MVRS"):
        traded.learn(FIRST, symbol, LISTED, "Meta Platforms, Inc.")
    rows = traded.make(FIRST + timedelta(days=1), META, "MVRS")
    opened = [row for row in rows if row.event.value == "open"]
    assert [(row.company_id, row.symbol) for row in opened] == [(OURS, META), (OURS, "MVRS")]
    assert opened[0].evidence.endswith("; another candidate: MVRS")
    assert not [row for row in rows if row.event.value == "renamed"]


def test_another_company_with_the_same_first_trade_date_is_another_company(traded: Desk) -> None:
    closes = walk(DAYS)
    traded.store_bars({FB: {d: c for d, c in closes.items() if d <= LAST}, META: walk(DAYS, 55.0, seed=5)})
    traded.make(FIRST, META)
    traded.learn(FIRST, META, LISTED, "Metallica Mines")
    rows = traded.make(FIRST + timedelta(days=1), META)
    assert [(row.symbol, row.event.value) for row in rows] == [(META, "assigned")]


def test_the_same_isin_links_two_symbols_without_any_prices(desk: Desk) -> None:
    old = ConfiguredSymbol(symbol=FB, isin=ISIN)
    desk.make(BEGIN, old)
    desk.learn(BEGIN, FB, LISTED, "Facebook, Inc.")
    rows = desk.make(FIRST, ConfiguredSymbol(symbol=META, isin=ISIN))
    assert told(rows) == [
        (ISIN, FB, "renamed", None, BEGIN, "strong"),
        (ISIN, META, "renamed", BEGIN + timedelta(days=1), None, "strong"),
    ]


@pytest.mark.parametrize(
    ("name", "event"),
    [("Fabulous Bakeries", "reused"), ("Facebook Incorporated", "open"), ("Facebook Marketplace", "open")],
)
def test_a_symbol_that_begins_anew_after_a_gap_is_another_company_if_its_name_is(
    traded: Desk, name: str, event: str
) -> None:
    anew = date(2024, 7, 1)
    traded.store_bars({FB: walk([d for d in DAYS if d <= LAST])})
    traded.make(anew, FB)
    traded.learn(anew, FB, anew, name)
    rows = traded.make(anew + timedelta(days=1), FB)
    other = company_id("US", FB, anew, None)
    assert traded.catalog is not None
    since = traded.catalog["company_since"].to_list()
    if event == "reused":
        assert told(rows) == [
            (OURS, FB, "reused", LISTED, LAST, "strong"),
            (other, FB, "reused", anew, None, "strong"),
        ]
        assert rows[0].evidence == (
            "first trade date 2024-07-01 instead of 2012-05-18, 80 days after the last bar, another name "
            "('Facebook, Inc.', 'Fabulous Bakeries')"
        )
        assert (traded.ids(), since) == ({FB: other}, [anew])
    else:
        assert told(rows) == [(OURS, FB, "open", anew, None, "weak")]
        assert (traded.ids(), since) == ({FB: OURS}, [None])
    assert traded.make(anew + timedelta(days=2), FB) == []


def test_a_history_that_the_source_has_shortened_is_nothing(traded: Desk) -> None:
    traded.store_bars({FB: walk(DAYS)})
    traded.learn(FIRST, FB, FIRST, "Facebook, Inc.")
    assert traded.make(FIRST + timedelta(days=1), FB) == []


def test_a_symbol_left_by_a_rename_may_be_taken_at_once(traded: Desk) -> None:
    closes = walk(DAYS)
    traded.store_bars({FB: {d: c for d, c in closes.items() if d <= LAST}, META: closes})
    traded.make(FIRST, META)
    traded.learn(FIRST, META, LISTED, "Meta Platforms, Inc.")
    traded.make(FIRST + timedelta(days=1), META)
    day = FIRST + timedelta(days=7)
    traded.make(day, META, FB)
    traded.learn(day, FB, day, "Fabulous Bakeries")
    rows = traded.make(day + timedelta(days=1), META, FB)
    other = company_id("US", FB, day, None)
    assert [(r.company_id, r.symbol, r.event.value, r.first, r.last) for r in rows] == [
        (OURS, FB, "reused", LISTED, LAST), (other, FB, "reused", day, None),
    ]  # fmt: skip
    assert traded.ids() == {FB: other, META: OURS}


def test_a_new_symbol_that_was_another_ones_shows_nothing_until_a_person_has_decided(traded: Desk) -> None:
    """META was a fund's symbol first: its stored rows are the fund's, and contradict those of FB."""
    # Of one day only the fund's row is there.
    closes = {day: close for day, close in walk(DAYS).items() if day != date(2024, 2, 7)}
    fund = walk([d for d in DAYS if d < date(2024, 3, 1)], 15.0, seed=3)
    traded.store_bars(
        {
            FB: {d: c for d, c in closes.items() if d <= LAST},
            META: fund | {d: closes[d] for d in DAYS if d > LAST},
        }
    )
    day = BEGIN + timedelta(days=2)
    traded.make(day, FB, META)
    traded.learn(day, META, date(2021, 6, 30), "Ball Metaverse ETF", instrument="ETF")
    day += timedelta(days=1)
    traded.make(day, FB, META)
    of_fund = traded.ids()[META]
    traded.make(FIRST, META)
    traded.learn(FIRST, META, LISTED, "Meta Platforms, Inc.")
    day = FIRST + timedelta(days=1)
    rows = traded.make(day, META)
    assert told(rows) == [
        (of_fund, META, "open", LISTED, None, "weak"),
        (OURS, META, "open", FIRST, None, "weak"),
    ]
    assert "the rows under the new symbol may be of two companies" in rows[1].evidence
    day += timedelta(days=1)
    assert traded.make(day, META) == []
    assert traded.catalog is not None
    separate(traded.store, "US", traded.catalog, META, META, FIRST, "", evening(day))
    link(traded.store, "US", FB, META, None, "", evening(day))
    assert traded.make(day + timedelta(days=1), META) == []
    book = read_book(traded.store, "US")
    assert not book.open
    assert [(s.company_id, s.first, s.last) for s in book.of_symbol[META]] == [
        (of_fund, date(2021, 6, 30), max(fund)), (OURS, FIRST, None),
    ]  # fmt: skip
    # What the fund's days say under META is no part of the company's history.
    assert traded.catalog is not None
    rows_read = prices(META, by="company", store=traded.store).collect()
    assert rows_read.select("date", "close").rows() == list(closes.items())
    assert traded.catalog.filter(pl.col("symbol") == META)["company_since"].to_list() == [FIRST]


def test_an_isin_that_two_symbols_have_at_once_is_the_id_of_one(desk: Desk) -> None:
    both = [ConfiguredSymbol(symbol=symbol, isin=ISIN) for symbol in (FB, META)]
    desk.make(BEGIN, *both)
    for symbol in (FB, META):
        desk.learn(BEGIN, symbol, LISTED, "Facebook, Inc.")
    rows = desk.make(BEGIN + timedelta(days=1), *both)
    assert rows == []
    own = company_id("US", META, None, None)
    assert desk.ids() == {FB: ISIN, META: own}
    events = read_company_events(desk.store, "US")
    assert (
        events["evidence"].to_list()[1]
        == f"ISIN {ISIN}; the ISIN {ISIN} is the id of another symbol's company"
    )


def test_a_damaged_ledger_is_named(traded: Desk) -> None:
    traded.store.put(company_events_key("US"), b"junk")
    with pytest.raises(ObjectDamaged, match="company_events"):
        traded.make(FIRST, FB)


def test_symbols_of_other_exchanges_keep_what_is_known_of_them(traded: Desk) -> None:
    us, asx = ConfiguredSymbol(symbol=FB), ConfiguredSymbol(symbol="BHP.AX")
    lists: dict[str, Sequence[ConfiguredSymbol]] = {"US": [us], "ASX": [asx]}
    made = build_catalog(lists, enabled(["US", "ASX"]), traded.catalog, FIRST)
    before = with_company_ids(
        made,
        "ASX",
        book_of(
            as_events(
                [CompanyRow("B", "BHP.AX", CompanyEvent.ASSIGNED, None, None, "", Confidence.SEEN)],
                evening(BEGIN),
            )
        ),
    )
    after, found = identified(
        traded.store, before, traded.catalog, "US", CatalogLists(configured=lists), evening(FIRST)
    )
    assert (found, after.columns) == ([], made.columns)
    assert dict(after.select("symbol", "company_id").iter_rows()) == {"BHP.AX": "B", FB: OURS}


def test_a_symbol_that_has_been_there_before_is_judged_once_the_old_one_ends(traded: Desk) -> None:
    closes = walk(DAYS)
    traded.store_bars({FB: {d: c for d, c in closes.items() if d <= LAST}, META: closes})
    begin = BEGIN + timedelta(days=20)
    traded.make(begin, FB, META)
    traded.learn(begin, META, LISTED, "Meta Platforms, Inc.")
    assert [row.event.value for row in traded.make(begin + timedelta(days=1), FB, META)] == ["assigned"]
    assert traded.make(begin + timedelta(days=40), FB, META) == []
    rows = traded.make(FIRST, META)
    assert [(row.symbol, row.event.value) for row in rows] == [(FB, "renamed"), (META, "renamed")]


def test_two_symbols_that_were_there_from_the_first_day_on_are_no_rename(desk: Desk) -> None:
    closes = walk(DAYS)
    desk.store_bars({FB: {d: c for d, c in closes.items() if d <= LAST}, META: closes})
    desk.make(BEGIN, FB, META)
    for symbol in (FB, META):
        desk.learn(BEGIN, symbol, LISTED, "Facebook, Inc.")
    desk.make(BEGIN + timedelta(days=1), FB, META)
    assert desk.make(FIRST, META) == []


def test_an_open_case_is_judged_again_for_a_month(traded: Desk) -> None:
    closes = walk(DAYS)
    old = {d: c for d, c in closes.items() if d <= LAST}
    traded.store_bars({FB: old, META: {d: c for d, c in closes.items() if d > LAST}})
    traded.make(FIRST, META)
    traded.learn(FIRST, META, LISTED, "Meta Platforms, Inc.")
    day = FIRST + timedelta(days=1)
    assert traded.make(day, META)[-1].event.value == "open"
    assert traded.make(day + timedelta(days=20), META) == []
    traded.store_bars({FB: old, META: closes})
    assert [row.event.value for row in traded.make(day + timedelta(days=30), META)] == ["renamed", "renamed"]


def test_a_company_keeps_the_symbol_that_it_is_known_to_have_moved_to(desk: Desk) -> None:
    closes = walk(DAYS)
    old = {d: c for d, c in closes.items() if d <= LAST}
    desk.store_bars({FB: old, META: closes, "FBX": old})
    for day in (BEGIN, BEGIN + timedelta(days=1)):
        desk.make(day, FB, "FBX")
        for symbol in (FB, "FBX"):
            desk.learn(day, symbol, LISTED, "Facebook, Inc.")
    desk.make(FIRST, "FBX", META)
    desk.learn(FIRST, META, LISTED, "Meta Platforms, Inc.")
    rows = desk.make(FIRST + timedelta(days=1), "FBX", META)
    assert [(row.symbol, row.event.value) for row in rows] == [(FB, "renamed"), (META, "renamed")]
    # Another one with the same history ends: what has been found stands.
    assert desk.make(FIRST + timedelta(days=2), META) == []
    assert desk.ids()[META] == OURS


def test_a_symbol_is_given_away_before_it_is_judged_as_a_new_one(desk: Desk) -> None:
    """META was of a company that is gone; FB is META since, and the source tells both on one day."""
    closes, ended = walk(DAYS), date(2012, 2, 1)
    desk.make(BEGIN, FB)
    desk.learn(BEGIN, FB, LISTED, "Facebook, Inc.")
    desk.make(BEGIN + timedelta(days=1), FB, META)
    desk.learn(BEGIN + timedelta(days=1), META, date(2005, 3, 1), "Metallica Mines")
    desk.make(BEGIN + timedelta(days=2), FB, META)
    desk.store_bars({META: {ended: 3.0}}, year=2012)
    desk.store_bars({FB: {d: c for d, c in closes.items() if d <= LAST}, META: closes})
    desk.make(FIRST, META)
    desk.learn(FIRST, META, LISTED, "Facebook, Inc.")
    day = FIRST + timedelta(days=1)
    assert [row.event.value for row in desk.make(day, META)] == ["reused", "reused"]
    rows = desk.make(day + timedelta(days=1), META)
    assert told(rows) == [
        (OURS, FB, "renamed", LISTED, LAST, "strong"), (OURS, META, "renamed", FIRST, None, "strong"),
    ]  # fmt: skip


def test_of_two_isins_that_of_the_first_list_counts(desk: Desk) -> None:
    lists = CatalogLists(
        configured={"US": [ConfiguredSymbol(symbol=FB, isin=ISIN)]},
        members={"US": {"index": [ConfiguredSymbol(symbol=FB, isin="US0378331005")]}},
    )
    made = build_catalog(lists.configured, enabled(["US"]), None, BEGIN, lists.members)
    _, found = identified(desk.store, made, None, "US", lists, evening(BEGIN))
    assert [row.company_id for row in found] == [ISIN]


@pytest.mark.parametrize("said", [None, "US0378331005", ISIN])
def test_an_isin_of_the_company_before_says_nothing_of_the_next_one(desk: Desk, said: str | None) -> None:
    anew, first = date(2024, 7, 1), ConfiguredSymbol(symbol=FB, isin=ISIN)
    desk.store_bars({FB: walk([d for d in DAYS if d <= LAST])})
    desk.make(BEGIN, first)
    desk.learn(BEGIN, FB, LISTED, "Facebook, Inc.")
    desk.make(BEGIN + timedelta(days=1), first)
    second = ConfiguredSymbol(symbol=FB, isin=said)
    desk.make(anew, second)
    desk.learn(anew, FB, anew, "Zebra Bakeries")
    rows = desk.make(anew + timedelta(days=1), second)
    if said == ISIN:
        # The list goes on saying it: that contradicts the rest.
        assert told(rows) == [(ISIN, FB, "open", anew, None, "weak")]
        return
    other = company_id("US", FB, anew, said)
    assert told(rows) == [
        (ISIN, FB, "reused", None, LAST, "strong"), (other, FB, "reused", anew, None, "strong"),
    ]  # fmt: skip
    # The first one goes on under a symbol of its own: the ISIN leads to it, not to the next one.
    desk.make(anew + timedelta(days=2), second, ConfiguredSymbol(symbol=META, isin=ISIN))
    assert desk.ids() == {FB: other, META: ISIN}
