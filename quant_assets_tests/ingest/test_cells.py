"""`CellWriter.write`: a cell is put when anything that it states has changed, and only then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from quant_assets.ingest.cells import CellNews, CellWriter
from quant_assets.market.coverage import FINAL, SETTLED, CellState, Missing, symbols_sha256
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Expected
from quant_assets.tables.parquet import read_facts
from quant_assets_tests.filled import bars

DAY = date(2013, 2, 13)
FIRST, LATER = (datetime(2013, 2, day, 22, tzinfo=UTC) for day in (13, 14))
NAMES = ["A", "B", "C"]


def hole(symbol: str = "C", outcome: str = "no_bar", day: int = 13, **more: int) -> Missing:
    return Missing(symbol, outcome, f"{outcome} of {symbol}", date(2013, 2, day), **more)


def news(*missing: Missing) -> CellNews:
    return CellNews(fresh=bars(DAY, ["A", "B"], FIRST), missing={m.symbol: m for m in missing})


def writer(store: LocalObjectStore, least: float = 0.0) -> CellWriter:
    return CellWriter(store, "US", "made up", least, Expected(store, "US"))


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def facts(store: LocalObjectStore) -> dict[str, Any]:
    key = object_key(DAILY, "US", str(DAY))
    return read_facts(store.get(key).data, key)


@pytest.mark.parametrize("known", [True, False], ids=["in the manifest", "unrecorded"])
@pytest.mark.parametrize(
    ("least", "expected", "missing", "changes"),
    [
        (0.0, NAMES, hole(), {}),
        # The same three symbols, and another state by another least coverage.
        (0.95, NAMES, hole(), {"state": "failed"}),
        (0.0, ["A", "B"], None, {"state": "complete", "expected": 2}),
        # Others are expected, and the state is the same.
        (0.0, ["A", "B", "D"], hole("D"), {"expected_sha256": symbols_sha256(["A", "B", "D"])}),
        (0.0, NAMES, hole(outcome="refused"), {"missing": "refused"}),
        (0.0, NAMES, replace(hole(), reason="another reason"), {"missing": "no_bar"}),
    ],
    ids=["nothing", "state", "expected", "for whom", "outcome", "reason"],
)
def test_write_puts_a_cell_again_when_what_it_states_has_changed(
    store: LocalObjectStore,
    known: bool,
    least: float,
    expected: list[str],
    missing: Missing | None,
    changes: dict[str, object],
) -> None:
    first = writer(store).write(DAY, NAMES, news(hole()), None, FIRST)
    assert (first.put, first.entry.state) == (True, CellState.PARTIAL)
    recorded = first.entry if known else None
    again = news(missing) if missing else news()
    second = writer(store, least).write(DAY, expected, again, recorded, FIRST)
    assert second.put is bool(changes)
    stated = facts(store)
    for name, value in changes.items():
        if name == "missing":
            (stated_hole,) = Entry.from_facts(stated, None).missing
            assert stated_hole.outcome == value
            assert missing is not None
            assert stated_hole.reason == missing.reason
        else:
            assert stated[name] == value
    assert second.entry.version == store.get(object_key(DAILY, "US", str(DAY))).info.version
    assert stated["state"] == second.entry.state.value
    # Said once more it is no news.
    third = writer(store, least).write(DAY, expected, again, second.entry, FIRST)
    assert (third.put, third.entry.version) == (False, second.entry.version)


@pytest.mark.parametrize(
    ("least", "reason"), [(0.5, ""), (0.95, "2 of 3 symbols received, less than 95%: 1 no_bar")]
)
def test_a_cell_below_the_least_coverage_says_what_it_lacks(
    store: LocalObjectStore, least: float, reason: str
) -> None:
    written = writer(store, least).write(DAY, NAMES, news(hole()), None, FIRST)
    assert written.entry.reason == reason


def test_write_puts_a_complete_cell_again_for_others_than_it_was_filled_for(store: LocalObjectStore) -> None:
    first = writer(store).write(DAY, ["A", "B"], news(), None, FIRST)
    second = writer(store).write(DAY, ["A"], CellNews(), first.entry, LATER)
    assert (first.entry.state, second.entry.state) == (CellState.COMPLETE, CellState.COMPLETE)
    assert second.put
    assert facts(store)["expected_sha256"] == second.entry.expected_sha256 == symbols_sha256(["A"])
    # Nobody's row is lost by it.
    assert second.entry.content_sha256 == first.entry.content_sha256


def test_write_counts_another_answer_in_the_entry_and_puts_nothing(store: LocalObjectStore) -> None:
    first = writer(store).write(DAY, NAMES, news(hole()), None, FIRST)
    second = writer(store).write(DAY, NAMES, news(hole(day=14)), first.entry, LATER)
    assert (second.put, second.entry.version) == (False, first.entry.version)
    (missing,) = second.entry.missing
    assert (missing.answers, missing.since, missing.asked_on) == (2, DAY, date(2013, 2, 14))
    assert second.entry.recorded_at > first.entry.recorded_at


@pytest.mark.parametrize("before", sorted({"no_bar", "refused", *FINAL}))
@pytest.mark.parametrize("after", ["failed", "rate_limited", "not_found", "no_data"])
def test_write_takes_no_statement_back_because_a_later_question_failed(
    store: LocalObjectStore, before: str, after: str
) -> None:
    first = writer(store).write(DAY, NAMES, news(hole(outcome=before)), None, FIRST)
    second = writer(store).write(DAY, NAMES, news(hole(outcome=after, day=14)), first.entry, LATER)
    assert second.entry.missing == first.entry.missing
    assert not second.put


@pytest.mark.parametrize("before", ["failed", "not_asked", *sorted(SETTLED - {"no_bar", "refused"})])
def test_write_takes_a_later_answer_for_a_question_that_failed(store: LocalObjectStore, before: str) -> None:
    first = writer(store).write(DAY, NAMES, news(hole(outcome=before)), None, FIRST)
    second = writer(store).write(DAY, NAMES, news(hole(day=14)), first.entry, LATER)
    assert second.entry.missing == (hole(day=14),)
    assert second.put


@pytest.mark.parametrize(("gap", "outcome"), [(1, "suspended"), (0, "no_bar")])
def test_write_keeps_a_suspension_while_there_are_bars_on_both_sides(
    store: LocalObjectStore, gap: int, outcome: str
) -> None:
    first = writer(store).write(DAY, NAMES, news(hole(outcome="suspended", gap=1)), None, FIRST)
    second = writer(store).write(DAY, NAMES, news(hole(day=14, gap=gap)), first.entry, LATER)
    (missing,) = second.entry.missing
    assert (missing.outcome, missing.answers) == (outcome, 2)
