"""The ledger: only ever added to, nothing twice, and what it knows can be put back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market.bars import DAILY_SCHEMA, empty_daily
from quant_assets.market.restatements import RESTATEMENTS_SCHEMA
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import ObjectDamaged
from quant_assets.tables.daily import read_daily
from quant_assets.tables.restatements import LEDGER_SCHEMA, REPLACED_SCHEMA, Ledger
from quant_assets_tests.ingest.harness import DAY, WEEK, Harness, evening
from quant_assets_tests.support import tree

KNOWN = datetime(2013, 2, 15, 22, tzinfo=UTC)
LATER = KNOWN + timedelta(days=4)
EVENTS = pl.Schema({**RESTATEMENTS_SCHEMA, "detected_at": LEDGER_SCHEMA["detected_at"]})


def row(close: float, at: datetime = KNOWN, symbol: str = "A", day: date = DAY) -> pl.DataFrame:
    bar: tuple[Any, ...] = (symbol, day, *[close] * 4, 100, 0.0, 1.0, "USD", "", at)
    return pl.DataFrame([bar], schema=DAILY_SCHEMA, orient="row")


def event(old: float, new: float, at: datetime = LATER, symbol: str = "A", day: date = DAY) -> pl.DataFrame:
    told = (symbol, day, "close", repr(old), repr(new), "correction", day, 1, at)
    return pl.DataFrame([told], schema=EVENTS, orient="row")


def record(
    ledger: Ledger, old: float, new: float, known: datetime, at: datetime, **which: Any
) -> pl.DataFrame:
    return ledger.record(
        event(old, new, at, **which), row(old, known, **which), row(new, at, **which), f"run of {at}"
    )


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


@pytest.fixture
def ledger(store: LocalObjectStore) -> Ledger:
    return Ledger(store, "US")


def test_a_ledger_that_nobody_wrote_is_empty(ledger: Ledger) -> None:
    assert ledger.restatements().schema == LEDGER_SCHEMA
    assert ledger.restatements().is_empty()
    assert ledger.replaced_after(KNOWN).schema == REPLACED_SCHEMA


def test_nothing_to_record_writes_nothing(ledger: Ledger, store: LocalObjectStore) -> None:
    nothing = pl.DataFrame(schema=EVENTS)
    assert ledger.record(nothing, empty_daily(), empty_daily(), "run").is_empty()
    assert list(store.list("")) == []


def test_what_is_recorded_is_kept_by_the_year_in_which_it_became_known_and_never_changed(
    ledger: Ledger, store: LocalObjectStore
) -> None:
    record(ledger, 1.0, 2.0, KNOWN, LATER)
    first = tree(Path(store.location))
    next_year = LATER + timedelta(days=365)
    record(ledger, 2.0, 3.0, LATER, next_year)
    assert [info.key for info in store.list("")] == [
        f"{table}/exchange=US/year={year}.parquet"
        for table in ("replaced_rows", "restatements")
        for year in (2013, 2014)
    ]
    after = tree(Path(store.location))
    assert {name: after[name] for name in first} == first
    before = ledger.restatements()
    record(ledger, 3.0, 4.0, next_year, next_year + timedelta(days=1))
    assert ledger.restatements().head(2).equals(before)
    assert ledger.restatements().select("old", "new", "run").rows() == [
        ("1.0", "2.0", f"run of {LATER}"),
        ("2.0", "3.0", f"run of {next_year}"),
        ("3.0", "4.0", f"run of {next_year + timedelta(days=1)}"),
    ]


def test_the_same_restatement_is_recorded_once_and_keeps_its_first_moment(
    ledger: Ledger, store: LocalObjectStore
) -> None:
    assert record(ledger, 1.0, 2.0, KNOWN, LATER)["fetched_at"].item() == LATER
    files = tree(Path(store.location))
    for later in (LATER, LATER + timedelta(days=1), LATER + timedelta(days=400)):
        assert record(ledger, 1.0, 2.0, KNOWN, later)["fetched_at"].item() == LATER
    assert tree(Path(store.location)) == files


def test_a_value_that_goes_and_comes_back_is_recorded_each_time(ledger: Ledger) -> None:
    moments = [KNOWN + timedelta(days=n) for n in range(5)]
    for n in range(4):
        old, new = (1.0, 2.0) if n % 2 == 0 else (2.0, 1.0)
        record(ledger, old, new, moments[n], moments[n + 1])
    assert ledger.restatements()["new"].to_list() == ["2.0", "1.0", "2.0", "1.0"]


def test_another_new_value_for_the_same_old_one_is_recorded(ledger: Ledger) -> None:
    for n, new in enumerate((2.0, 3.0, 3.0, 2.0)):
        record(ledger, 1.0, new, KNOWN, LATER + timedelta(days=n))
    assert ledger.restatements().select("old", "new").rows() == [
        ("1.0", "2.0"), ("1.0", "3.0"), ("1.0", "2.0"),
    ]  # fmt: skip


def test_exchanges_have_ledgers_of_their_own(ledger: Ledger, store: LocalObjectStore) -> None:
    record(ledger, 1.0, 2.0, KNOWN, LATER)
    assert Ledger(store, "USX").restatements().is_empty()
    assert Ledger(store, "U").replaced_after(KNOWN).is_empty()


def test_many_who_record_at_once_lose_nothing_and_record_nothing_twice(store: LocalObjectStore) -> None:
    def run(number: int) -> None:
        mine = Ledger(store, "US")
        at = LATER + timedelta(seconds=number)
        for symbol in (f"OWN{number}", "SHARED"):
            record(mine, 1.0, 2.0, KNOWN, at, symbol=symbol)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(run, range(6)))
    ledger = Ledger(store, "US")
    assert sorted(ledger.restatements()["symbol"]) == [*(f"OWN{n}" for n in range(6)), "SHARED"]
    assert sorted(ledger.replaced_after(KNOWN)["symbol"]) == [*(f"OWN{n}" for n in range(6)), "SHARED"]


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("AB"), st.integers(1, 300)),
        min_size=1,
        max_size=6,
        unique_by=lambda c: c[1],
    ),
    st.integers(-1, 301),
)
def test_what_stood_at_any_moment_can_be_put_back(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int]], when: int
) -> None:
    ledger = Ledger(LocalObjectStore(tmp_path_factory.mktemp("ledger")), "US")
    versions = {symbol: [row(1.0, KNOWN, symbol)] for symbol in "AB"}
    for n, (symbol, days) in enumerate(sorted(changes, key=lambda change: change[1])):
        at = KNOWN + timedelta(days=days)
        old = versions[symbol][-1]
        new = row(2.0 + n, at, symbol)
        said = event(old["close"].item(), 2.0 + n, at, symbol)
        versions[symbol].append(ledger.record(said, old, new, "run"))
    moment = KNOWN + timedelta(days=when)
    replaced = ledger.replaced_after(moment)
    for symbol, known in versions.items():
        then = [version for version in known if version["fetched_at"].item() <= moment]
        put_back = replaced.filter(pl.col("symbol") == symbol).select(list(DAILY_SCHEMA))
        stands = put_back if put_back.height else known[-1]
        if then:
            assert stands.equals(then[-1])
        else:
            assert stands["fetched_at"].item() > moment


# Damage.


@pytest.fixture
def restated(harness: Harness, market: ReplayHandle) -> pl.DataFrame:
    """Rows with a restatement in their past."""
    harness.put_catalog("AAPL", "IBM", "MSFT")
    harness.live(market, WEEK[-2], WEEK[:-1])
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY), "field": "volume", "value": 7}
    )
    harness.live(market, WEEK[-1])
    return read_daily(harness.store, "US")


@pytest.mark.parametrize("table", ["restatements", "replaced_rows"])
def test_a_damaged_ledger_fails_those_who_need_it_by_name_and_no_others(
    harness: Harness, market: ReplayHandle, restated: pl.DataFrame, table: str
) -> None:
    from quant_assets.reader import prices, snapshot_id

    snapshot = snapshot_id("AAPL", store=harness.store)
    path = Path(harness.store.uri(f"{table}/exchange=US/year=2013.parquet"))
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    named = rf"{table}/exchange=US/year=2013\.parquet"
    assert read_daily(harness.store, "US").equals(restated)
    apple = restated.filter(pl.col("symbol") == "AAPL")
    assert prices("AAPL", store=harness.store).collect().drop("exchange").equals(apple)
    ledger = Ledger(harness.store, "US")
    if table == "restatements":
        with pytest.raises(ObjectDamaged, match=named):
            ledger.restatements()
        assert prices("AAPL", as_of=evening(WEEK[-2]), store=harness.store).collect().height == 4
    else:
        assert ledger.restatements().height == 1
        for read in ({"as_of": evening(WEEK[-2])}, {"as_of": "2013-02-15"}, {"snapshot": snapshot}):
            with pytest.raises(ObjectDamaged, match=named):
                prices("AAPL", store=harness.store, **read).collect()  # type: ignore[arg-type]
    # A run that has something to record says so before it changes a cell.
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "IBM", "date": str(DAY), "field": "volume", "value": 7}
    )
    cells = {name: told for name, told in tree(harness.home / "store").items() if name.startswith("daily")}
    with pytest.raises(ObjectDamaged, match=named):
        harness.live(market, date(2013, 2, 19))
    after = {name: told for name, told in tree(harness.home / "store").items() if name.startswith("daily")}
    assert after == cells


@pytest.mark.parametrize(
    ("seconds", "close"), [(-1, 1.0), (0, 2.0), (1, 2.0), (9, 2.0), (10, None), (11, None)]
)
def test_what_was_replaced_at_a_moment_did_not_stand_any_more(
    ledger: Ledger, seconds: int, close: float | None
) -> None:
    later = LATER + timedelta(seconds=10)
    record(ledger, 1.0, 2.0, KNOWN, LATER)
    record(ledger, 2.0, 3.0, LATER, later)
    found = ledger.replaced_after(LATER + timedelta(seconds=seconds))
    assert found["close"].to_list() == ([] if close is None else [close])


def test_rows_are_kept_where_nothing_is_told_of_them_and_told_where_none_is_replaced(ledger: Ledger) -> None:
    nothing = pl.DataFrame(schema=EVENTS)
    assert ledger.record(nothing, row(1.0), row(2.0, LATER), "run").equals(row(2.0, LATER))
    assert ledger.replaced_after(KNOWN)["close"].to_list() == [1.0]
    assert ledger.restatements().is_empty()
    assert ledger.record(event(1.0, 2.0), empty_daily(), empty_daily(), "run").is_empty()
    assert ledger.restatements().select("old", "new", "run").rows() == [("1.0", "2.0", "run")]
