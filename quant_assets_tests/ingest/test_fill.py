"""`fill_cells`: whom a run that asks everybody again names as not verified."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import date, timedelta

import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.context import FillContext, FillRules, Listeners
from quant_assets.ingest.decisions import Choice, settle_quarantine
from quant_assets.ingest.fill import fill_cells
from quant_assets.ingest.plan import FillRequest, Mode
from quant_assets.replay.launch import ReplayHandle
from quant_assets.resources.yahoo import YahooSource
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Manifest
from quant_assets.tables.quarantine import Decision
from quant_assets.tables.requested import read_requested
from quant_assets_tests.ingest.harness import DAY, HOLIDAY, SYMBOLS, WEEK, Harness, evening
from quant_assets_tests.support import NOW, listings, quick_settings

TUESDAY = date(2013, 2, 19)
NAMES = ("AAPL", "FB", "GOOG", "IBM", "MSFT")


@pytest.mark.parametrize("mode", [Mode.FORCE, Mode.VERIFY])
def test_fill_cells_names_as_not_verified_only_who_did_not_answer(
    harness: Harness, market: ReplayHandle, mode: Mode
) -> None:
    catalog = harness.put_catalog(*NAMES)
    low = {"kind": "corrected_bar", "date": str(DAY), "field": "low", "value": 900.0}
    market.add_faults({**low, "symbol": "IBM"}, {**low, "symbol": "MSFT"})
    harness.live(market, WEEK[-1], WEEK, catalog=catalog)
    settle_quarantine(
        harness.store, exchange("US"), Choice(Decision.REJECTED, symbols=["MSFT"]),
        now=evening(WEEK[-1]), min_coverage=0.0,
    )  # fmt: skip
    assert {m.symbol: m.outcome for m in harness.entry().missing} == {"IBM": "held", "MSFT": "rejected"}
    market.add_faults(
        {"kind": "server_error_500_html", "symbol": "AAPL", "times": None},
        {"kind": "not_found_404", "symbol": "FB", "times": None},
        {"kind": "missing_session", "symbol": "GOOG", "date": str(DAY), "times": None},
    )
    report = harness.fill(WEEK, catalog, now=evening(TUESDAY) + timedelta(hours=1), mode=mode)
    # Not found is an answer; so are a bar that is left out, one that breaks a rule and one that was rejected.
    assert list(report.not_verified) == ["AAPL"]
    assert "500" in report.not_verified["AAPL"]
    assert report.result == "PARTIAL"


def test_fill_cells_verifies_everybody_when_all_answer(harness: Harness, market: ReplayHandle) -> None:
    harness.live(market, WEEK[-1], WEEK)
    market.add_faults({"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": None})
    for mode in (Mode.VERIFY, Mode.FORCE):
        assert harness.live(market, TUESDAY, WEEK, mode=mode).not_verified == {}


def test_fill_cells_counts_the_requests_of_its_own_run(harness: Harness, market: ReplayHandle) -> None:
    settings = quick_settings(harness.home, harness.url, now=NOW)
    source = YahooSource(settings)
    rules = FillRules(harness.home / "spill", 15, 0.0)
    started = time.perf_counter()
    context = FillContext(exchange("US"), harness.store, source, settings.clock, rules)
    runs = [
        fill_cells(replace(context, run=f"{day:%d}"), FillRequest([day], listings(*SYMBOLS)))
        for day in WEEK[:2]
    ]
    source.close()
    assert [run.requests for run in runs] == [3, 3]
    assert sum(sum(run.seconds.values()) for run in runs) < 2 * (time.perf_counter() - started)


def test_fill_cells_tells_of_the_cells_asked_for_and_of_others_that_were_put(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "IBM", "times": None})
    told: list[set[date]] = []
    for day in WEEK[1:4]:
        market.set_clock(evening(day))
        if day == WEEK[3]:
            market.clear_faults()
        settings = quick_settings(harness.home, harness.url, now=evening(day))
        source = YahooSource(settings)
        context = FillContext(
            exchange("US"), harness.store, source, settings.clock, FillRules(harness.home / "spill"),
            listeners=Listeners(cells=lambda _, cells: told.append(set(cells))),
        )  # fmt: skip
        fill_cells(context, FillRequest(WEEK[:2] if day == WEEK[1] else [day], listings(*SYMBOLS)))
        source.close()
    # On the second evening nothing more is known of the first days, on the third their holes are filled.
    assert told == [{*WEEK[:2]}, {WEEK[2]}, {*WEEK[:4]}]


def test_fill_cells_has_nothing_to_count_on_a_holiday(harness: Harness) -> None:
    report = harness.fill([HOLIDAY])
    assert (report.requests, report.claimed, report.quarantined) == (0, 0, 0)
    assert report.held.is_empty()


def test_fill_cells_knows_a_rejected_bar_though_its_cell_is_gone(
    harness: Harness, market: ReplayHandle
) -> None:
    catalog = harness.put_catalog(*SYMBOLS)
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "IBM", "date": str(DAY), "field": "low", "value": 900.0}
    )
    harness.live(market, DAY, catalog=catalog)
    settle_quarantine(
        harness.store, exchange("US"), Choice(Decision.REJECTED, symbols=["IBM"]),
        now=evening(DAY), min_coverage=0.0,
    )  # fmt: skip
    harness.store.delete(object_key(DAILY, "US", str(DAY)))
    Manifest(harness.store, DAILY).replace("US", [])
    harness.live(market, WEEK[-1], [DAY], catalog=catalog)
    assert {m.symbol: m.outcome for m in harness.entry().missing} == {"IBM": "rejected"}


def test_fill_cells_puts_a_session_without_any_answer_on_record(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[1])
    market.add_faults({"kind": "server_error_500_html", "symbol": "*", "times": None})
    assert harness.live(market, DAY).result == "FAILED"
    assert DAY in read_requested(harness.store, "US")


@pytest.mark.parametrize("mode", Mode)
def test_fill_cells_sweeps_up_in_every_mode_but_verify(harness: Harness, mode: Mode) -> None:
    """The store is claimed then, and what killed runs have left in it goes."""
    harness.put_catalog(*SYMBOLS)
    left = harness.home / "store" / ".tmp" / "elsewhere@1-0"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    os.utime(left, (0, 0))
    report = harness.fill([DAY], mode=mode)
    assert bool(report.written) is (mode is not Mode.VERIFY)
    assert (harness.home / "store" / "quant-assets.json").exists() is (mode is not Mode.VERIFY)
    assert left.exists() is (mode is Mode.VERIFY)


def test_fill_cells_forced_writes_no_cell_that_nothing_is_new_of(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults({"kind": "missing_session", "symbol": "IBM", "date": str(DAY), "times": None})
    harness.live(market, WEEK[-1], WEEK)
    entries = {day: harness.entry(day) for day in WEEK}
    assert [one.answers for one in entries[DAY].missing] == [2]
    report = harness.live(market, TUESDAY, WEEK, mode=Mode.FORCE)
    # Of the hole it is known that it has been stated again; the others stay as they were recorded.
    after = {day: harness.entry(day) for day in WEEK}
    assert [day for day in WEEK if after[day] != entries[day]] == [DAY]
    assert [(one.answers, one.outcome) for one in after[DAY].missing] == [(4, "suspended")]
    assert set(report.cells) == set(WEEK)
