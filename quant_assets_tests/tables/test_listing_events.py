"""What was learned of listings, by value: who is filled, who is left out, what is appended."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import events_key
from quant_assets.tables.listing_events import (
    LISTING_EVENTS_SCHEMA,
    Confidence,
    Event,
    ListingEvent,
    Standing,
    State,
    append_events,
    learn_first_trades,
    learn_reactivations,
    read_events,
    standings,
    with_learned,
)
from quant_assets.tables.parquet import encode

DAY, GONE = date(2024, 3, 15), date(2024, 5, 2)
NOW = datetime(2024, 3, 16, tzinfo=UTC)
TOLD = "first trade date stated by the price source"


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def test_who_left_without_ever_having_traded_is_left_out(store: LocalObjectStore) -> None:
    columns = dict.fromkeys(("listed_on", "delisted_on", "stated_delisting"), pl.Date)
    rows = [
        ("CONFIGURED", DAY, None, None),
        ("NEW", None, None, None),
        ("LEFT", DAY, GONE, None),
        ("NEVER", None, GONE, None),
        ("STATED", None, GONE, GONE),
        ("LEARNED", None, GONE, None),
    ]
    catalog = pl.DataFrame(rows, schema={"symbol": pl.String, **columns}, orient="row")
    learn_first_trades(store, "US", catalog, {"LEARNED": DAY}, NOW)
    found = with_learned(store, "US", catalog)
    assert found.select("symbol", "listed_on").rows() == [
        ("CONFIGURED", DAY), ("NEW", None), ("LEFT", DAY), ("STATED", None), ("LEARNED", DAY),
    ]  # fmt: skip
    assert found.columns == catalog.columns
    # A catalog of an earlier release does not say who stated it.
    assert with_learned(store, "US", catalog.drop("stated_delisting"))["symbol"].len() == 6


def test_only_first_trades_that_nobody_knows_are_appended(store: LocalObjectStore) -> None:
    catalog = pl.DataFrame(
        {"symbol": ["A", "B", "C"], "listed_on": [DAY, None, None]},
        schema={"symbol": pl.String, "listed_on": pl.Date},
    )
    other = [("C", "renamed", DAY, "somebody said so", "stated", NOW)]
    store.put(events_key("US"), encode(pl.DataFrame(other, schema=LISTING_EVENTS_SCHEMA, orient="row"), {}))
    learn_first_trades(store, "US", catalog, {"C": DAY, "B": GONE, "A": GONE}, NOW)
    assert read_events(store, "US").rows() == [
        *other,
        ("B", "first_trade", GONE, TOLD, "stated", NOW),
        ("C", "first_trade", DAY, TOLD, "stated", NOW),
    ]
    assert with_learned(store, "US", catalog)["listed_on"].to_list() == [DAY, GONE, DAY]
    before = store.head(events_key("US"))
    learn_first_trades(store, "US", catalog, {"C": DAY, "A": GONE}, NOW)
    assert store.head(events_key("US")) == before


def test_a_first_trade_that_the_source_takes_back_counts_no_more(store: LocalObjectStore) -> None:
    """Also where the clock was held at an earlier moment when it did."""
    catalog = pl.DataFrame({"symbol": ["A"]}).with_columns(listed_on=pl.lit(None, pl.Date))
    for at, told in enumerate((DAY, GONE, DAY, DAY)):
        learn_first_trades(store, "US", catalog, {"A": told}, NOW - timedelta(at))
        assert with_learned(store, "US", catalog)["listed_on"].to_list() == [told]
    assert read_events(store, "US")["date"].to_list() == [DAY, GONE, DAY]


def event(symbol: str, what: Event, day: date) -> ListingEvent:
    return ListingEvent(symbol, what, day, "words", Confidence.SEEN)


def test_a_ledger_of_an_earlier_release_is_read_and_goes_on(store: LocalObjectStore) -> None:
    former = {name: kind for name, kind in LISTING_EVENTS_SCHEMA.items() if name != "confidence"}
    rows = [("A", "first_trade", DAY, TOLD, NOW)]
    store.put(events_key("US"), encode(pl.DataFrame(rows, schema=former, orient="row"), {}))
    assert read_events(store, "US").schema == LISTING_EVENTS_SCHEMA
    assert read_events(store, "US").rows() == [("A", "first_trade", DAY, TOLD, "stated", NOW)]
    news = append_events(
        store, "US", [event("A", Event.DELISTED, GONE), event("A", Event.FIRST_TRADE, DAY)], NOW
    )
    assert news.rows() == [("A", "delisted", GONE, "words", "seen", NOW)]
    assert read_events(store, "US").schema == LISTING_EVENTS_SCHEMA
    assert read_events(store, "US")["event"].to_list() == ["first_trade", "delisted"]


def test_an_event_is_news_once_and_again_when_the_state_was_another_since(store: LocalObjectStore) -> None:
    delisted, back = event("A", Event.DELISTED, DAY), event("A", Event.REACTIVATED, GONE)
    assert append_events(store, "US", [delisted, delisted, event("B", Event.DELISTED, DAY)], NOW).height == 2
    before = store.head(events_key("US"))
    for again in ([delisted], []):
        assert append_events(store, "US", again, NOW).is_empty()
    assert store.head(events_key("US")) == before
    assert append_events(store, "US", [back, delisted, event("A", Event.RENAMED, GONE)], NOW).height == 3
    assert append_events(store, "US", [delisted, event("A", Event.RENAMED, GONE)], NOW).is_empty()


def test_where_the_ledger_leaves_symbols(store: LocalObjectStore) -> None:
    told = [
        *(event("A", what, DAY) for what in (Event.SUSPECT, Event.RESUMED, Event.SUSPENDED)),
        event("B", Event.DELISTED, DAY),
        event("C", Event.DELISTED, DAY), event("C", Event.REACTIVATED, GONE), event("C", Event.SUSPECT, GONE),
        event("D", Event.FIRST_TRADE, DAY), event("D", Event.RENAMED, DAY),
    ]  # fmt: skip
    append_events(store, "US", told, NOW)
    assert standings(read_events(store, "US")) == {
        "A": Standing(State.SUSPENDED, DAY),
        "B": Standing(State.DELISTED, DAY, DAY),
        "C": Standing(State.SUSPECT, GONE, DAY, GONE),
    }


def test_a_learned_delisting_ends_what_is_expected_and_a_stated_one_wins(store: LocalObjectStore) -> None:
    columns = dict.fromkeys(("listed_on", "delisted_on", "stated_delisting"), pl.Date)
    later = GONE + timedelta(days=90)
    rows = [
        ("LISTED", DAY, None, None),
        ("LEFT", DAY, later, None),
        ("STATED", DAY, later, later),
        ("BACK", DAY, None, None),
        ("OTHER", DAY, None, None),
    ]
    catalog = pl.DataFrame(rows, schema={"symbol": pl.String, **columns}, orient="row")
    told = [event(name, Event.DELISTED, GONE) for name in ("LISTED", "LEFT", "STATED", "BACK", "NOT LISTED")]
    append_events(store, "US", [*told, event("BACK", Event.REACTIVATED, later)], NOW)
    found = with_learned(store, "US", catalog)
    assert found["delisted_on"].to_list() == [GONE, GONE, later, None, None]
    assert found.schema == catalog.schema
    # What a caller states without saying so is stated as well.
    plain = with_learned(store, "US", catalog.drop("stated_delisting"))
    assert plain["delisted_on"].to_list() == [GONE, later, later, None, None]


def test_bars_after_the_last_day_bring_back_who_is_delisted_and_nobody_else(store: LocalObjectStore) -> None:
    append_events(store, "US", [event(name, Event.DELISTED, DAY) for name in ("A", "B", "C")], NOW)
    append_events(store, "US", [event("C", Event.REACTIVATED, GONE)], NOW)
    learn_reactivations(store, "US", {"A": GONE, "B": DAY, "C": GONE, "D": GONE}, NOW)
    assert read_events(store, "US").filter(pl.col("event") == "reactivated").select("symbol", "date").rows() == [
        ("C", GONE), ("A", GONE),
    ]  # fmt: skip
