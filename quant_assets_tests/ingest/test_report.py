"""What a run says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from quant_assets.ingest.plan import Mode
from quant_assets.ingest.report import FillReport
from quant_assets.market.coverage import CellState
from quant_assets.tables.manifest import Entry
from quant_assets.tables.quarantine import QUARANTINE_SCHEMA
from quant_assets.tables.restatements import LEDGER_SCHEMA

MONDAY, TUESDAY, WEDNESDAY = (date(2013, 2, day) for day in (11, 12, 13))


def entry(day: date, state: CellState = CellState.COMPLETE) -> Entry:
    return Entry(str(day), state)


def rows(schema: pl.Schema, **columns: list[Any]) -> pl.DataFrame:
    """Rows with some columns, the others null."""
    known = pl.DataFrame(columns, schema={name: schema[name] for name in columns})
    return pl.concat([pl.DataFrame(schema=schema), known], how="diagonal")


def ledger(*classes: str) -> pl.DataFrame:
    return rows(LEDGER_SCHEMA, **{"class": list(classes)})


def claim(**more: Any) -> pl.DataFrame:
    values: dict[str, Any] = {
        "id": "one", "symbol": "IBM", "date": WEDNESDAY, "decision": "pending", "rule": "high is below low",
        "scope": "row", "kind": "rule", "answer": "", "claims": 2, "last_claimed": WEDNESDAY,
        "fetched_at": datetime(2013, 2, 12, 22, tzinfo=UTC), **more,
    }  # fmt: skip
    return rows(QUARANTINE_SCHEMA, **{name: [value] for name, value in values.items()})


def test_the_days_that_a_restatement_changes_are_its_own_and_its_first_one() -> None:
    first, ex_date, other = date(2013, 1, 2), date(2013, 2, 13), date(2013, 2, 14)
    restated = rows(LEDGER_SCHEMA, date=[other, ex_date], first_date=[other, first])
    assert FillReport("US", Mode.INCREMENTAL, restatements=restated).restated_days == [first, ex_date, other]


COMPLETE, PARTIAL, CLOSED, FAILED = CellState.COMPLETE, CellState.PARTIAL, CellState.CLOSED, CellState.FAILED


@pytest.mark.parametrize(
    ("states", "more", "result"),
    [
        ([], {}, "SUCCESS"), ([COMPLETE], {}, "SUCCESS"), ([COMPLETE, CLOSED], {}, "SUCCESS"),
        ([CLOSED], {}, "SUCCESS"), ([PARTIAL], {}, "PARTIAL"), ([PARTIAL, COMPLETE], {}, "PARTIAL"),
        ([PARTIAL, FAILED], {}, "PARTIAL"), ([FAILED], {}, "FAILED"), ([FAILED, CLOSED], {}, "FAILED"),
        ([FAILED, COMPLETE], {}, "PARTIAL"),
        # Whoever could not be asked again leaves what stands; what came and is held may be usable yet.
        ([COMPLETE], {"not_verified": {"A": "no"}}, "PARTIAL"), ([FAILED], {"not_verified": {"A": "no"}}, "FAILED"),
        ([], {"not_verified": {"A": "no"}}, "FAILED"), ([FAILED], {"claimed": 1}, "PARTIAL"),
        ([COMPLETE], {"waiting": claim()}, "PARTIAL"), ([FAILED], {"waiting": claim()}, "FAILED"),
        # Broken off: what it wrote before is usable.
        ([COMPLETE], {"error": "away"}, "FAILED"),
        ([COMPLETE], {"error": "away", "changed": {MONDAY: Entry(str(MONDAY), COMPLETE)}}, "PARTIAL"),
    ],
)  # fmt: skip
def test_the_result_of_a_run(states: Collection[CellState], more: dict[str, Any], result: str) -> None:
    cells = {date(2013, 2, day): entry(date(2013, 2, day), one) for day, one in enumerate(states, 1)}
    assert FillReport("US", cells=cells, **more).result == result


def test_a_report_as_json_says_everything_once() -> None:
    report = FillReport(
        "US", Mode.FORCE, requests=9, requested=7, skipped=2, quarantined=1, claimed=3, warnings=["beware"],
        cells={MONDAY: entry(MONDAY), TUESDAY: entry(TUESDAY, PARTIAL), WEDNESDAY: entry(WEDNESDAY, PARTIAL)},
        changed={WEDNESDAY: entry(WEDNESDAY), TUESDAY: entry(TUESDAY)},
        outcomes=Counter(ok=4, not_found=1, failed=2), restatements=ledger("split", "correction", "split"),
        waiting=claim(), not_verified={"A": "no answer"},
    )  # fmt: skip
    report.seconds["plan"] = 1.23456
    assert report.facts() == {
        "exchange": "US", "mode": "force", "result": "PARTIAL", "requested": 7, "succeeded": 4, "skipped": 2,
        "failed": {"failed": 2, "not_found": 1}, "requests": 9,
        "cells": {"complete": 1, "partial": 2, "closed": 0, "failed": 0}, "missing": {}, "cells_written": 2,
        "changed": ["2013-02-12", "2013-02-13"], "restatements": {"split": 2, "correction": 1},
        "quarantined": 1,
        "held": [
            {
                "item": "one", "symbol": "IBM", "scope": "row", "kind": "rule", "rule": "high is below low",
                "decision": "pending", "first": "2013-02-13", "last": "2013-02-13", "sessions": 1,
                "since": "2013-02-12", "claims": 2, "last_claimed": "2013-02-13",
            }
        ],
        "not_verified": {"A": "no answer"}, "warnings": ["beware"], "seconds": {"plan": 1.235},
        "next": [
            "ask again for 1 symbol: their rows stand as they were",
            "`quant-assets quarantine list --exchange US` shows what is held; every run asks about it again",
            "`quant-assets restatements --exchange US` lists every value that changed",
        ],
    }  # fmt: skip
    assert (report.states, report.also_changed) == ({"complete": 1, "partial": 2}, {})
    nothing = FillReport("US")
    assert (nothing.mode, nothing.requests, nothing.requested, nothing.skipped) == (Mode.INCREMENTAL, 0, 0, 0)
    assert (nothing.quarantined, nothing.claimed, nothing.seconds["plan"]) == (0, 0, 0.0)


def test_a_second_pass_adds_to_the_report_and_only_the_days_asked_for_are_its_cells() -> None:
    report = FillReport(
        "US", cells={MONDAY: entry(MONDAY, PARTIAL)}, changed={MONDAY: entry(MONDAY, PARTIAL)}, requests=1,
        requested=2, outcomes=Counter(ok=1), restatements=ledger("split"), quarantined=3, claimed=4, warnings=["a"],
        not_verified={"A": "no"},
    )  # fmt: skip
    report.add(
        FillReport(
            "US", cells={MONDAY: entry(MONDAY), TUESDAY: entry(TUESDAY)}, changed={TUESDAY: entry(TUESDAY)},
            requests=10, requested=20, outcomes=Counter(ok=2, failed=1), restatements=ledger("correction"),
            quarantined=30, claimed=40, warnings=["b"], not_verified={"B": "nor"},
        )
    )  # fmt: skip
    assert report.cells == {MONDAY: entry(MONDAY)}
    assert report.changed == {MONDAY: entry(MONDAY, PARTIAL), TUESDAY: entry(TUESDAY)}
    assert report.also_changed == {TUESDAY: entry(TUESDAY)}
    assert (report.requests, report.requested, report.quarantined, report.claimed) == (11, 2, 33, 44)
    assert (report.outcomes, report.restatements["class"].to_list()) == (
        {"ok": 3, "failed": 1},
        ["split", "correction"],
    )
    assert (report.warnings, report.not_verified) == (["a", "b"], {"A": "no", "B": "nor"})
