"""What is asked for, by value: the days told apart, the plan for some of them, and what a plan wants of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from quant_assets.exchanges import exchange
from quant_assets.ingest.cells import CellNews, CellWriter
from quant_assets.ingest.context import FillRules
from quant_assets.ingest.plan import Days, FillRequest, Mode, Plan, classify_days, make_plan
from quant_assets.ingest.wanted import Wanted
from quant_assets.market.coverage import CellState, Missing
from quant_assets.resources.local_store import LocalObjectStore
from quant_assets.tables.layout import DAILY, object_key
from quant_assets.tables.manifest import Entry, Expected, Manifest
from quant_assets_tests.filled import bars
from quant_assets_tests.ingest.harness import HOLIDAY, WEEK, evening, sessions
from quant_assets_tests.support import listings

MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = WEEK
NOW = evening(FRIDAY)
NAMES = ("A", "B", "C")


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


def put(
    store: LocalObjectStore, day: date, came: Sequence[str], *missing: Missing, of: Sequence[str] = NAMES
) -> None:
    """A cell that was filled for symbols, of which some came."""
    writer = CellWriter(store, "US", "made up", 0.0, Expected(store, "US"))
    news = CellNews(fresh=bars(day, came, evening(day)), missing={one.symbol: one for one in missing})
    Manifest(store, DAILY).record("US", [writer.write(day, of, news, None, evening(day)).entry])


def hole(symbol: str, outcome: str, asked_on: date = THURSDAY) -> Missing:
    return Missing(symbol, outcome, outcome, asked_on)


def planned(
    store: LocalObjectStore,
    days: Sequence[date],
    *,
    catalog: pl.DataFrame | None = None,
    only: Sequence[str] | None = None,
    mode: Mode = Mode.INCREMENTAL,
    look_back: int = 0,
    held: Mapping[str, set[date]] | None = None,
) -> Plan:
    request = FillRequest(days, listings(*NAMES) if catalog is None else catalog, only, mode)
    return make_plan(exchange("US"), store, request, NOW, look_back=look_back, held=held)


def wants(plan: Plan) -> dict[date, str]:
    return {day: "".join(sorted(plan.wanted[day])) for day in plan.wanted}


def test_days_are_sessions_that_are_over_closed_or_too_early() -> None:
    tuesday = date(2013, 2, 19)
    days = [tuesday, HOLIDAY, FRIDAY, HOLIDAY, date(2013, 2, 20)]
    for now, over in (
        (datetime(2013, 2, 19, 16, tzinfo=UTC), [FRIDAY]),
        (evening(tuesday), [FRIDAY, tuesday]),
    ):
        found = classify_days(exchange("US"), days, now)
        early = [day for day in (tuesday, date(2013, 2, 20)) if day not in over]
        assert found.by_kind() == (over, [HOLIDAY], early)
    assert classify_days(exchange("US"), [], NOW).by_kind() == ([], [], [])


def test_a_plan_for_some_of_its_days_wants_all_that_it_wants() -> None:
    wanted = Wanted.of({MONDAY: {"A"}, TUESDAY: {"B"}})
    plan = Plan(
        Days([MONDAY, TUESDAY], [HOLIDAY], [date(2013, 2, 19)]),
        wanted,
        damaged={MONDAY: "why", TUESDAY: "no"},
    )
    part = plan.of_days([TUESDAY, HOLIDAY])
    assert (part.days, part.damaged) == (Days([TUESDAY], [HOLIDAY], []), {TUESDAY: "no"})
    assert (part.wanted, plan.starts(), plan.mode) == (wanted, {"A": MONDAY, "B": TUESDAY}, Mode.INCREMENTAL)


def test_a_run_looks_back_fifteen_sessions_unless_it_is_told_otherwise(store: LocalObjectStore) -> None:
    before = sessions(date(2013, 1, 14), THURSDAY)
    for day in before:
        put(store, day, NAMES)
    request = FillRequest([FRIDAY], listings(*NAMES))
    assert make_plan(exchange("US"), store, request, NOW).look_back == before[-15:]
    assert planned(store, [FRIDAY], look_back=2).look_back == [WEDNESDAY, THURSDAY]
    assert planned(store, [FRIDAY], look_back=0).look_back == []
    for mode in (Mode.FORCE, Mode.VERIFY):
        assert planned(store, [FRIDAY], look_back=2, mode=mode).look_back == []
    # Before the last session that somebody is asked about; where nobody is asked, nothing is looked back at.
    assert planned(store, [WEDNESDAY, FRIDAY], look_back=2).look_back == [WEDNESDAY, THURSDAY]
    assert planned(store, [THURSDAY], look_back=2).look_back == []
    # The first sessions that are known have no fifteen before them.
    begin = exchange("US").calendar().first_day
    first = sessions(begin, begin.replace(day=9))[:3]
    for day in first[:2]:
        put(store, day, NAMES)
    assert planned(store, [first[2]], look_back=15).look_back == first[:2]
    assert FillRules(Path()).look_back == 15
    assert FillRules(Path()).min_coverage == 0.0


@pytest.mark.parametrize(
    ("missing", "asks"),
    [
        ([], ""), ([hole("C", "failed", FRIDAY)], "C"), ([hole("C", "not_asked", FRIDAY)], "C"),
        ([hole("C", "no_bar")], "C"), ([hole("C", "no_bar", FRIDAY)], ""), ([hole("C", "rejected")], ""),
        ([hole("C", "suspended")], ""), ([hole("B", "failed"), hole("C", "held", FRIDAY)], "BC"),
    ],
)  # fmt: skip
def test_of_a_cell_is_asked_what_it_lacks_and_is_worth_asking(
    store: LocalObjectStore, missing: list[Missing], asks: str
) -> None:
    came = [name for name in NAMES if name not in {one.symbol for one in missing}]
    put(store, THURSDAY, came, *missing)
    plan = planned(store, [THURSDAY])
    assert wants(plan) == ({THURSDAY: asks} if asks else {})
    final = {one.symbol: {THURSDAY} for one in missing if one.outcome in ("rejected", "suspended")}
    assert (plan.suspended, plan.stored.keys()) == (final, {THURSDAY})
    assert wants(planned(store, [THURSDAY], only=["B"])) == ({THURSDAY: "B"} if "B" in asks else {})
    assert wants(planned(store, [THURSDAY], mode=Mode.FORCE)) == {THURSDAY: "ABC"}


def test_of_a_cell_for_others_than_are_expected_now_the_new_ones_are_asked(store: LocalObjectStore) -> None:
    put(store, THURSDAY, ["A"], hole("B", "failed"), of=["A", "B"])
    assert wants(planned(store, [THURSDAY])) == {THURSDAY: "BC"}
    assert wants(planned(store, [THURSDAY], only=["A"])) == {THURSDAY: ""}
    # Where nobody has noted for whom it was filled, its rows and its holes tell.
    for info in store.list("expected_symbols/"):
        store.delete(info.key)
    assert wants(planned(store, [THURSDAY])) == {THURSDAY: "BC"}
    gone = planned(store, [THURSDAY], catalog=listings("A"))
    assert wants(gone) == {THURSDAY: ""}
    # Said once it is said.
    put(store, WEDNESDAY, ["A"], of=["A"])
    assert wants(planned(store, [WEDNESDAY], catalog=listings("A"))) == {}


def test_a_session_without_a_cell_wants_everybody_listed_and_a_cell_though_nobody_is(
    store: LocalObjectStore,
) -> None:
    catalog = listings("A", B=FRIDAY).with_columns(
        delisted_on=pl.when(pl.col("symbol") == "A").then(pl.lit(WEDNESDAY))
    )
    assert wants(planned(store, WEEK, catalog=catalog)) == {
        MONDAY: "A", TUESDAY: "A", WEDNESDAY: "A", THURSDAY: "", FRIDAY: "B",
    }  # fmt: skip
    closed = Entry(str(FRIDAY), CellState.CLOSED)
    Manifest(store, DAILY).record("US", [closed])
    assert wants(planned(store, [FRIDAY])) == {FRIDAY: "ABC"}
    assert wants(planned(store, [HOLIDAY])) == {}


def test_a_damaged_cell_wants_nobody_and_is_named_where_it_was_asked_for(store: LocalObjectStore) -> None:
    put(store, WEDNESDAY, ["A"])
    put(store, THURSDAY, NAMES)
    store.put(object_key(DAILY, "US", str(WEDNESDAY)), b"no table")
    for days in ([WEDNESDAY, FRIDAY], [FRIDAY]):
        plan = planned(store, days, look_back=5)
        assert wants(plan) == {FRIDAY: "ABC"}
        assert list(plan.damaged) == ([WEDNESDAY] if WEDNESDAY in days else [])


def test_a_run_looks_back_from_the_last_session_that_somebody_is_asked_about(
    store: LocalObjectStore,
) -> None:
    for day in (TUESDAY, THURSDAY):
        put(store, day, NAMES)
    put(store, WEDNESDAY, ["A", "B"], hole("C", "failed"))
    plan = planned(store, [WEDNESDAY, THURSDAY], look_back=1)
    assert (wants(plan), plan.look_back) == ({WEDNESDAY: "C"}, [TUESDAY])


def test_a_cell_filled_for_nobody_knows_whom_wants_nobody_and_is_named(store: LocalObjectStore) -> None:
    put(store, WEDNESDAY, ["A"], of=["A"])
    put(store, THURSDAY, ["A"], of=["A"])
    (kept,) = store.list("expected_symbols/")
    store.put(kept.key, b"[")
    plan = planned(store, [THURSDAY, FRIDAY], look_back=3)
    assert (wants(plan), list(plan.damaged)) == ({FRIDAY: "ABC"}, [THURSDAY])
    assert kept.key in plan.damaged[THURSDAY]


def test_holes_of_the_look_back_are_asked_of_whoever_is_asked_anyway(store: LocalObjectStore) -> None:
    put(store, WEDNESDAY, ["A"], hole("B", "failed"), hole("C", "failed"))
    put(store, THURSDAY, NAMES)
    plan = planned(store, [FRIDAY], only=["C"], look_back=3)
    assert (wants(plan), plan.look_back) == ({WEDNESDAY: "C", FRIDAY: "C"}, [WEDNESDAY, THURSDAY])
    everybody = planned(store, [FRIDAY], look_back=3)
    assert wants(everybody) == {WEDNESDAY: "BC", FRIDAY: "ABC"}
    # A cell that says somebody else is expected than now is written anew, and asks nobody for it.
    fewer = planned(store, [FRIDAY], catalog=listings("A"), look_back=3)
    assert wants(fewer) == {WEDNESDAY: "", THURSDAY: "", FRIDAY: "A"}


def test_what_is_held_is_asked_again_by_whoever_may_be_asked(store: LocalObjectStore) -> None:
    put(store, MONDAY, NAMES)
    put(store, TUESDAY, ["A", "B"], hole("C", "held", FRIDAY))
    put(store, WEDNESDAY, ["A", "B"], hole("C", "refused", FRIDAY))
    put(store, FRIDAY, NAMES)
    held = {"A": {MONDAY}, "C": {TUESDAY, WEDNESDAY, HOLIDAY}, "X": {MONDAY}}
    assert wants(planned(store, [FRIDAY], held=held)) == {MONDAY: "A", TUESDAY: "C"}
    assert wants(planned(store, [FRIDAY], held=held, only=["C"])) == {TUESDAY: "C"}
    assert wants(planned(store, [FRIDAY], held=held, mode=Mode.FORCE)) == {FRIDAY: "ABC"}
    assert wants(planned(store, [HOLIDAY], held=held)) == {}
    for listed_on, delisted_on, asked in (
        (MONDAY, MONDAY, "A"),
        (TUESDAY, None, ""),
        (None, date(2013, 2, 8), ""),
    ):
        catalog = listings(*NAMES).with_columns(
            listed_on=pl.lit(listed_on, pl.Date), delisted_on=pl.lit(delisted_on, pl.Date)
        )
        found = wants(planned(store, [FRIDAY], held={"A": {MONDAY}}, catalog=catalog))
        assert found.get(MONDAY, "") == asked
    store.put(object_key(DAILY, "US", str(MONDAY)), b"no table")
    assert wants(planned(store, [FRIDAY], held=held)) == {TUESDAY: "C"}
