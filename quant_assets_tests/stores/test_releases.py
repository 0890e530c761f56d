"""A store that an earlier release wrote opens, reads as it did, is found sound, and is continued."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.ingest.plan import Mode
from quant_assets.maintenance.migrate import migrate_store
from quant_assets.maintenance.rebuild import rebuild_manifest
from quant_assets.maintenance.verify import verify_store
from quant_assets.market.bars import DAILY_SCHEMA, content_sha256, with_flags
from quant_assets.market.coverage import CellState
from quant_assets.reader import prices, profiles, snapshot_id, universe, weekly
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.listing_events import read_events
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import read_table
from quant_assets.tables.quarantine import read_quarantine
from quant_assets_tests.ingest.harness import Harness, sessions
from quant_assets_tests.support import days_between, listings, tree

RELEASE = Path(__file__).with_name("release_1")
RANGE = days_between(date(2012, 12, 24), date(2013, 1, 9))
EVENING = datetime(2013, 1, 9, 23, tzinfo=UTC)
SYMBOLS = {"US": ("AAPL", "IBM", "MSFT"), "ASX": ("AAA.AX", "AAB.AX", "AAC.AX")}
EVERYBODY = [*SYMBOLS["ASX"], *SYMBOLS["US"]]
SNAPSHOT = "20130109T230000.000000Z-f61250ce22c0af3d69543c7e5f2bae7d"
"""Of everything, taken by the release itself."""


@pytest.fixture
def harness(tmp_path: Path, market: ReplayHandle) -> Harness:
    shutil.copytree(RELEASE / "store", tmp_path / "store")
    return Harness(tmp_path, market.url)


def read(name: str) -> pl.DataFrame:
    """What the release read; it knew no flags."""
    return with_flags(pl.read_parquet(RELEASE / f"{name}.parquet"))


def states(harness: Harness, code: str) -> dict[str, CellState]:
    return {entry.partition: entry.state for entry in Manifest(harness.store, DAILY).all(code)}


def test_it_reads_as_the_release_read_it(harness: Harness) -> None:
    store = harness.store
    assert_frame_equal(
        prices(EVERYBODY, store=store).collect().drop("exchange"), read("prices"), check_exact=True
    )
    known = prices(EVERYBODY, as_of="2013-01-08T23:30:00+00:00", store=store).collect().drop("exchange")
    assert_frame_equal(known, read("prices_as_of_2013-01-08"), check_exact=True)
    assert_frame_equal(
        weekly(EVERYBODY, store=store).collect().drop("exchange"), read("weekly"), check_exact=True
    )
    assert snapshot_id(EVERYBODY, store=store) == SNAPSHOT
    assert prices(EVERYBODY, snapshot=SNAPSHOT, store=store).collect().drop("exchange").equals(read("prices"))
    assert universe(store=store).collect()["symbol"].to_list() == EVERYBODY
    for code, names in SYMBOLS.items():
        assert profiles(code, store=store).collect()["symbol"].to_list() == list(names)


def test_it_reads_the_same_without_its_manifest(harness: Harness) -> None:
    shutil.rmtree(harness.home / "store" / "manifest")
    assert_frame_equal(
        prices(EVERYBODY, store=harness.store).collect().drop("exchange"), read("prices"), check_exact=True
    )
    assert_frame_equal(
        weekly(EVERYBODY, store=harness.store).collect().drop("exchange"), read("weekly"), check_exact=True
    )


def test_its_rows_have_no_flags_and_the_content_that_it_recorded(harness: Harness) -> None:
    rows = prices(EVERYBODY, store=harness.store).collect()
    assert rows["flags"].unique().to_list() == [""]
    for entry in Manifest(harness.store, DAILY).all("US"):
        if entry.version:
            cell = read_table(harness.store, object_key(DAILY, "US", entry.partition))
            assert (cell.schema, content_sha256(cell)) == (DAILY_SCHEMA, entry.content_sha256)


def test_its_records_are_read(harness: Harness) -> None:
    assert harness.restatements()["date"].to_list() == [date(2012, 12, 31)]
    assert read_quarantine(harness.store, "US").height == 1
    assert read_events(harness.store, "ASX").height == 3
    found = states(harness, "US")
    assert found["2012-12-25"] is CellState.CLOSED
    assert found["2012-12-27"] is CellState.PARTIAL
    assert (found["2012-12-28"], harness.entry(date(2012, 12, 28)).rows) == (CellState.FAILED, 1)
    assert (found["2013-01-04"], harness.entry(date(2013, 1, 4)).rows) == (CellState.FAILED, 0)


def test_it_is_found_sound_and_its_manifest_can_be_made_anew(harness: Harness) -> None:
    before = {code: list(Manifest(harness.store, DAILY).all(code)) for code in SYMBOLS}
    # A copy's files have other versions than those that the manifest recorded, and are the same objects.
    assert verify_store(harness.store).sound
    rebuild_manifest(harness.store)
    assert verify_store(harness.store).sound
    for code, entries in before.items():
        after: list[Entry] = list(Manifest(harness.store, DAILY).all(code))
        assert [(e.partition, e.state, e.content_sha256) for e in after] == [
            (e.partition, e.state, e.content_sha256) for e in entries
        ]


def test_it_is_continued_and_nothing_that_is_there_is_asked_for_again(
    harness: Harness, market: ReplayHandle
) -> None:
    rebuild_manifest(harness.store)
    before = tree(harness.home / "store")
    for code, names in SYMBOLS.items():
        market.set_clock(EVENING)
        again = harness.fill(RANGE, listings(*names), code=code, now=EVENING, min_coverage=0.5)
        assert (again.requests, again.written) == (0, 0)
    assert tree(harness.home / "store") == before

    market.set_clock("2013-01-10T23:00:00Z")
    later = datetime(2013, 1, 10, 23, tzinfo=UTC)
    days = days_between(RANGE[0], date(2013, 1, 10))
    for code, names in SYMBOLS.items():
        report = harness.fill(days, listings(*names), code=code, now=later, min_coverage=0.5)
        # The new session of each, and what was missing, in one question a symbol.
        assert report.requests == len(names)
        assert report.cells[date(2013, 1, 10)].state is CellState.COMPLETE
    assert market.stats()["chart_data"] == dict.fromkeys(EVERYBODY, 1)
    # The market is without the faults of that time: what was missing is filled, the old correction taken back.
    assert harness.entry(date(2012, 12, 28)).state is CellState.COMPLETE
    assert harness.entry(date(2013, 1, 4)).state is CellState.COMPLETE
    assert sorted(harness.restatements()["date"]) == [date(2012, 12, 27), *[date(2012, 12, 31)] * 2]
    assert verify_store(harness.store).sound
    # Cells with the column of flags and without are one store, wherever it is moved to.
    moved = LocalObjectStore(harness.home / "moved")
    assert migrate_store(harness.store, moved).failed == {}
    assert verify_store(moved).sound
    rows = prices(EVERYBODY, store=moved).collect()
    assert_frame_equal(rows, prices(EVERYBODY, store=harness.store).collect(), check_exact=True)
    same = harness.fill(days, listings(*SYMBOLS["US"]), now=later, mode=Mode.VERIFY)
    assert same.restatements.is_empty()
    assert {day for day, state in states(harness, "US").items() if state is not CellState.CLOSED} == {
        day.isoformat() for day in sessions(days[0], days[-1])
    }
