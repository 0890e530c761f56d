"""Reads that wait for their query: what is pushed down narrows what is read, and never changes what comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets import (
    SnapshotMismatch,
    UnknownSymbol,
    companies,
    gaps,
    listing_events,
    prices,
    profiles,
    restatements,
    sessions,
    snapshot_id,
    universe,
    valuations,
    weekly,
)
from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.coverage import CellState
from quant_assets.market.weekly import WEEKLY_SCHEMA
from quant_assets.reader import price_rows
from quant_assets.reader.lazy import Pushed, conjuncts
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob, ObjectDamaged
from quant_assets.tables.layout import CATALOG, DAILY, HISTORY, WEEKLY, object_key
from quant_assets.tables.lineage import RULES
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode
from quant_assets.tables.ranged import footers
from quant_assets_tests.test_reader import (
    BHP,
    IBM,
    LAST_YEAR,
    LEARNED,
    MON,
    MSFT,
    TUE,
    WED,
    bar,
    compact,
    put,
    put_cells,
    restate,
    with_catalog,
)

SYMBOL, DATE = pl.col("symbol"), pl.col("date")
FIRST_BARE = date(2024, 1, 5)
"""A day on which MSFT has an ex-date and no bar: a range that begins there lacks the close before it."""


class Counting(LocalObjectStore):
    """Counts the bytes that are asked of it, by table, and names the objects."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bytes, self.keys = Counter[str](), list[str]()

    def get(self, key: str) -> Blob:
        blob = super().get(key)
        self._count(key, len(blob.data))
        return blob

    def get_ranges(self, key: str, ranges: Any, version: str) -> list[bytes]:
        found = super().get_ranges(key, ranges, version)
        self._count(key, sum(map(len, found)))
        return found

    def _count(self, key: str, size: int) -> None:
        self.bytes[key.partition("/")[0]] += size
        self.keys.append(key)

    def reset(self) -> None:
        self.bytes.clear()
        self.keys.clear()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> LocalObjectStore:
    """Two exchanges; one year is compacted, a day has been restated since. Not to be written to."""
    store = with_catalog(tmp_path_factory.mktemp("lazy"))
    bare = bar("MSFT", FIRST_BARE, None, dividend=0.25)
    put_cells(store, "US", *IBM, *MSFT, bare, bar("MSFT", MON, 9.0, dividend=0.5))
    put_cells(store, "ASX", *BHP)
    compact(store, "US", 2024)
    restate(store, IBM[2], close=101.0, high=101.0)
    return store


@pytest.fixture
def store(filled: LocalObjectStore) -> Counting:
    return Counting(Path(filled.location))


FILTERS = [
    SYMBOL == "IBM",
    SYMBOL.is_in(["MSFT", "BHP.AX", "nobody"]),
    SYMBOL.str.starts_with("B") | (SYMBOL == "IBM"),
    ~SYMBOL.is_in(["IBM"]),
    SYMBOL == "nobody",
    DATE >= FIRST_BARE,
    DATE.is_between(MON, TUE),
    DATE == TUE,
    DATE.dt.year() == 2023,
    date(1999, 1, 1) > DATE,
    (DATE > MON) & (SYMBOL == "MSFT"),
    (DATE > MON) | (SYMBOL == "MSFT"),
    ((DATE == MON) & (SYMBOL == "MSFT")) | ((DATE == TUE) & (SYMBOL == "IBM")),
    pl.col("exchange") == "ASX",
    (pl.col("exchange") != "ASX") & (DATE == WED),
    (pl.col("close") > 50) & (DATE <= TUE),
    pl.col("close").is_null(),
    pl.col("flags") == "",
    DATE.max() == DATE,
    (DATE >= FIRST_BARE) & (pl.col("volume") > 0) & SYMBOL.is_in(["IBM", "MSFT"]),
]
HOW: list[dict[str, Any]] = [
    {},
    {"adjust": "split"},
    {"adjust": "total_return"},
    {"adjust": "total_return", "reinvest": "ex_close", "end": TUE},
    {"as_of": LEARNED - timedelta(seconds=1), "start": "2024-01-01"},
    {"by": "company", "adjust": "split"},
    {"envelope": "widened"},
]


@pytest.mark.filterwarnings("ignore:.*have no cell")
@pytest.mark.parametrize("how", HOW, ids=str)
def test_what_is_pushed_down_changes_nothing_but_what_is_read(store: Counting, how: dict[str, Any]) -> None:
    whole = prices(store=store, **how).collect()
    assert whole.height > 8
    shown = [["date", "close"], ["exchange"], ["high", "symbol"], ["flags", "volume"], whole.columns]
    for columns in shown:
        assert_frame_equal(prices(store=store, **how).select(columns).collect(), whole.select(columns))
    for number, one in enumerate(FILTERS):
        columns = shown[number % len(shown)]
        expected = whole.filter(one).select(columns)
        found = prices(store=store, **how).filter(one).select(columns)
        assert_frame_equal(found.collect(engine="in-memory"), expected, check_exact=True)
    for one in FILTERS[:4]:
        found = prices(store=store, **how).filter(one).head(2).collect(engine="streaming")
        assert_frame_equal(found, whole.filter(one).head(2), check_exact=True)


def test_a_snapshot_is_checked_whole_whatever_is_done_with_it(store: Counting) -> None:
    snapshot = snapshot_id(store=store)
    whole = prices(snapshot=snapshot, store=store).collect()
    for one in FILTERS:
        assert prices(snapshot=snapshot, store=store).filter(one).collect().equals(whole.filter(one))
    one_less = prices("IBM MSFT", snapshot=snapshot, store=store).filter(SYMBOL == "IBM")
    with pytest.raises(SnapshotMismatch):
        one_less.collect()


def test_a_filter_on_the_symbol_reads_nothing_of_another_exchange(store: Counting) -> None:
    for one in (SYMBOL == "BHP.AX", pl.col("exchange") == "ASX", SYMBOL.str.ends_with(".AX")):
        store.reset()
        assert prices(store=store).filter(one).collect().height == len(BHP)
        assert [key for key in store.keys if "exchange=US" in key] == []


def test_a_filter_on_the_date_reads_the_days_it_lets_pass(store: Counting) -> None:
    for one in (DATE == MON, (date(2024, 1, 5) < DATE) & (DATE < TUE), DATE.is_in([MON])):
        store.reset()
        assert prices("IBM", store=store).filter(one).collect().height == 1
        read = [key for key in store.keys if key.startswith((DAILY, HISTORY))]
        assert read in ([object_key(DAILY, "US", str(MON))], [object_key(HISTORY, "US", "2024")] * len(read))
        assert not any("2023" in key for key in store.keys if HISTORY in key or DAILY in key)


def test_what_nothing_can_pass_reads_no_prices(store: Counting) -> None:
    for one in (SYMBOL == "nobody", (DATE > TUE) & (DATE < MON), pl.col("exchange") == "XETR"):
        store.reset()
        rows = prices(store=store).filter(one).select("close").collect()
        assert (rows.height, rows.schema) == (0, pl.Schema({"close": pl.Float64}))
        assert [key for key in store.keys if key.startswith((DAILY, HISTORY))] == []


def test_unknown_symbols_are_told_of_even_where_a_filter_lets_none_of_them_pass(store: Counting) -> None:
    with pytest.raises(UnknownSymbol, match="NOPE"):
        prices("IBM NOPE", store=store).filter(SYMBOL == "IBM").collect()


def test_the_plan_shows_what_is_pushed_down(store: Counting) -> None:
    plan = prices(store=store).filter(SYMBOL == "AAPL").select("date", "close").explain()
    assert "PYTHON[prices] SCAN" in plan
    assert 'SELECTION: col("symbol") == "AAPL"' in plan
    assert "PROJECT 3/13 COLUMNS" in plan
    assert "FILTER" not in plan
    assert (
        "MSFT IBM BHP.AX and 1 more, 2024-01-02 to …, adjust=split"
        in prices("MSFT IBM BHP.AX NEW", "2024-01-02", adjust="split", store=store).explain()
    )


def test_nothing_is_read_before_a_query_is_collected(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    queries = [
        prices(store=nowhere), prices("A", store=nowhere), prices(by="company", adjust="split", store=nowhere),
        weekly(store=nowhere), valuations(store=nowhere), profiles(store=nowhere), universe(store=nowhere),
        universe("idx", "2013-01-02", store=nowhere), companies(store=nowhere), gaps(store=nowhere),
        listing_events("US", store=nowhere), restatements(store=nowhere), sessions("US"),
    ]  # fmt: skip
    for query in queries:
        assert query.collect_schema().names()
        assert query.head(1).explain().startswith(("SLICE", "PYTHON"))
    assert not nowhere.exists()
    assert prices(store=nowhere).collect_schema() == pl.Schema({**DAILY_SCHEMA, "exchange": pl.String})


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_errors_of_a_read_are_those_of_the_family(tmp_path: Path, engine: Any) -> None:
    home = with_catalog(tmp_path)
    put_cells(home, "US", *IBM)
    home.put(object_key(DAILY, "US", str(TUE)), b"PAR1 and then nothing")
    damaged = prices("IBM", store=home)
    with pytest.raises(ObjectDamaged, match=r"date=2024-01-09\.parquet"):
        damaged.collect(engine=engine)
    with pytest.raises(ObjectDamaged, match=r"date=2024-01-09\.parquet"):
        damaged.group_by("symbol").len().collect(engine=engine)
    with pytest.raises(ObjectDamaged, match=r"date=2024-01-09\.parquet"):
        damaged.sink_parquet(tmp_path / "out.parquet", engine=engine)
    with pytest.raises(UnknownSymbol, match="IBN"):
        pl.concat([prices("IBN", store=home), prices("BHP.AX", store=home)]).collect(engine=engine)


def test_the_parts_of_a_filter_are_found() -> None:
    a, b, c = SYMBOL == "A", DATE > MON, (SYMBOL == "C") | (DATE < MON)
    for whole in (a & b & c, a & (b & c), (a & b) & c):
        found = list(conjuncts(whole))
        assert len(found) == 3
        for one, part in zip(found, (a, b, c), strict=True):
            assert one.meta.eq(part)
    pushed = Pushed(None, (a, b, c))
    assert pushed.days("date") == (MON + timedelta(days=1), None)
    assert pushed.symbols("US", ["A", "B"]) == ["A"]
    assert Pushed(None, (DATE.is_null(),)).days("date") == (date(2100, 12, 31), date(1900, 1, 1))
    # What cannot be tried is left to where it meets the rows.
    assert Pushed(None, (SYMBOL > 5,)).symbols("US", ["A"]) == ["A"]


@pytest.mark.filterwarnings("ignore:.*have no cell")
@pytest.mark.parametrize("most", [1, 4, 9])
def test_rows_come_in_batches_that_make_up_the_whole(
    store: Counting, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    for how in HOW[:5]:
        whole = prices(store=store, **how).collect()
        with monkeypatch.context() as patch:
            patch.setattr(price_rows, "BATCH_ROWS", most)
            patch.setattr(price_rows, "AT_ONCE", 0)
            patch.setattr(price_rows.Asked, "_longest", lambda *_: 4)
            assert prices(store=store, **how).collect().equals(whole)
            assert (
                prices(store=store, **how).filter(SYMBOL > "H").collect().equals(whole.filter(SYMBOL > "H"))
            )


# --- bytes


MANY = [f"S{n:04d}" for n in range(2000)]
KNOWN = datetime(2023, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    """A year of 2,000 symbols, compacted."""
    store = Counting(tmp_path_factory.mktemp("many"))
    days = [date(2023, 1, 2) + timedelta(days=n) for n in range(365) if n % 7 < 5]
    size, chance = len(MANY) * len(days), np.random.default_rng(5)
    close = np.round(
        20 * np.exp(np.cumsum(chance.normal(0, 0.02, (len(MANY), len(days))), axis=1)), 2
    ).ravel()
    rows = pl.DataFrame(
        {
            "symbol": np.repeat(MANY, len(days)), "date": days * len(MANY),
            **{name: np.round(close * chance.uniform(0.98, 1.02, size), 2) for name in ("open", "high", "low")},
            "close": close, "volume": chance.integers(1, 9_000_000, size),
        }
    ).with_columns(
        dividend=0.0, split_ratio=1.0, currency=pl.lit("USD"), flags=pl.lit(""), fetched_at=pl.lit(KNOWN)
    )  # fmt: skip
    rows = rows.select(pl.col(name).cast(dtype) for name, dtype in DAILY_SCHEMA.items())
    entries = [
        Entry(str(day), CellState.COMPLETE, rows=len(MANY), version="1", content_sha256=f"of {day}")
        for day in days
    ]
    cells = {entry.partition: entry.content_sha256 for entry in entries}
    facts = Entry("2023", CellState.COMPLETE, rows=rows.height).facts()
    data = encode(rows, facts | {"cells": cells, "rule": RULES[HISTORY]}, by_symbol=True)
    store.put(object_key(HISTORY, "US", "2023"), data)
    Manifest(store, DAILY).record("US", entries)
    store.put(object_key(CATALOG), encode(pl.DataFrame({"symbol": MANY, "exchange": "US"}), {}))
    yield store
    footers.clear()


def test_one_symbol_reads_at_most_two_percent_of_the_bytes_of_all(many: Counting) -> None:
    many.reset()
    whole = prices(store=many).collect()
    unfiltered, everything = many.bytes[HISTORY], many.bytes.total()
    assert whole.height == len(MANY) * 261
    query = prices(store=many).filter(SYMBOL == "S0777").select("date", "close")
    footers.clear()
    read: list[tuple[int, int]] = []
    for _ in range(2):
        many.reset()
        rows = query.collect()
        assert rows.equals(whole.filter(SYMBOL == "S0777").select("date", "close"))
        read.append((many.bytes[HISTORY], many.bytes.total()))
    (cold, cold_in_all), (warm, warm_in_all) = read
    print(
        f"\nunfiltered: {everything:,} bytes, {unfiltered:,} of history; one symbol, date and close: "
        f"{warm:,} of history ({warm / unfiltered:.2%}), {warm_in_all:,} in all ({warm_in_all / everything:.2%}); "
        f"at first, with the footer: {cold:,} ({cold / unfiltered:.2%}), {cold_in_all:,} in all"
    )
    assert warm <= 0.02 * unfiltered
    assert cold <= 0.06 * unfiltered


def test_columns_of_some_symbols_are_read_as_they_are(many: Counting) -> None:
    """Few symbols, several row groups, and most of them: each is decoded in a way of its own."""
    whole = prices(store=many).collect()
    for names in (MANY[:3], MANY[5:700:60], MANY[::3]):
        mine = whole.filter(SYMBOL.is_in(names))
        for columns in (["date", "close"], ["symbol", "currency"], ["flags", "volume", "date"], ["exchange"]):
            assert_frame_equal(prices(names, store=many).select(columns).collect(), mine.select(columns))


def test_a_query_that_is_content_with_few_rows_reads_few_symbols(
    many: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_rows, "BATCH_ROWS", 20_000)
    prices("S0000", store=many).collect()
    many.reset()
    assert prices(store=many).head(300).collect()["symbol"].unique().sort().to_list() == ["S0000", "S0001"]
    history = many.bytes[HISTORY]
    many.reset()
    prices(store=many).collect()
    assert history < 0.05 * many.bytes[HISTORY]


# --- the other tables


def test_weeks_that_cannot_pass_are_not_read(tmp_path: Path) -> None:
    home = with_catalog(tmp_path)
    mondays = [date(2023, 12, 25), date(2024, 1, 1), date(2024, 1, 8)]
    for monday in mondays:
        rows = [{"symbol": symbol, "week": monday} for symbol in ("IBM", "MSFT")]
        put(home, WEEKLY, "US", str(monday), pl.DataFrame(rows, schema=WEEKLY_SCHEMA))
    counting = Counting(tmp_path)
    whole = weekly(store=counting).collect()
    assert whole.height == 6
    for one, weeks in (
        (pl.col("week") == mondays[1], mondays[1:2]),
        ((pl.col("week") > mondays[0]) & (SYMBOL == "MSFT"), mondays[1:]),
        (pl.col("exchange") == "ASX", []),
    ):
        counting.reset()
        assert weekly(store=counting).filter(one).collect().equals(whole.filter(one))
        read = sorted(key for key in counting.keys if key.startswith(WEEKLY))
        assert read == [object_key(WEEKLY, "US", str(week)) for week in weeks]


def test_profiles_and_ledgers_of_exchanges_that_cannot_pass_are_not_read(store: Counting) -> None:
    whole = restatements(store=store).collect()
    assert whole.height
    store.reset()
    assert restatements(store=store).filter(pl.col("exchange") == "ASX").collect().is_empty()
    assert [key for key in store.keys if "exchange=US" in key] == []
    one = pl.col("session") == date(2023, 11, 24)
    assert sessions("US", "2000-01-03", "2024-12-31").filter(one).collect()["early_close"].to_list() == [True]


def test_days_before_the_last_year_are_in_reach_of_a_filter(store: Counting) -> None:
    assert prices(store=store).filter(DATE == LAST_YEAR).collect().height == 2


@pytest.mark.filterwarnings("ignore::polars.exceptions.PolarsInefficientMapWarning")
def test_a_filter_may_hold_a_python_function(store: Counting) -> None:
    def is_odd(day: date) -> bool:
        return day.day % 2 == 1

    odd = DATE.map_elements(is_odd, return_dtype=pl.Boolean)
    found = prices(store=store).filter(odd, SYMBOL == "IBM").collect()
    assert found["date"].to_list() == [LAST_YEAR, TUE]
