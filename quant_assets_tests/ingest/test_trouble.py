"""Trouble with the source, the store, and other runs: named, and nothing lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.exchanges import exchange
from quant_assets.ingest.plan import Mode
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.source import SourceUnavailable
from quant_assets.tables.fetch_reports import read_reports
from quant_assets.tables.layout import DAILY, object_key, requested_key
from quant_assets.tables.manifest import Entry, Manifest
from quant_assets.tables.parquet import read_facts
from quant_assets.tables.requested import read_requested
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, bars, truth
from quant_assets_tests.support import (
    NOW,
    days_between,
    listings,
    tree,
)

# Trouble with the source, the store, and each other.


def test_nothing_but_what_was_asked_for_is_written_when_the_source_cannot_be_reached(
    harness: Harness,
) -> None:
    harness.fill(WEEK[:2])
    before = tree(harness.home / "store")
    away = Harness(harness.home, "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable, match=r"http://127\.0\.0\.1:9 does not answer"):
        away.fill()
    after = tree(harness.home / "store")
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == {
        requested_key("US")
    }
    assert read_requested(harness.store, "US").ranges == ((WEEK[0], WEEK[-1]),)
    # But the report, which says what broke the run off.
    (told,) = [one for one in read_reports(harness.store, "US", 9) if one["result"] == "FAILED"]
    assert (told["result"], told["cells_written"]) == ("FAILED", 0)
    assert "http://127.0.0.1:9 does not answer" in told["error"]
    assert told["next"][0].startswith("run the same command again")
    assert "**Broken off**: " in told["markdown"]


def test_a_session_after_those_on_record_is_recorded_by_its_cell_or_where_it_gets_none(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.fill(WEEK[:2])
    before = harness.store.get(requested_key("US"))
    harness.fill([WEEK[2]])
    assert harness.store.get(requested_key("US")) == before
    dead = Harness(harness.home, "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable):
        dead.fill([WEEK[3]], retry_wait_seconds=0.0)
    assert WEEK[3] in read_requested(harness.store, "US")


@pytest.mark.parametrize("unnoticed", [False, True])
def test_a_damaged_cell_is_named_the_others_go_on_and_removed_it_is_made_anew(
    harness: Harness, market: ReplayHandle, unnoticed: bool
) -> None:
    harness.fill()
    whole = harness.cell()
    path = harness.path()
    stamp = path.stat().st_mtime_ns
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    # A disk that loses a bit changes neither length nor time: only who reads the cell finds out.
    path.write_bytes(flipped if unnoticed else flipped[:-40])
    if unnoticed:
        os.utime(path, ns=(stamp, stamp))
    damaged = path.read_bytes()
    report = harness.fill(catalog=listings(*SYMBOLS, "FB"))
    assert (report.written, report.states) == (4, {"complete": 4, "failed": 1})
    assert re.search(f"{path}: .* Remove the object and run the backfill", report.cells[DAY].reason)
    assert path.read_bytes() == damaged
    assert all("FB" in set(harness.cell(day)["symbol"]) for day in WEEK if day != DAY)
    # What is recorded of the damaged cell is what was known of it.
    assert (harness.entry().state, harness.entry().rows) == (CellState.COMPLETE, 3)
    # The remedy that the message names.
    path.unlink()
    market.reset_stats()
    report = harness.fill(catalog=listings(*SYMBOLS, "FB"), now=NOW + timedelta(days=1))
    assert (report.written, report.states) == (1, {"complete": 5})
    again = harness.cell().filter(pl.col("symbol") != "FB")
    assert again.drop("fetched_at").equals(whole.drop("fetched_at"))


@pytest.mark.parametrize(
    ("first", "days"),
    [
        (WEEK[0], WEEK),
        (WEEK[0], [date(2013, 2, 19)]),
        (date(2012, 10, 1), days_between(date(2012, 10, 1), WEEK[-1])),
    ],
    ids=["filled again", "in the look-back", "in a long range"],
)
@pytest.mark.parametrize("mode", [Mode.INCREMENTAL, Mode.FORCE])
def test_a_cell_removed_by_hand_stops_no_fill_of_the_days_around_it(
    harness: Harness, market: ReplayHandle, first: date, days: list[date], mode: Mode
) -> None:
    before = days_between(first, WEEK[-1])
    harness.fill(before)
    whole = harness.cell()
    harness.path().unlink()
    report = harness.fill(days, mode=mode)
    assert report.states.keys() <= {"complete", "closed"}
    assert report.restatements.is_empty()
    if DAY in days:
        assert harness.cell().equals(whole)
    else:
        # It is asked for by a run over its day.
        assert not harness.path().exists()


def test_cells_that_a_killed_run_left_unrecorded_are_found_again(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.fill()
    shard = Path(harness.store.uri(Manifest(harness.store, DAILY).shard_key("US", 2013)))
    recorded_entries = Manifest(harness.store, DAILY).year("US", 2013)
    shard.unlink()
    market.reset_stats()
    report = harness.fill()
    assert (report.requests, report.states) == (0, {"complete": 5})
    assert Manifest(harness.store, DAILY).year("US", 2013) == recorded_entries


def test_the_footer_tells_what_the_manifest_tells(harness: Harness, market: ReplayHandle) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": "persistent"})
    harness.fill()
    blob = harness.store.get(object_key(DAILY, "US", str(DAY)))
    facts = read_facts(blob.data, "cell")
    assert Entry.from_facts(facts, blob.info) == harness.entry()
    assert (facts["source"], facts["state"], facts["expected"], facts["received"]) == (
        "yahoo",
        "partial",
        3,
        2,
    )
    assert [hole.symbol for hole in Entry.from_facts(facts, None).missing] == ["AAPL"]


ANOTHER_RUN = """
import sys
from datetime import date
from pathlib import Path
from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest
from quant_assets.market import validation
from quant_assets_tests.support import days_between, listings, quick_settings
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.resources.yahoo import YahooSource

home, url = Path(sys.argv[1]), sys.argv[2]
settings = quick_settings(home, url)
us, store = exchange("US"), LocalObjectStore(home / "store")
days = days_between(date(2013, 1, 2), date(2013, 2, 15))
us.calendar().sessions(days[0], days[-1])
print("ready", flush=True)
sys.stdin.readline()
report = fill_cells(
    FillContext(us, store, YahooSource(settings), settings.clock, FillRules(home / "another")),
    FillRequest(days, listings("AAPL", "IBM", "MSFT"), ["AAPL"]),
)
print(report.written, flush=True)
"""


def test_two_processes_over_the_same_cells_at_once_lose_nothing(
    harness: Harness, market: ReplayHandle
) -> None:
    days = days_between(date(2013, 1, 2), date(2013, 2, 15))
    sessions = exchange("US").calendar().sessions(days[0], days[-1])
    # Both wait for the slow first answer, and so write at the same time.
    market.add_faults({"kind": "slow", "seconds": 1.0})
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER_RUN, str(harness.home), market.url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        mine = harness.fill(days, only=["IBM", "MSFT"])
        theirs = int(other.stdout.readline())
    assert other.returncode == 0
    assert (mine.written, theirs) == (len(sessions), len(sessions))
    rows = pl.concat([harness.cell(day) for day in sessions])
    assert_frame_equal(bars(rows), truth(SYMBOLS, sessions), check_exact=True)
    assert {harness.entry(day).state for day in sessions} == {CellState.COMPLETE}
    assert harness.fill(days).requests == 0
