"""Weekly bars of few symbols come from their daily rows, and are those of the table to the bit."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.market.bars import DAILY_SCHEMA, content_sha256
from quant_assets.market.coverage import NO_BAR, CellState, Missing
from quant_assets.market.weekly import weekly_bars
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.object_store import Blob
from quant_assets.tables.layout import DAILY, WEEKLY, object_key
from quant_assets.tables.lineage import bars_missing, week_inputs
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import encode, read_table
from quant_assets.tables.weekly_reads import read_weekly

US = exchange("US")
SYMBOLS = ["AAA", "BBB", "CCC"]
WEEKS = [date(2023, 11, 6) + timedelta(days=7 * number) for number in range(9)]
ALWAYS = date.min, date.max


class Counting(LocalObjectStore):
    """Keeps which weeks' objects were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.weeks: list[str] = []

    def get(self, key: str) -> Blob:
        if key.startswith(WEEKLY):
            self.weeks.append(key)
        return super().get(key)


def put_cell(store: LocalObjectStore, day: date, rows: pl.DataFrame, missing: list[str]) -> None:
    named = tuple(Missing(symbol, NO_BAR, "no bar", day) for symbol in missing)
    state = CellState.PARTIAL if missing else CellState.COMPLETE
    entry = Entry(
        str(day), state, rows.height, content_sha256=content_sha256(rows), expected=3,
        received=3 - len(missing), missing=named,
    )  # fmt: skip
    info = store.put(object_key(DAILY, "US", str(day)), encode(rows, entry.facts()))
    Manifest(store, DAILY).record("US", [replace(entry, version=info.version, size=info.size)])


def sessions() -> Iterator[date]:
    return iter(US.calendar().sessions(WEEKS[0], WEEKS[-1] + timedelta(days=6)))


def make_week(store: LocalObjectStore, week: date) -> None:
    """As the asset does, a week at a time."""
    cells = Manifest(store, DAILY).between("US", week, week + timedelta(days=6))
    inputs = week_inputs(US, week, cells)
    daily = pl.concat(read_table(store, object_key(DAILY, "US", day)) for day in inputs.days)
    asked = [str(day) in cells and cells[str(day)].state is not CellState.CLOSED for day in inputs.sessions]
    calendar = pl.DataFrame({"date": inputs.sessions, "asked": asked})
    lacking = [(name, date.fromisoformat(day)) for day, cell in cells.items() for name in bars_missing(cell)]
    missing = pl.DataFrame(lacking, schema={"symbol": pl.String, "date": pl.Date}, orient="row")
    bars = weekly_bars(daily, calendar, US.first_weekday, missing=missing)
    entry = Entry(str(week), inputs.state, bars.height, inputs_sha256=inputs.sha256)
    info = store.put(object_key(WEEKLY, "US", str(week)), encode(bars, entry.facts()))
    Manifest(store, WEEKLY).record("US", [replace(entry, version=info.version, size=info.size)])


@pytest.fixture
def store(tmp_path: Path, laid: Path) -> Counting:
    shutil.copytree(laid, tmp_path / "store")
    return Counting(tmp_path / "store")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine weeks of three symbols with splits, dividends, unknown values, bars that are missing and a day that is."""
    folder, chance = tmp_path_factory.mktemp("weeks"), random.Random(7)
    store = LocalObjectStore(folder)
    known = datetime(2024, 2, 1, tzinfo=UTC)
    for day in sessions():
        if day == date(2023, 12, 6):
            continue  # nobody has asked for it
        rows = [
            (name, day, *(round(chance.uniform(9, 11), 2) for _ in range(4)), chance.choice([100, 7, None]),
             chance.choice([0.0] * 9 + [0.1, None]), chance.choice([1.0] * 12 + [2.0, 0.5, 3.0]), "USD", "", known)
            for name in SYMBOLS
        ]  # fmt: skip
        missing = [name for name in SYMBOLS if chance.random() < 0.08]
        cell = pl.DataFrame(rows, schema=DAILY_SCHEMA, orient="row")
        put_cell(store, day, cell.filter(~pl.col("symbol").is_in(missing)), missing)
    for week in WEEKS:
        make_week(store, week)
    return folder


def table(store: LocalObjectStore, symbols: list[str]) -> pl.DataFrame:
    frames = [read_table(store, object_key(WEEKLY, "US", str(week))) for week in WEEKS]
    return pl.concat(frames).filter(pl.col("symbol").is_in(symbols)).sort("symbol", "week")


def read(store: Counting, symbols: list[str], span: tuple[date, date] = ALWAYS) -> pl.DataFrame:
    store.weeks.clear()
    return read_weekly(store, US, "US", symbols, *span).sort("symbol", "week")


@pytest.mark.parametrize("symbols", [["BBB"], ["AAA", "CCC"], SYMBOLS, ["NONE"]])
def test_bars_made_on_read_are_those_of_the_table(store: Counting, symbols: list[str]) -> None:
    expected = table(store, symbols)
    for _ in range(2):
        assert_frame_equal(read(store, symbols), expected, check_exact=True)
        assert store.weeks == []
    span = WEEKS[1], WEEKS[-2]
    within = expected.filter(pl.col("week").is_between(*span))
    assert_frame_equal(read(store, symbols, span), within, check_exact=True)
    assert store.weeks == []


def test_a_week_whose_cells_have_changed_is_read_as_it_is_stored(store: Counting) -> None:
    read(store, SYMBOLS)
    day = WEEKS[4] + timedelta(days=1)
    cell = read_table(store, object_key(DAILY, "US", str(day)))
    put_cell(store, day, cell.with_columns(close=pl.col("close") + 1), [])
    expected = table(store, SYMBOLS)
    assert_frame_equal(read(store, SYMBOLS), expected, check_exact=True)
    assert store.weeks == [object_key(WEEKLY, "US", str(WEEKS[4]))]
    make_week(store, WEEKS[4])
    expected = table(store, SYMBOLS)
    assert_frame_equal(read(store, SYMBOLS), expected, check_exact=True)
    assert store.weeks == []


def test_weeks_are_read_where_their_days_cannot_be(store: Counting) -> None:
    expected = table(store, SYMBOLS)
    store.put(object_key(DAILY, "US", str(WEEKS[2])), b"damaged")
    assert_frame_equal(read(store, SYMBOLS), expected, check_exact=True)
    assert len(store.weeks) == len(WEEKS)


def test_few_weeks_and_those_of_an_exchange_that_is_not_known_are_read(store: Counting) -> None:
    expected = table(store, ["AAA"])
    few = WEEKS[1], WEEKS[3]
    found = read(store, ["AAA"], few)
    assert_frame_equal(found, expected.filter(pl.col("week").is_between(*few)), check_exact=True)
    assert len(store.weeks) == 3
    store.weeks.clear()
    unknown = read_weekly(store, None, "US", ["AAA"], *ALWAYS).sort("symbol", "week")
    assert_frame_equal(unknown, expected, check_exact=True)
    assert len(store.weeks) == len(WEEKS)
