"""Where bars are missing: the runs, their words, and what kind of gap each is."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import groupby
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market.coverage import NO_BAR, NOT_ASKED, REFUSED, REJECTED, SUSPENDED
from quant_assets.market.gaps import (
    GAPS_SCHEMA,
    MISSING_SCHEMA,
    BarlessSessions,
    GapKind,
    find_gaps,
    runs_without_bar,
)

MONDAY = date(2024, 3, 11)
DAYS = [MONDAY + timedelta(days=n) for n in range(12)]
ASKED_ON = date(2024, 4, 1)
LISTINGS = {"symbol": pl.String, "listed_on": pl.Date, "delisted_on": pl.Date}

# --- runs

subsets = st.sets(st.sampled_from(DAYS))


@given(subsets, st.none() | st.sampled_from(DAYS))
def test_the_runs_are_the_sessions_without_a_bar_and_each_names_the_bars_on_its_sides(
    present: set[date], first: date | None
) -> None:
    due = [day for day in DAYS if first is None or day >= first]
    runs = runs_without_bar(DAYS, present, first=first)
    expected = [tuple(run) for there, run in groupby(due, key=lambda day: day in present) if not there]
    assert [run.sessions for run in runs] == expected
    for run in runs:
        before = [day for day in due if day in present and day < run.sessions[0]]
        after = [day for day in due if day in present and day > run.sessions[-1]]
        assert run.before == max(before, default=None)
        assert run.after == min(after, default=None)
        assert run.between == (len(run.sessions) if before and after else 0)


def test_a_run_is_described_by_the_bars_around_it() -> None:
    runs = runs_without_bar(DAYS, {DAYS[1], DAYS[3], DAYS[7]})
    assert [str(run) for run in runs] == [
        "no bar before 2024-03-12",
        "no bar between 2024-03-12 and 2024-03-14",
        "no bar for 3 sessions between 2024-03-14 and 2024-03-18",
        "no bar after 2024-03-18",
    ]
    assert [str(run) for run in runs_without_bar(DAYS, set())] == ["answered without any bar"]


@given(subsets.filter(lambda days: len(days) < len(DAYS)))
def test_every_run_names_the_nearest_bars_in_words_and_no_others(present: set[date]) -> None:
    for run in runs_without_bar(DAYS, present):
        assert {day for day in DAYS if str(day) in str(run)} == {run.before, run.after} - {None}


def test_sessions_before_the_listing_are_no_run() -> None:
    assert runs_without_bar(DAYS, set(DAYS[5:]), first=DAYS[5]) == []
    assert runs_without_bar(DAYS, set(DAYS[6:]), first=DAYS[5]) == [
        BarlessSessions((DAYS[5],), None, DAYS[6])
    ]
    # A listing between two sessions begins with the later one.
    assert runs_without_bar(DAYS[::2], set(), first=DAYS[9]) == [BarlessSessions((DAYS[10],), None, None)]
    assert runs_without_bar(DAYS, set(), first=DAYS[-1] + timedelta(days=1)) == []
    assert runs_without_bar([], {MONDAY}) == []


# --- gaps


def missing(*rows: tuple[int, str, str], **more: Any) -> pl.DataFrame:
    """(session, symbol, outcome) each, asked about later the further back it is."""
    return pl.DataFrame(
        [
            {
                "date": DAYS[n],
                "symbol": symbol,
                "outcome": outcome,
                "reason": f"{outcome} on {n}",
                "asked_on": ASKED_ON,
                "answers": 2,
                **more,
            }
            for n, symbol, outcome in rows
        ],
        schema=MISSING_SCHEMA,
    )


def gaps(
    told: pl.DataFrame | None = None,
    *,
    asked: list[date] = DAYS,
    empty: list[date] = [],  # noqa: B006
    listings: list[tuple[str, date | None, date | None]] = [("A", None, None), ("B", None, None)],  # noqa: B006
) -> list[dict[str, Any]]:
    found = find_gaps(
        DAYS,
        asked,
        empty,
        missing() if told is None else told,
        pl.DataFrame(listings, schema=LISTINGS, orient="row"),
    )
    assert found.schema == GAPS_SCHEMA
    return found.to_dicts()


def brief(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(g["kind"], g["symbol"], g["first"], g["last"], g["sessions"]) for g in found]


def test_an_exchange_without_holes_has_no_gap() -> None:
    assert gaps() == []


def test_sessions_never_asked_for_are_a_gap_of_the_market() -> None:
    assert gaps(asked=DAYS[:3] + DAYS[5:11]) == [
        {
            "kind": "market", "symbol": None, "first": first, "last": last, "sessions": count,
            "outcome": "not_asked", "reason": "never asked for", "asked_on": None, "answers": None,
            "settled": False,
        }
        for first, last, count in ((DAYS[3], DAYS[4], 2), (DAYS[11], DAYS[11], 1))
    ]  # fmt: skip


def test_sessions_without_a_bar_of_anybody_are_a_gap_of_the_market_and_of_nobody_else() -> None:
    told = missing(*((n, symbol, "failed") for n in (4, 5) for symbol in "AB"))
    (gap,) = gaps(told, empty=DAYS[4:6])
    assert (gap["kind"], gap["symbol"], gap["first"], gap["last"]) == (GapKind.MARKET, None, DAYS[4], DAYS[5])
    assert (gap["outcome"], gap["reason"], gap["settled"]) == ("failed", "no symbol has a bar", False)


def test_from_the_listing_to_the_first_bar_is_a_late_start() -> None:
    told = missing(*((n, "A", NO_BAR) for n in (2, 3, 4)))
    found = gaps(told, listings=[("A", DAYS[2], None)])
    assert brief(found) == [(GapKind.LATE_START, "A", DAYS[2], DAYS[4], 3)]


def test_from_the_last_bar_on_is_an_early_end() -> None:
    told = missing(*((n, "A", NO_BAR) for n in (9, 10, 11)))
    assert brief(gaps(told)) == [(GapKind.EARLY_END, "A", DAYS[9], DAYS[11], 3)]
    up_to = gaps(missing((8, "A", NO_BAR), (9, "A", NO_BAR)), listings=[("A", None, DAYS[9])])
    assert brief(up_to) == [(GapKind.EARLY_END, "A", DAYS[8], DAYS[9], 2)]


def test_a_symbol_without_any_bar_has_not_started() -> None:
    told = missing(*((n, "A", NO_BAR) for n in range(12)))
    assert brief(gaps(told)) == [(GapKind.LATE_START, "A", DAYS[0], DAYS[11], 12)]


@pytest.mark.parametrize("where", [(3, 4), (10, 11)])
def test_sessions_known_as_suspended_are_settled(where: tuple[int, int]) -> None:
    (gap,) = gaps(missing(*((n, "A", SUSPENDED) for n in where)))
    assert brief([gap]) == [(GapKind.SUSPENDED, "A", DAYS[where[0]], DAYS[where[1]], 2)]
    assert gap["settled"] is True
    assert (gap["asked_on"], gap["answers"]) == (ASKED_ON, 2)


@pytest.mark.parametrize(
    ("outcome", "settled"),
    [(NO_BAR, False), ("failed", False), (NOT_ASKED, False), (REFUSED, False), (REJECTED, True)],
)
def test_a_gap_between_bars_is_a_hole_until_it_is_settled(outcome: str, settled: bool) -> None:
    (gap,) = gaps(missing((3, "A", outcome)))
    assert brief([gap]) == [(GapKind.HOLE, "A", DAYS[3], DAYS[3], 1)]
    assert (gap["outcome"], gap["reason"], gap["settled"]) == (outcome, f"{outcome} on 3", settled)


def test_a_gap_of_several_outcomes_names_them_all_and_tells_of_the_last_question() -> None:
    told = pl.concat(
        [
            missing((3, "A", SUSPENDED)),
            missing((4, "A", NO_BAR), asked_on=ASKED_ON + timedelta(days=2), answers=5),
            missing((5, "A", "failed"), asked_on=ASKED_ON + timedelta(days=1)),
        ]
    )
    (gap,) = gaps(told)
    assert brief([gap]) == [(GapKind.HOLE, "A", DAYS[3], DAYS[5], 3)]
    assert gap["outcome"] == "failed, no_bar, suspended"
    assert (gap["reason"], gap["answers"]) == ("no_bar on 4", 5)
    assert gap["asked_on"] == ASKED_ON + timedelta(days=2)
    assert gap["settled"] is False


def test_final_outcomes_together_are_settled_and_yet_no_suspension() -> None:
    (gap,) = gaps(missing((3, "A", SUSPENDED), (4, "A", REJECTED)))
    assert (gap["kind"], gap["settled"]) == (GapKind.HOLE, True)


@pytest.mark.parametrize("hole", ["empty", "not asked"])
def test_a_hole_of_the_market_inside_a_suspension_neither_ends_it_nor_belongs_to_it(hole: str) -> None:
    told = missing((3, "A", SUSPENDED), (4, "A", SUSPENDED), (6, "A", SUSPENDED))
    if hole == "empty":
        both = pl.concat([told, missing((5, "A", "failed"), (5, "B", "failed"))])
        found = gaps(both, empty=[DAYS[5]])
    else:
        found = gaps(told, asked=[day for day in DAYS if day != DAYS[5]])
    assert brief(found) == [
        (GapKind.MARKET, None, DAYS[5], DAYS[5], 1),
        (GapKind.SUSPENDED, "A", DAYS[3], DAYS[6], 3),
    ]


@pytest.mark.parametrize("listing", [("A", DAYS[4], DAYS[7]), ("A", None, None)])
def test_outside_its_listing_a_symbol_neither_has_bars_nor_misses_them(
    listing: tuple[str, date | None, date | None],
) -> None:
    # No cell names the symbol where it is not listed; that is no bar on the other side of the gap.
    found = gaps(missing((4, "A", NO_BAR), (7, "A", NO_BAR)), listings=[listing])
    kinds = (GapKind.LATE_START, GapKind.EARLY_END) if listing[1] else (GapKind.HOLE, GapKind.HOLE)
    assert brief(found) == [(kinds[0], "A", DAYS[4], DAYS[4], 1), (kinds[1], "A", DAYS[7], DAYS[7], 1)]


def test_the_bars_of_the_first_and_the_last_day_of_a_listing_bound_a_gap() -> None:
    for n in (3, 4, 5):
        found = gaps(missing((n, "A", NO_BAR)), listings=[("A", DAYS[3], DAYS[5])])
        kind = {3: GapKind.LATE_START, 4: GapKind.HOLE, 5: GapKind.EARLY_END}[n]
        assert brief(found) == [(kind, "A", DAYS[n], DAYS[n], 1)]


def test_a_session_after_the_last_day_of_a_listing_is_no_bar_that_is_missing() -> None:
    found = gaps(missing((6, "A", NO_BAR)), listings=[("A", DAYS[3], DAYS[5])])
    assert brief(found) == [(GapKind.EARLY_END, "A", DAYS[6], DAYS[6], 1)]


def test_of_what_is_said_several_times_of_a_session_the_last_holds() -> None:
    told = pl.concat(
        [
            missing(*((n, symbol, outcome) for n in range(1, 12, 2) for symbol in "CAB"), answers=answers)
            for answers, outcome in enumerate([NO_BAR, SUSPENDED, "failed", NO_BAR, REJECTED])
        ]
    )
    found = gaps(told)
    assert [(gap["symbol"], gap["first"]) for gap in found] == [
        (s, DAYS[n]) for s in "ABC" for n in range(1, 12, 2)
    ]
    assert {(gap["outcome"], gap["answers"]) for gap in found} == {(REJECTED, 4)}


def test_a_symbol_that_no_listing_names_has_gaps_all_the_same() -> None:
    assert brief(gaps(missing((4, "Z", NO_BAR)))) == [(GapKind.HOLE, "Z", DAYS[4], DAYS[4], 1)]


def test_gaps_come_by_symbol_and_session_those_of_the_market_first() -> None:
    told = missing((8, "B", NO_BAR), (2, "B", NO_BAR), (5, "A", NO_BAR))
    found = gaps(told, asked=DAYS[:11])
    assert [(g["symbol"], g["first"]) for g in found] == [
        (None, DAYS[11]),
        ("A", DAYS[5]),
        ("B", DAYS[2]),
        ("B", DAYS[8]),
    ]


cells = st.lists(st.sampled_from(["bar", NO_BAR, SUSPENDED, "failed"]), min_size=12, max_size=12)


@given(cells, cells)
def test_every_missing_session_is_in_just_one_gap_of_its_symbol(one: list[str], other: list[str]) -> None:
    told = missing(
        *((n, s, o) for s, cell in (("A", one), ("B", other)) for n, o in enumerate(cell) if o != "bar")
    )
    found = gaps(told)
    assert sum(g["sessions"] for g in found) == told.height
    for row in told.iter_rows(named=True):
        (gap,) = (g for g in found if g["symbol"] == row["symbol"] and g["first"] <= row["date"] <= g["last"])
        assert row["outcome"] in gap["outcome"]
        assert (gap["kind"] == GapKind.SUSPENDED) is (gap["outcome"] == SUSPENDED)


# --- the gaps of many symbols, by the sessions one by one


def one_by_one(
    asked: list[date], empty: list[date], told: pl.DataFrame, listings: pl.DataFrame
) -> list[tuple[Any, ...]]:
    """The gaps of symbols, found by going through the sessions of each."""
    inside = [day for day in DAYS if day in asked and day not in empty]
    bounds = {symbol: (first, last) for symbol, first, last in listings.iter_rows()}
    rows = told.to_dicts()
    found: list[tuple[Any, ...]] = []
    for symbol in sorted(set(told["symbol"])):
        holes = {r["date"]: r for r in rows if r["symbol"] == symbol and r["date"] in inside}
        first, last = bounds.get(symbol, (None, None))
        bars = [d for d in inside if d not in holes and d >= (first or d) and d <= (last or d)]
        runs = [[day for day in run.sessions if day in holes] for run in runs_without_bar(DAYS, set(bars))]
        for run in filter(None, runs):
            said = max((holes[day] for day in run), key=lambda row: row["asked_on"])
            outcomes = sorted({holes[day]["outcome"] for day in run})
            kind = (
                "suspended" if outcomes == [SUSPENDED]
                else "late_start" if not any(day < run[0] for day in bars)
                else "early_end" if not any(day > run[-1] for day in bars)
                else "hole"
            )  # fmt: skip
            found.append(
                (kind, symbol, run[0], run[-1], len(run), ", ".join(outcomes), said["reason"], said["asked_on"],
                 said["answers"], set(outcomes) <= {SUSPENDED, REJECTED})
            )  # fmt: skip
    return found


holes = st.lists(
    st.tuples(
        st.sampled_from(DAYS),
        st.sampled_from(["A", "B", "Ä"]),
        st.sampled_from([NO_BAR, SUSPENDED, REJECTED]),
        st.text("xy", max_size=2),
        st.sampled_from(DAYS[:3]),
        st.integers(1, 3),
    ),
    max_size=30,
)
bounds = st.none() | st.dates(DAYS[0] - timedelta(days=2), DAYS[-1] + timedelta(days=2))


@settings(max_examples=30)
@given(
    subsets, subsets, holes, st.lists(st.tuples(st.sampled_from(["A", "Ä", "Z"]), bounds, bounds), max_size=4)
)
def test_the_gaps_are_those_found_session_by_session(
    unasked: set[date], empty: set[date], told: list[tuple[Any, ...]], listed: list[tuple[Any, ...]]
) -> None:
    asked = [day for day in DAYS if day not in unasked]
    named = pl.DataFrame(told, schema=MISSING_SCHEMA, orient="row")
    listings = pl.DataFrame(listed, schema=LISTINGS, orient="row")
    found = find_gaps(DAYS, asked, sorted(empty), named, listings)
    assert found.schema == GAPS_SCHEMA
    of_symbols = found.filter(pl.col("symbol").is_not_null())
    assert of_symbols.rows() == one_by_one(asked, sorted(empty), named, listings)
