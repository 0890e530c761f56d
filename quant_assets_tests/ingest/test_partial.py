"""A source that stops answering: what can be complete is, what is not says so, and nothing rests on too little."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quant_assets.ingest.plan import Mode
from quant_assets.ingest.report import FillReport
from quant_assets.ingest.wanted import asking_order
from quant_assets.market.coverage import CellState
from quant_assets.replay.launch import ReplayHandle
from quant_assets.tables.daily import read_daily
from quant_assets.tables.fetch_reports import read_reports
from quant_assets.tables.layout import DAILY
from quant_assets.tables.lineage import with_rows
from quant_assets.tables.manifest import Manifest
from quant_assets_tests.ingest.harness import DAY, SYMBOLS, WEEK, Harness, bars, evening, sessions, truth
from quant_assets_tests.support import NOW, listings

LISTED = date(2012, 5, 18)
"""Facebook's first day."""
DAYS = sessions(date(2012, 5, 14), date(2012, 5, 25))
EVERYBODY = listings("AAPL", "GOOG", "IBM", "MSFT", FB=LISTED)


def refusing(after: int) -> dict[str, Any]:
    return {"kind": "rate_limited_429", "times": None, "after_total": after}


def stopped(harness: Harness, market: ReplayHandle, after: int, **more: Any) -> FillReport:
    """A run whose source refuses every request after so many."""
    market.add_faults(refusing(after))
    # One question at a time, so that the order of the answers is the order of the questions.
    return harness.fill(
        DAYS, EVERYBODY, concurrency=1, rate_limit_budget_seconds=0.05, cool_down_seconds=0.02, **more
    )


# Rate limits that do not end.


def test_a_run_that_is_refused_stops_within_its_budget_of_waiting(
    harness: Harness, market: ReplayHandle
) -> None:
    report = stopped(harness, market, 0)
    # 0.02 s and, as it goes on, 0.04 s: more than may be waited. Nobody else is asked.
    assert market.stats()["chart_status"] == {"429": 2}
    assert report.requests == 2
    assert report.outcomes == {"rate_limited": 5}
    assert report.result == "FAILED"
    assert {entry.state for entry in report.cells.values()} == {CellState.FAILED}
    assert {m.outcome for m in harness.entry(DAYS[-1]).missing} == {"rate_limited"}
    # They are asked again at once.
    market.clear_faults()
    assert harness.fill(DAYS, EVERYBODY).result == "SUCCESS"


def test_what_was_answered_completes_the_most_cells_and_the_others_name_who_is_missing(
    harness: Harness, market: ReplayHandle
) -> None:
    report = stopped(harness, market, 4)
    before = [day for day in DAYS if day < LISTED]
    assert {day: entry.state for day, entry in report.cells.items()} == {
        day: CellState.COMPLETE if day < LISTED else CellState.PARTIAL for day in DAYS
    }
    assert len(before) == 4
    assert (report.result, report.outcomes) == ("PARTIAL", {"ok": 4, "rate_limited": 1})
    for day in DAYS:
        entry, rows = harness.entry(day), harness.cell(day)
        assert_frame_equal(bars(rows), truth(["AAPL", "GOOG", "IBM", "MSFT"], [day]), check_exact=True)
        assert [(m.symbol, m.outcome) for m in entry.missing] == (
            [] if day < LISTED else [("FB", "rate_limited")]
        )
        assert all("rate" in m.reason for m in entry.missing)
        assert entry.expected == (4 if day < LISTED else 5)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_after_any_number_of_answers_no_cell_is_complete_that_lacks_a_symbol(
    harness: Harness, market: ReplayHandle, after: int
) -> None:
    report = stopped(harness, market, after)
    assert report.outcomes == {"ok": after, "rate_limited": 5 - after}
    assert report.result == "PARTIAL"
    for day in DAYS:
        entry = harness.entry(day)
        assert (entry.state, entry.received) == (CellState.PARTIAL, after)
        assert len(entry.missing) == entry.expected - after
    market.clear_faults()
    market.reset_stats()
    again = harness.fill(DAYS, EVERYBODY)
    assert (again.result, again.requests) == ("SUCCESS", 5 - after)
    assert sum(market.stats()["chart_data"].values()) == 5 - after


def completed(cells: Sequence[set[str]], asked: Sequence[str]) -> int:
    return sum(cell <= set(asked) for cell in cells)


names = st.sampled_from("ABCDEFG")
many_cells = st.lists(st.sets(names), max_size=12)


@given(many_cells)
def test_every_symbol_is_asked_just_once_whatever_the_order_of_the_cells(cells: list[set[str]]) -> None:
    order = asking_order(cells)
    assert sorted(order) == sorted(set[str]().union(*cells))
    assert asking_order(reversed(cells)) == order


@given(many_cells.filter(any))
def test_the_first_cells_to_be_complete_take_the_fewest_questions_each(cells: list[set[str]]) -> None:
    wanted = [cell for cell in cells if cell]
    order = asking_order(wanted)
    at = next(n for n in range(1, len(order) + 1) if any(set(order[:n]) == cell for cell in wanted))
    least = min(len(cell) / wanted.count(cell) for cell in wanted)
    reached = [n for n in range(at, len(order) + 1) if set(order[:n]) in wanted]
    assert any(n / wanted.count(set(order[:n])) == least for n in reached)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=12), st.permutations("ABCDEFG"))
def test_of_symbols_that_were_listed_one_after_another_no_alphabet_completes_more(
    listed: list[int], born: list[str]
) -> None:
    cells = [set(born[:number]) for number in listed]
    order = asking_order(cells)
    alphabet = sorted(order)
    for prefix in range(len(order) + 1):
        assert completed(cells, order[:prefix]) >= completed(cells, alphabet[:prefix])


# What a run reports.


def test_the_report_of_a_run_tells_what_was_asked_and_what_came_of_it(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.fill(DAYS[:2], EVERYBODY, only=["MSFT"])
    market.add_faults({"kind": "not_found_404", "symbol": "GOOG", "times": None})
    market.reset_stats()
    harness.fill(DAYS[:2], EVERYBODY, now=NOW + timedelta(minutes=1), run="abcdef0123", min_coverage=0.5)
    (told,) = read_reports(harness.store, "US")
    seconds, text = told.pop("seconds"), told.pop("markdown")
    assert text.startswith("## US: PARTIAL\n\nRun `abcdef0123`, started 2013-03-01T23:01:00+00:00")
    assert "| symbols asked | 3 (ok 2, not_found 1), nothing missing of 1 |" in text
    assert set(seconds) >= {"plan", "source", "transform", "compare", "store"}
    assert all(value >= 0 for value in seconds.values())
    assert told == {
        "run": "abcdef0123",
        "started": (NOW + timedelta(minutes=1)).isoformat(),
        "exchange": "US",
        "mode": "incremental",
        "result": "PARTIAL",
        "requested": 3,
        "succeeded": 2,
        "skipped": 1,
        "failed": {"not_found": 1},
        "requests": 3,
        "cells": {"complete": 0, "partial": 2, "closed": 0, "failed": 0},
        "missing": {"not_found": 2},
        "cells_written": 2,
        "changed": [str(day) for day in DAYS[:2]],
        "restatements": {},
        "quarantined": 0,
        "held": [],
        "not_verified": {},
        "warnings": [],
        "next": ["`quant-assets gaps --exchange US` tells since when the source has no bar, and why"],
    }
    (key,) = [info.key for info in harness.store.list("fetch_reports/") if "abcdef01" in info.key]
    assert key == "fetch_reports/exchange=US/2013-03-01T23-01-00.000000Z-abcdef01.json"
    assert orjson.loads(harness.store.get(key).data)["run"] == "abcdef0123"


def test_a_report_counts_failures_by_outcome_restatements_by_class_and_bars_held_back(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.live(market, WEEK[-2], WEEK[:-1])
    market.add_faults(
        {"kind": "corrected_bar", "symbol": "AAPL", "date": str(DAY), "field": "volume", "value": 7},
        {"kind": "corrected_bar", "symbol": "IBM", "date": str(WEEK[-1]), "field": "low", "value": 900.0},
        {"kind": "server_error_500_html", "symbol": "MSFT", "times": None},
    )
    harness.live(market, WEEK[-1])
    (told,) = read_reports(harness.store, "US")
    assert (told["requested"], told["succeeded"], told["failed"]) == (3, 2, {"failed": 1})
    assert (told["restatements"], told["quarantined"]) == ({"correction": 1}, 1)
    assert told["changed"] == [str(DAY), str(WEEK[-1])]
    assert told["requests"] == 5
    assert "IBM: 1 bar(s) from 2013-02-15 on are held: low 900 in a bar around" in told["warnings"][0]


def test_a_run_that_had_nothing_to_do_leaves_no_report(harness: Harness) -> None:
    harness.fill()
    (first,) = read_reports(harness.store, "US", last=9)
    harness.fill(now=NOW + timedelta(days=1))
    assert read_reports(harness.store, "US", last=9) == [first]


# Too few symbols.


def test_below_the_least_coverage_a_cell_has_failed_and_its_rows_are_as_good_as_others(
    harness: Harness, market: ReplayHandle
) -> None:
    market.add_faults(
        {"kind": "missing_session", "symbol": "AAPL", "date": str(DAY), "times": None},
    )
    report = harness.fill(min_coverage=0.95)
    assert {day: entry.state for day, entry in report.cells.items()} == {
        day: CellState.FAILED if day == DAY else CellState.COMPLETE for day in WEEK
    }
    assert report.result == "PARTIAL"
    assert harness.entry().reason == "2 of 3 symbols received, less than 95%: 1 no_bar"
    assert harness.entry().rows == 2
    assert with_rows(Manifest(harness.store, DAILY).year("US", 2013)) == [str(day) for day in WEEK]
    rows = read_daily(harness.store, "US", DAY, DAY)
    assert_frame_equal(bars(rows), truth(["IBM", "MSFT"], [DAY]), check_exact=True)
    # Once it is there, the cell is like any other.
    market.clear_faults()
    assert harness.fill(min_coverage=0.95, now=NOW + timedelta(days=1)).result == "SUCCESS"


@pytest.mark.parametrize(("least", "state"), [(0.6, CellState.PARTIAL), (0.67, CellState.FAILED)])
def test_the_least_coverage_is_that_of_the_setting(
    harness: Harness, market: ReplayHandle, least: float, state: CellState
) -> None:
    market.add_faults({"kind": "server_error_500_html", "symbol": "AAPL", "times": None})
    report = harness.fill(min_coverage=least)
    assert {entry.state for entry in report.cells.values()} == {state}
    assert report.result == ("PARTIAL" if state is CellState.PARTIAL else "FAILED")


def test_symbols_that_nobody_has_asked_for_or_that_were_suspended_do_not_count(
    harness: Harness, market: ReplayHandle
) -> None:
    report = harness.fill(only=["AAPL"], min_coverage=0.95)
    assert {entry.state for entry in report.cells.values()} == {CellState.PARTIAL}
    market.add_faults({"kind": "missing_session", "symbol": "IBM", "date": str(DAY), "times": None})
    harness.fill(only=["IBM", "AAPL"], min_coverage=0.95, now=NOW + timedelta(minutes=1))
    # Asked for and not come, of two that were asked.
    assert harness.entry().state is CellState.FAILED
    harness.fill(min_coverage=0.95, now=NOW + timedelta(days=1))
    assert {m.symbol: m.outcome for m in harness.entry().missing} == {"IBM": "suspended"}
    assert harness.entry().state is CellState.PARTIAL
    assert len(with_rows(Manifest(harness.store, DAILY).year("US", 2013))) == 5


def test_a_verifying_run_that_is_refused_names_whom_it_could_not_ask(
    harness: Harness, market: ReplayHandle
) -> None:
    harness.fill()
    market.add_faults(refusing(1))
    report = harness.fill(
        mode=Mode.VERIFY, now=evening(date(2013, 3, 4)), concurrency=1,
        rate_limit_budget_seconds=0.0, cool_down_seconds=0.01,
    )  # fmt: skip
    assert report.result == "PARTIAL"
    assert set(report.not_verified) == {"IBM", "MSFT"}
    assert all("rate" in reason for reason in report.not_verified.values())
    assert set(report.outcomes) == {"ok", "rate_limited"}
    assert set(SYMBOLS) - set(report.not_verified) == {"AAPL"}
    assert isinstance(report.restatements, pl.DataFrame)
    assert report.restatements.is_empty()
