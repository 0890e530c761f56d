"""What users read: right whether or not a year has been compacted, adjusted as worked out by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bokeh_sampledata import stocks
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.catalog.build import build_catalog
from quant_assets.catalog.configured import ConfiguredSymbol
from quant_assets.exchanges import enabled
from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.coverage import CellState
from quant_assets.market.restatements import RESTATEMENTS_SCHEMA
from quant_assets.market.weekly import WEEKLY_SCHEMA
from quant_assets.reader import (
    SnapshotMismatch,
    listing_events,
    prices,
    profiles,
    snapshot_id,
    to_pandas,
    universe,
    weekly,
)
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import (
    Blob,
    ObjectChanged,
    ObjectDamaged,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
)
from quant_assets.resources.open_store import open_store
from quant_assets.tables.daily import read_daily
from quant_assets.tables.layout import CATALOG, DAILY, HISTORY, PROFILES, WEEKLY, object_key
from quant_assets.tables.listing_events import Confidence, Event, ListingEvent, append_events
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode, read_facts
from quant_assets.tables.ranged import footers
from quant_assets.tables.restatements import LEDGER_SCHEMA, Ledger
from quant_assets_tests.gcs_proxy import fault_proxy

KNOWN = datetime(2024, 1, 10, tzinfo=UTC)
LAST_YEAR, MON, TUE, WED = date(2023, 12, 29), date(2024, 1, 8), date(2024, 1, 9), date(2024, 1, 10)


def bar(symbol: str, day: date, close: float | None, **more: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "date": day,
        **dict.fromkeys(("open", "high", "low", "close"), close),
        "volume": 0 if close is None else 100,
        "dividend": 0.0,
        "split_ratio": 1.0,
        "currency": "AUD" if symbol.endswith(".AX") else "USD",
        "flags": "",
        "fetched_at": KNOWN,
        **more,
    }


# Two for one on Monday, half a dollar on Wednesday; Yahoo would have served 99, 49.5 and 50 before Wednesday.
IBM = [
    bar("IBM", LAST_YEAR, 198.0),
    bar("IBM", MON, 99.0, split_ratio=2.0, volume=200),
    bar("IBM", TUE, 100.0),
    bar("IBM", WED, 98.0, dividend=0.5),
]
MSFT = [bar("MSFT", day, 10.0) for day in (LAST_YEAR, TUE, WED)]
BHP = [bar("BHP.AX", MON, 40.0), bar("BHP.AX", TUE, None, dividend=1.0), bar("BHP.AX", WED, 39.0)]


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=DAILY_SCHEMA).sort("symbol", "date")


def told(*rows: dict[str, Any]) -> pl.DataFrame:
    """What `prices` makes of the rows."""
    of_asx = pl.col("symbol").str.ends_with(".AX")
    return frame(*rows).with_columns(exchange=pl.when(of_asx).then(pl.lit("ASX")).otherwise(pl.lit("US")))


def put(
    store: ObjectStore, table: str, exchange: str, partition: str, rows: pl.DataFrame, **facts: Any
) -> None:
    """Puts one partition and records it, as a run does."""
    entry = Entry(partition, CellState.COMPLETE, rows=rows.height)
    key = object_key(table, exchange, partition)
    info = store.put(key, encode(rows, entry.facts() | facts))
    content = read_facts(store.get(key).data, key)["content_sha256"]
    Manifest(store, table).record(
        exchange, [replace(entry, version=info.version, size=info.size, content_sha256=content)]
    )


def put_cells(store: ObjectStore, exchange: str, *rows: dict[str, Any]) -> None:
    for (day,), cell in frame(*rows).partition_by("date", as_dict=True).items():
        put(store, DAILY, exchange, str(day), cell)


def compact(store: ObjectStore, exchange: str, year: int) -> None:
    """Makes the year's history of the cells as they stand."""
    cells = {p: e.content_sha256 for p, e in Manifest(store, DAILY).year(exchange, year).items() if e.version}
    rows = pl.concat(
        pl.read_parquet(store.uri(object_key(DAILY, exchange, partition))) for partition in cells
    )
    put(store, HISTORY, exchange, str(year), rows.sort("symbol", "date"), cells=cells)


def with_catalog(folder: Path) -> LocalObjectStore:
    store = LocalObjectStore(folder)
    exchanges = enabled(["US", "ASX"])
    lists = {
        "US": [ConfiguredSymbol(symbol=s) for s in ("IBM", "MSFT", "NEW")],
        "ASX": [ConfiguredSymbol(symbol="BHP.AX")],
    }
    store.put(object_key(CATALOG), encode(build_catalog(lists, exchanges, None, WED), {}))
    return store


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = with_catalog(tmp_path)
    put_cells(store, "US", *IBM, *MSFT)
    put_cells(store, "ASX", *BHP)
    return store


# --- prices


@pytest.mark.parametrize("compacted", [False, True])
def test_prices_are_as_traded_unless_asked_otherwise(store: LocalObjectStore, compacted: bool) -> None:
    if compacted:
        compact(store, "US", 2023)
        compact(store, "US", 2024)
    assert_frame_equal(prices(["IBM", "BHP.AX"], store=store).collect(), told(*IBM, *BHP), check_exact=True)
    assert_frame_equal(prices("IBM", "2024-01-08", TUE, store=store).collect(), told(*IBM[1:3]))
    assert_frame_equal(prices("IBM", WED, store=store.location).collect(), told(IBM[3]))
    assert_frame_equal(prices("IBM", end=LAST_YEAR, store=Path(store.location)).collect(), told(IBM[0]))


def test_split_adjusted_prices_are_on_the_basis_of_the_last_session(store: LocalObjectStore) -> None:
    adjusted = prices("IBM", adjust="split", store=store).collect()
    assert adjusted["close"].to_list() == [99.0, 99.0, 100.0, 98.0]
    assert adjusted["volume"].to_list() == [200.0, 200.0, 100.0, 100.0]
    assert adjusted["split_ratio"].to_list() == [1.0, 2.0, 1.0, 1.0]


def test_total_return_is_as_worked_out_by_hand(store: LocalObjectStore) -> None:
    yahoo = prices("IBM", adjust="total_return", store=store).collect()["close"].to_list()
    assert yahoo == pytest.approx([99 * 0.995, 99 * 0.995, 100 * 0.995, 98])
    ex_day = (
        prices("IBM", adjust="total_return", reinvest="ex_close", store=store).collect()["close"].to_list()
    )
    factor = 1 / (1 + 0.5 / 98)
    assert ex_day == pytest.approx([99 * factor, 99 * factor, 100 * factor, 98])
    # The ex-date had no bar: the day before and the day after it bound the dividend.
    bhp = prices("BHP.AX", adjust="total_return", store=store).collect()["close"].to_list()
    assert bhp == [pytest.approx(40 * (1 - 1 / 40)), None, 39.0]


def test_a_range_is_adjusted_by_what_came_after_it(store: LocalObjectStore) -> None:
    for how in ("split", "total_return"):
        whole = prices("IBM", adjust=how, store=store).collect()
        for first, last in ((None, LAST_YEAR), (MON, TUE), (WED, None)):
            part = prices("IBM", first, last, how, store=store).collect()
            expected = whole.filter(pl.col("date").is_between(first or date.min, last or date.max))
            assert_frame_equal(part, expected)


def test_a_symbol_without_a_bar_yet_has_no_rows(store: LocalObjectStore) -> None:
    for wanted in ("NEW", []):
        empty = prices(wanted, store=store).collect()
        assert empty.is_empty()
        assert empty.schema == pl.Schema({**DAILY_SCHEMA, "exchange": pl.String})


def test_asking_twice_for_a_symbol_answers_once(store: LocalObjectStore) -> None:
    assert prices(["MSFT", "IBM", "MSFT"], store=store).collect().height == len(MSFT) + len(IBM)


def test_unknown_symbols_are_named(store: LocalObjectStore) -> None:
    for read in (prices, weekly):
        with pytest.raises(ValueError, match=r"not in the catalog: APPL, NOPE; universe\(\) lists"):
            read(["IBM", "APPL", "NOPE"], store=store).collect()


def test_unknown_ways_to_adjust_are_named(store: LocalObjectStore) -> None:
    with pytest.raises(ValueError, match="'dividends'"):
        prices("IBM", adjust="dividends", store=store).collect()  # type: ignore[arg-type]


def test_the_store_is_the_one_of_the_settings_unless_named(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_ASSETS_STORE", store.location)
    assert prices("IBM").collect().equals(told(*IBM))


# --- newer cells over history


@pytest.mark.parametrize("symbols", [None, ["IBM"], ["IBM", "MSFT"]])
def test_cells_newer_than_the_history_lie_over_it(store: LocalObjectStore, symbols: list[str] | None) -> None:
    compact(store, "US", 2024)
    restated = bar("IBM", TUE, 101.0)
    thursday = bar("IBM", date(2024, 1, 11), 97.0)
    # MSFT has no row in Tuesday's new cell: what the history has of it is gone too.
    put_cells(store, "US", restated, thursday)
    rows = read_daily(store, "US", symbols=symbols)
    expected = frame(*IBM[:2], restated, IBM[3], thursday, MSFT[0], MSFT[2])
    wanted = expected if symbols is None else expected.filter(pl.col("symbol").is_in(symbols))
    assert_frame_equal(rows, wanted, check_exact=True)


def test_a_cell_that_says_the_same_is_not_read_again(store: LocalObjectStore) -> None:
    compact(store, "US", 2024)
    for day in (MON, TUE, WED):
        store.put(object_key(DAILY, "US", str(day)), b"not to be read")
    assert read_daily(store, "US", MON).equals(frame(*IBM[1:], *MSFT[1:]))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(["put", "compact"]), st.integers(1, 4), st.integers(1, 9)), max_size=8)
)
def test_reads_are_the_latest_cells_whenever_the_year_was_compacted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    store = with_catalog(tmp_path_factory.mktemp("overlay"))
    latest: dict[int, dict[str, Any]] = {}
    for step, day, close in steps:
        if step == "put":
            latest[day] = bar("IBM", date(2024, 1, day), float(close))
            put_cells(store, "US", latest[day])
        elif latest:
            compact(store, "US", 2024)
    assert_frame_equal(read_daily(store, "US"), frame(*latest.values()))
    assert_frame_equal(prices("IBM", store=store).collect(), told(*latest.values()))


# --- the other tables


def test_the_universe_and_the_profiles_are_read_whole(store: LocalObjectStore) -> None:
    assert universe(store=store).collect()["symbol"].to_list() == ["BHP.AX", "IBM", "MSFT", "NEW"]
    with pytest.raises(ObjectNotFound, match=r"no profiles of 'US' in .*: there are those of no exchange"):
        profiles("US", store=store).collect()
    store.put(object_key(PROFILES, "US"), encode(pl.DataFrame({"symbol": ["IBM"]}), {}))
    assert profiles("US", store=store).collect()["symbol"].to_list() == ["IBM"]
    with pytest.raises(
        ObjectNotFound, match=r"no profiles of 'LSE' in .*: there are those of US; a backfill"
    ):
        profiles("LSE", store=store).collect()


def test_the_ledger_of_listings_is_read_by_exchange(store: LocalObjectStore) -> None:
    moment = datetime(2024, 3, 15, 22, tzinfo=UTC)
    told = ListingEvent("IBM", Event.DELISTED, date(2024, 3, 1), "no bar", Confidence.TWO_KINDS)
    append_events(store, "US", [told], moment)
    assert listing_events("US", store=store).collect().rows() == [
        ("IBM", "delisted", date(2024, 3, 1), "no bar", "two_kinds", moment)
    ]
    assert listing_events("LSE", store=store).collect().is_empty()
    with pytest.raises(ValueError, match="unknown exchange: NYSE"):
        listing_events("NYSE", store=store).collect()


def test_weeks_are_bounded_by_their_mondays(store: LocalObjectStore) -> None:
    def week(monday: date) -> pl.DataFrame:
        rows = [{"symbol": symbol, "week": monday} for symbol in ("MSFT", "IBM")]
        return pl.DataFrame(rows, schema=WEEKLY_SCHEMA)

    assert weekly("IBM", store=store).collect().schema == pl.Schema({**WEEKLY_SCHEMA, "exchange": pl.String})
    mondays = [date(2023, 12, 25), date(2024, 1, 1), date(2024, 1, 8)]
    for monday in mondays:
        put(store, WEEKLY, "US", str(monday), week(monday))
    everything = weekly(["MSFT", "IBM", "BHP.AX"], store=store).collect()
    assert everything.select("symbol", "week").rows() == [(s, m) for s in ("IBM", "MSFT") for m in mondays]
    some = weekly("IBM", "2024-01-01", date(2024, 1, 7), store=store).collect()
    assert some.select("symbol", "week").rows() == [("IBM", mondays[1])]


# --- what was known at a moment


LEARNED = datetime(2024, 1, 12, 9, tzinfo=UTC)


def restate(store: ObjectStore, old: dict[str, Any], *, at: datetime = LEARNED, **values: Any) -> None:
    """Replaces a row as a run does: on record first, then in its cell."""
    new = {**old, **values, "fetched_at": at}
    told = [
        (old["symbol"], old["date"], name, str(old[name]), str(value), "correction", old["date"], 1, at)
        for name, value in values.items()
    ]
    events = pl.DataFrame(
        told, schema={**RESTATEMENTS_SCHEMA, "detected_at": LEDGER_SCHEMA["detected_at"]}, orient="row"
    )
    Ledger(store, "US").record(events, frame(old), frame(new), "run")
    cell = pl.read_parquet(store.uri(object_key(DAILY, "US", str(old["date"]))))
    others = cell.filter(pl.col("symbol") != old["symbol"]).to_dicts()
    put_cells(store, "US", *others, new)


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(
    "as_of",
    [
        LEARNED - timedelta(microseconds=1),
        (LEARNED - timedelta(microseconds=1)).astimezone(timezone(timedelta(hours=11))),
        "2024-01-12T08:59:59+00:00",
        "2024-01-12T08:59:59Z",
        "2024-01-11",
        date(2024, 1, 11),
        date(2024, 1, 10),
    ],
    ids=str,
)
def test_a_read_as_of_a_moment_is_what_a_reader_got_then(
    store: LocalObjectStore, as_of: Any, compacted: bool
) -> None:
    before = prices(["IBM", "MSFT", "BHP.AX"], store=store).collect()
    restate(store, IBM[2], close=101.0, high=101.0)
    put_cells(store, "US", bar("IBM", date(2024, 1, 11), 97.0, fetched_at=LEARNED))
    if compacted:
        compact(store, "US", 2024)
    assert prices(["IBM", "MSFT", "BHP.AX"], as_of=as_of, store=store).collect().equals(before)
    now = prices("IBM", store=store).collect()
    assert now["close"].to_list() == [198.0, 99.0, 101.0, 98.0, 97.0]
    for later in (
        LEARNED,
        LEARNED + timedelta(days=9),
        date(2024, 1, 12),
        "2024-01-12",
        "2024-01-12T20:00:00+11:00",
    ):
        assert prices("IBM", as_of=later, store=store).collect().equals(now)


def test_of_a_value_restated_twice_each_version_is_known_in_its_time(store: LocalObjectStore) -> None:
    second = LEARNED + timedelta(days=370)
    restate(store, IBM[2], close=101.0, high=101.0)
    restate(store, {**IBM[2], "close": 101.0, "high": 101.0, "fetched_at": LEARNED}, close=99.5, at=second)

    def close(as_of: datetime | None) -> float:
        return float(prices("IBM", TUE, TUE, as_of=as_of, store=store).collect()["close"].item())

    assert [close(LEARNED - timedelta(seconds=1)), close(LEARNED), close(second - timedelta(seconds=1))] == [
        100.0, 101.0, 101.0,
    ]  # fmt: skip
    assert [close(second), close(None)] == [99.5, 99.5]


def test_high_and_low_are_read_as_served_or_widened_to_open_and_close(store: LocalObjectStore) -> None:
    thin = bar("IBM", date(2024, 1, 11), 97.0, flags="close_outside_range,open_outside_range")
    put_cells(store, "US", {**thin, "open": 99.0, "high": 98.0, "low": 97.5, "close": 97.0})
    days = {"start": date(2024, 1, 8), "store": store}
    served = prices("IBM", **days).collect()
    assert prices("IBM", envelope="as_served", **days).collect().equals(served)
    assert served.row(-1, named=True)["flags"] == thin["flags"]
    assert served.select("high", "low").row(-1) == (98.0, 97.5)
    wide = prices("IBM", envelope="widened", **days).collect()
    assert wide.select("high", "low").row(-1) == (99.0, 97.0)
    assert wide.head(-1).equals(served.head(-1))
    assert wide.drop("high", "low").equals(served.drop("high", "low"))
    for how in ("split", "total_return"):
        adjusted = prices("IBM", adjust=how, envelope="widened", **days).collect()
        within = pl.col("open").is_between("low", "high") & pl.col("close").is_between("low", "high")
        assert adjusted.filter(pl.col("close").is_not_null()).select(within.all()).item()


@pytest.mark.parametrize("envelope", ["wide", "", None])
def test_an_unknown_envelope_is_refused_by_name(store: LocalObjectStore, envelope: Any) -> None:
    with pytest.raises(ValueError, match=f'envelope is "as_served" or "widened", not {envelope!r}'):
        prices("IBM", envelope=envelope, store=store).collect()


def test_a_dividend_in_doubt_is_not_applied_and_named(store: LocalObjectStore) -> None:
    plain = prices("IBM", adjust="total_return", end=WED, store=store).collect()
    held = bar("IBM", date(2024, 1, 11), 97.0, dividend=None, flags="dividend_held", fetched_at=LEARNED)
    put_cells(store, "US", held)
    with pytest.warns(
        UserWarning, match=r"1 dividend\(s\) are in doubt and not applied, the first of IBM on 2024-01-11"
    ):
        after = prices("IBM", adjust="total_return", store=store).collect()
    assert after.head(-1).equals(plain)
    assert after["dividend"].to_list()[-1] is None


def test_only_actions_known_by_then_are_applied(store: LocalObjectStore) -> None:
    ways: list[dict[str, Any]] = [
        {"adjust": "split"}, {"adjust": "total_return"}, {"adjust": "total_return", "reinvest": "ex_close"},
    ]  # fmt: skip
    before = [prices("IBM", store=store, **way).collect() for way in ways]
    restate(store, IBM[2], dividend=2.0)
    put_cells(store, "US", bar("IBM", date(2024, 1, 11), 49.0, split_ratio=2.0, fetched_at=LEARNED))
    for way, rows in zip(ways, before, strict=True):
        now = prices("IBM", store=store, **way).collect()
        assert now["close"][0] < 0.51 * rows["close"][0]
        assert prices("IBM", as_of=LEARNED - timedelta(seconds=1), store=store, **way).collect().equals(rows)
        # Also where the range ends before the action.
        part = prices("IBM", end=TUE, as_of=date(2024, 1, 11), store=store, **way).collect()
        assert part.equals(rows.filter(pl.col("date") <= TUE))


def test_before_anything_was_known_there_is_nothing_and_a_warning_names_the_first_moment(
    store: LocalObjectStore,
) -> None:
    early = KNOWN - timedelta(seconds=1)
    first = "the first row became known at 2024-01-10T00:00:00Z"
    said = "as_of=2024-01-09T23:59:59Z: nothing was known yet of {}; " + first
    for how in ("none", "split", "total_return"):
        with pytest.warns(UserWarning, match="as_of") as warned:
            nothing = prices(["IBM", "MSFT", "BHP.AX"], adjust=how, as_of=early, store=store).collect()
        assert nothing.is_empty()
        assert [str(one.message) for one in warned if "as_of" in str(one.message)] == [
            said.format("IBM, MSFT"), said.format("BHP.AX"),
        ]  # fmt: skip
        assert {one.filename for one in warned} == {__file__}
    # What was replaced since was known before.
    restate(store, IBM[2], close=101.0, high=101.0)
    with pytest.warns(UserWarning, match=said.format("IBM")):
        prices("IBM", TUE, TUE, as_of=early, store=store).collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prices("IBM", as_of=KNOWN, store=store).collect().height == len(IBM)
        # A symbol without a bar, and days without one, are nothing that became known later.
        assert prices("NEW", as_of=early, store=store).collect().is_empty()
        assert prices("IBM", "2030-01-01", as_of=KNOWN, store=store).collect().is_empty()


def test_days_that_were_never_asked_for_are_told_from_a_symbol_without_prices(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(
        UserWarning, match="no session of US from 2024-02-01 on has a cell: nothing was ever asked"
    ):
        assert prices("IBM", "2024-02-01", store=store).collect().is_empty()
    with pytest.warns(UserWarning, match="no session of US from 2020-01-02 through 2020-03-02 has a cell"):
        assert prices("IBM", "2020-01-02", "2020-03-02", store=store).collect().is_empty()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # There was a session with others; and what is still to come was not to be asked for.
        assert prices("NEW", MON, WED, store=store).collect().is_empty()
        monkeypatch.setenv("QUANT_ASSETS_NOW", "2024-02-01T12:00:00Z")
        assert prices("IBM", "2024-02-01", store=store).collect().is_empty()


def test_a_moment_without_its_zone_is_refused(store: LocalObjectStore) -> None:
    for naive in (datetime(2024, 1, 12, 9), "2024-01-12T09:00:00"):  # noqa: DTZ001
        with pytest.raises(ValueError, match=r"as_of=2024-01-12T09:00:00 has no time zone: add one, e.g. Z"):
            prices("IBM", as_of=naive, store=store).collect()
    with pytest.raises(ValueError, match=r"as_of='yesterday' is no moment: write 2013-03-01 or"):
        prices("IBM", as_of="yesterday", store=store).collect()


@pytest.mark.parametrize("text", ["2013-02-30", "2012", "soon"])
def test_a_bound_that_is_no_date_is_named(store: LocalObjectStore, text: str) -> None:
    for read in (prices, weekly):
        for bounds in ((text,), (None, text)):
            with pytest.raises(ValueError, match=f"'{text}' is no date: write YYYY-MM-DD"):
                read("IBM", *bounds, store=store).collect()


# --- snapshots


READS: list[dict[str, Any]] = [
    {},
    {"start": MON, "end": TUE},
    {"adjust": "split"},
    {"adjust": "total_return", "end": TUE},
]


@pytest.mark.parametrize("how", READS, ids=str)
def test_a_snapshot_is_read_again_whatever_has_been_restated_since(
    store: LocalObjectStore, how: dict[str, Any]
) -> None:
    snapshot = snapshot_id(["IBM", "MSFT"], store=store, **how)
    before = prices(["IBM", "MSFT"], store=store, **how).collect()
    assert snapshot == snapshot_id(["IBM", "MSFT"], store=store, **how)
    compact(store, "US", 2024)
    restate(store, IBM[1], close=99.5)
    restate(store, MSFT[1], volume=7, at=LEARNED + timedelta(days=1))
    put_cells(store, "US", bar("IBM", date(2024, 1, 11), 49.0, split_ratio=2.0, fetched_at=LEARNED))
    assert not prices(["IBM", "MSFT"], store=store, **how).collect().equals(before)
    assert prices(["IBM", "MSFT"], snapshot=snapshot, store=store, **how).collect().equals(before)
    assert snapshot_id(["IBM", "MSFT"], store=store, **how) != snapshot


def test_a_snapshot_of_nothing_can_be_read_again(store: LocalObjectStore) -> None:
    snapshot = snapshot_id("NEW", store=store)
    put_cells(store, "US", bar("NEW", date(2024, 1, 11), 1.0, fetched_at=LEARNED))
    assert prices("NEW", snapshot=snapshot, store=store).collect().is_empty()
    assert prices("NEW", store=store).collect().height == 1


def test_a_snapshot_read_with_other_arguments_is_refused(store: LocalObjectStore) -> None:
    snapshot = snapshot_id("IBM", store=store)
    for symbols, how in (("MSFT", {}), (["IBM", "MSFT"], {}), ("IBM", {"start": TUE}), ("IBM", {"end": MON})):
        with pytest.raises(SnapshotMismatch, match=rf"{snapshot} read: other arguments, or rows"):
            prices(symbols, snapshot=snapshot, store=store, **how).collect()  # type: ignore[arg-type]


@pytest.mark.parametrize("tampered", ["value", "moment", "removed"])
def test_a_snapshot_of_a_store_that_was_changed_without_the_ledger_is_refused(
    store: LocalObjectStore, tampered: str
) -> None:
    snapshot = snapshot_id("IBM", store=store)
    assert prices("IBM", snapshot=snapshot, store=store).collect().equals(told(*IBM))
    if tampered == "removed":
        put_cells(store, "US", MSFT[1])
    else:
        change = {"close": 100.01} if tampered == "value" else {"fetched_at": KNOWN - timedelta(days=1)}
        put_cells(store, "US", {**IBM[2], **change}, MSFT[1])
    with pytest.raises(SnapshotMismatch, match="removed or changed without the ledger"):
        prices("IBM", snapshot=snapshot, store=store).collect()


@pytest.mark.parametrize(
    "text", ["", "latest", "20240110T000000.000000Z", "20240110T000000.000000Z-abc", f"20240110-{'0' * 32}"]
)
def test_what_is_no_snapshot_id_is_named(store: LocalObjectStore, text: str) -> None:
    with pytest.raises(ValueError, match=rf"'{text}' is no snapshot id"):
        prices("IBM", snapshot=text, store=store).collect()


def test_a_snapshot_has_its_moment_and_takes_no_other(store: LocalObjectStore) -> None:
    snapshot = snapshot_id("IBM", store=store)
    with pytest.raises(ValueError, match="leave as_of out"):
        prices("IBM", as_of=KNOWN, snapshot=snapshot, store=store).collect()


# --- symbols and frames


def test_symbols_may_come_in_any_form(store: LocalObjectStore) -> None:
    expected = told(*IBM, *BHP)
    wanted = universe(store=store).filter(pl.col("symbol").is_in(["IBM", "BHP.AX"]))
    for symbols in (
        wanted,
        wanted.collect(),
        wanted.collect()["symbol"],
        pl.Series(["IBM", "BHP.AX"]),
        ("IBM", "BHP.AX"),
        {"IBM", "BHP.AX"},
        (symbol for symbol in ["IBM", "BHP.AX", "IBM"]),
    ):
        assert prices(symbols, store=store).collect().equals(expected)
    assert prices(wanted.filter(pl.col("symbol") == "nobody"), store=store).collect().is_empty()


def test_every_read_becomes_a_pandas_frame_with_one_call(store: LocalObjectStore) -> None:
    lazy = prices(["IBM", "BHP.AX"], store=store)
    for form in (lazy, lazy.collect()):
        table = to_pandas(form)
        assert list(table.columns) == [*DAILY_SCHEMA, "exchange"]
        assert table["symbol"].tolist() == ["BHP.AX"] * 3 + ["IBM"] * 4
        assert table["close"].isna().tolist() == [False, True, *[False] * 5]
        assert str(table["fetched_at"].dt.tz) == "UTC"
        assert table["volume"].dtype.kind == "i"
    assert list(to_pandas(universe(store=store))["symbol"]) == ["BHP.AX", "IBM", "MSFT", "NEW"]


class Catalogued(LocalObjectStore):
    """A store that answers with a catalog which it does not hold."""

    catalog = b""

    def get(self, key: str) -> Blob:
        if key != object_key(CATALOG):
            return super().get(key)
        return Blob(self.catalog, ObjectInfo(key, len(self.catalog), "made up"))


def test_thirteen_years_of_total_return_are_the_recorded_adjusted_closes(
    thirteen_years: LocalObjectStore,
) -> None:
    names = ["AAPL", "IBM", "MSFT"]
    home = Catalogued(Path(thirteen_years.location))
    configured = {"US": [ConfiguredSymbol(symbol=name) for name in names]}
    home.catalog = encode(build_catalog(configured, enabled(["US"]), None, WED), {})
    everything = prices(names, adjust="total_return", reinvest="ex_close", store=home).collect()
    for symbol in names:
        sample: dict[str, list[Any]] = getattr(stocks, symbol)
        recorded = pl.DataFrame(
            {
                "date": [date.fromisoformat(day) for day in sample["date"]],
                "adj_close": sample["adj_close"],
            }
        )
        series = everything.filter(pl.col("symbol") == symbol)
        both = series.join(recorded, on="date", how="full", coalesce=True).sort("date")
        assert (both.height, both["close"].null_count(), both["adj_close"].null_count()) == (3270, 0, 0)
        # The recorded series knows of dividends and splits after its last session: one factor throughout.
        scaled = both["close"] / both["close"][-1] * both["adj_close"][-1]
        assert (scaled / both["adj_close"] - 1).abs().max() < 1e-9  # type: ignore[operator]


# --- trouble


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (object_key(CATALOG), r"symbol_catalog\.parquet"),
        (object_key(DAILY, "US", str(TUE)), r"date=2024-01-09\.parquet"),
        (object_key(HISTORY, "US", "2024"), r"price_history/exchange=US/year=2024\.parquet"),
        ("manifest/daily_prices/exchange=US/year=2024.json", r"manifest/.*year=2024\.json"),
    ],
)
def test_a_damaged_object_is_named_and_never_read(store: LocalObjectStore, key: str, named: str) -> None:
    store.put(key, b"PAR1 and then nothing")
    with pytest.raises(ObjectDamaged, match=named):
        prices("IBM", store=store).collect()
    if "catalog" not in key:
        with pytest.raises(ObjectDamaged, match=named):
            read_daily(store, "US")


def test_without_a_catalog_the_reader_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match=r"no catalog in .*QUANT_ASSETS_STORE"):
        prices("IBM", store=tmp_path).collect()


class Restless(LocalObjectStore):
    """Every ranged read of a year's history comes after a new compaction of it, as often as `times` says."""

    times = 0

    def get_ranges(self, key: str, ranges: Any, version: str) -> list[bytes]:
        if key.startswith(HISTORY) and self.times:
            self.times -= 1
            self.put(key, self.get(key).data)
        return super().get_ranges(key, ranges, version)


def test_a_history_replaced_while_it_is_read_is_read_again(store: LocalObjectStore) -> None:
    compact(store, "US", 2024)
    restless = Restless(Path(store.location))
    restless.times = 3
    assert prices("IBM", MON, store=restless).collect().equals(told(*IBM[1:]))
    assert restless.times == 0
    footers.clear()
    restless.times = 10_000
    with pytest.raises(ObjectChanged, match=r"year=2024\.parquet.*try again"):
        prices("IBM", store=restless).collect()


def test_a_symbols_years_in_a_bucket_cost_few_requests(
    store: LocalObjectStore, bucket: str, emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for year in (2023, 2024):
        compact(store, "US", year)
    far = open_store(f"gs://{bucket}/p")
    for info in store.list(""):
        far.put(info.key, store.get(info.key).data)
    with fault_proxy(emulator) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        assert prices("IBM", store=f"gs://{bucket}/p").collect().equals(told(*IBM))
        # The catalog, which years there are of cells, history and manifest, and of each year the two objects.
        assert proxy.asked == {"GET": 1 + 3 + 2 * 2}
        assert prices("IBM", store=f"gs://{bucket}/p").collect().equals(told(*IBM))
        # Again the catalog, and what there is: no object has been replaced.
        assert proxy.asked == {"GET": (1 + 3 + 2 * 2) + (1 + 3)}


class Far(LocalObjectStore):
    """A local store that is read as one far away."""

    @property
    def remote(self) -> bool:
        return True


def test_a_catalog_that_has_been_replaced_is_not_believed(store: LocalObjectStore) -> None:
    far = Far(Path(store.location))
    for _ in range(2):
        assert prices("IBM", store=far).collect().equals(told(*IBM))
    moved = pl.when(pl.col("symbol") == "IBM").then(pl.lit("ASX")).otherwise("exchange").alias("exchange")
    there = bar("IBM", MON, 7.0, currency="AUD")
    put_cells(store, "ASX", there, *BHP[:1])
    for exchange, expected in (("ASX", [there]), ("US", IBM)):
        catalog = universe(store=store).collect().with_columns(moved)
        if exchange == "US":
            catalog = catalog.with_columns(pl.col("exchange").replace({"ASX": "US"}))
        far.put(object_key(CATALOG), encode(catalog, {}))
        there_now = frame(*expected).with_columns(exchange=pl.lit(exchange))
        assert prices(["IBM"], store=far).collect().equals(there_now)
    with pytest.raises(ValueError, match="not in the catalog: NOPE"):
        prices(["IBM", "NOPE"], store=far).collect()


def test_the_readers_are_importable_from_the_package() -> None:
    import quant_assets
    from quant_assets import reader

    for name in ("prices", "weekly", "universe", "profiles"):
        assert getattr(quant_assets, name) is getattr(reader, name)
    with pytest.raises(AttributeError, match="no attribute 'price'"):
        quant_assets.price  # noqa: B018


def test_adjusting_over_days_that_were_never_fetched_warns_of_them(tmp_path: Path) -> None:
    home = with_catalog(tmp_path)
    put_cells(home, "US", bar("IBM", date(2024, 3, 14), 10.0), bar("IBM", date(2024, 3, 19), 11.0))
    with pytest.warns(
        UserWarning, match=r"2 session\(s\) of US have no cell, the first 2024-03-15: .*backfill"
    ):
        prices("IBM", adjust="split", store=home).collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prices("IBM", store=home).collect()
        prices("IBM", "2024-03-19", adjust="split", store=home).collect()


def test_adjusting_over_a_holiday_that_was_never_asked_for_warns_of_nothing(tmp_path: Path) -> None:
    home = with_catalog(tmp_path)
    # Between them lies Good Friday.
    put_cells(home, "US", bar("IBM", date(2024, 3, 28), 10.0), bar("IBM", date(2024, 4, 1), 11.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        prices("IBM", adjust="split", store=home).collect()
